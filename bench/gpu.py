"""The training step on one GPU: tokens per second, the share of its bf16 peak, and stacked runs.

python -m bench.gpu                        # decoders of 10M to 350M parameters; bench/results/gpu.json
python -m bench.gpu --device cpu --tiny    # that it runs
"""

import argparse
import gc
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench import machine, ours
from bench.fresh import ROOT
from bench.size import Size
from scalelaw.peak import took
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically

# (d, depth, rows) of about 10M, 40M, 110M and 340M parameters with a vocabulary of 32k, embedding included.
LADDER = ((256, 4, 128), (512, 8, 64), (768, 12, 32), (1024, 24, 16))
WINDOW, VOCABULARY = 1024, 32768
# Small runs, of bytes and of a large vocabulary, where most of a step is the loss: large products as it is.
STACKED, STACKED_WIDTH, STACKED_DEPTH, STACKED_ROWS, STACKED_VOCABULARIES = 16, 128, 4, 8, (256, 32768)
SQUARES = (4096, 8192)
ROUNDS, SECONDS = 5, 2.0


def rates(step: Callable[[], object], tokens: int, rounds: int, seconds: float, device: str) -> list[float]:
    """Tokens per second of each round, after a warm-up that compiles."""

    took(step, 3, device)
    steps = math.ceil(seconds / took(step, 1, device))
    return [steps * tokens / took(step, steps, device) for _ in range(rounds)]


def models(
    sizes: Sequence[Size], peak: float, how: dict[str, Any], time_: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every architecture at every size.

    Each stack of an encoder-decoder has half the blocks, so that parameters stay about the same."""
    for asked in sizes:
        for architecture in ours.ARCHITECTURES:
            halved = replace(asked, depth=max(1, asked.depth // 2))
            size = halved if architecture == "encoder-decoder" else asked
            found = tried(partial(alone, architecture, size, peak, how, time_))
            yield {"architecture": architecture, "size": asdict(size)} | found


def alone(
    architecture: str, size: Size, peak: float, how: dict[str, Any], time_: dict[str, Any]
) -> dict[str, Any]:
    """Of one model; utilisation is counted FLOPs (scalelaw.counting) over the peak."""
    model = ours.build(architecture, size).to(how["device"])
    step = ours.stepper(architecture, [model], size, **how)
    each = rates(step, size.tokens, device=how["device"], **time_)
    work = ours.flops(architecture, size) / size.tokens
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens_per_second": median(each),
        "utilisation": median(each) * work / peak,
        "rounds": each,
    }


def stacked(size: Size, how: dict[str, Any], time_: dict[str, Any]) -> dict[str, Any]:
    """Tokens per second of STACKED small runs together, and of one alone: the rate of one after another."""
    found: dict[str, Any] = {}
    for name, many in {"stacked": STACKED, "one after another": 1}.items():
        several = [ours.build("causal decoder", size).to(how["device"]) for _ in range(many)]
        step = ours.stepper("causal decoder", several, size, **how)
        each = rates(step, many * size.tokens, device=how["device"], **time_)
        found[name] = {"tokens_per_second": median(each), "rounds": each}
    together, apart = (one["tokens_per_second"] for one in found.values())
    return found | {"ratio": together / apart}


def tried(found: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was found, or why it was not: a size that does not fit costs no other its figure."""
    torch.compiler.reset()  # past eight shapes of a block torch leaves it uncompiled
    gc.collect()  # compiled blocks are circles, and hold their weights
    torch.cuda.empty_cache()
    try:
        return found()
    except RuntimeError as error:
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a smoke test")
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args(arguments)
    cuda = torch.device(asked.device).type == "cuda"
    if cuda and not torch.cuda.is_available():
        parser.error(f"--device {asked.device}: torch finds no GPU")
    small = {"window": 32, "vocabulary": 64} if asked.tiny else {"window": WINDOW, "vocabulary": VOCABULARY}
    ladder = ((32, 1, 2),) if asked.tiny else LADDER
    sizes = [Size(width=d, depth=depth, rows=rows, **small) for d, depth, rows in ladder]
    d, depth, rows = (32, 1, 2) if asked.tiny else (STACKED_WIDTH, STACKED_DEPTH, STACKED_ROWS)
    vocabularies = (64, 128) if asked.tiny else STACKED_VOCABULARIES
    time_ = {"rounds": 1, "seconds": 0.01} if asked.tiny else {"rounds": ROUNDS, "seconds": SECONDS}
    how = {"precision": "bfloat16", "compile": not asked.tiny, "device": asked.device}

    squares = (64,) if asked.tiny else SQUARES
    peak = machine.peaks(machine.products(sizes, squares), asked.device)["bfloat16"]
    several = [Size(width=d, depth=depth, rows=rows, **small | {"vocabulary": V}) for V in vocabularies]
    result = {
        "provenance": provenance(" ".join(["python -m bench.gpu", *arguments])),
        "device": torch.cuda.get_device_name(asked.device) if cuda else asked.device,
        "peak": peak,
        "models": [],
        "stacked": [],
    }
    default = ROOT / ("outputs/bench" if asked.tiny else "bench/results") / "gpu.json"
    out = asked.out or default
    measured = {
        "models": models(sizes, peak["flops_per_second"], how, time_),
        "stacked": (
            {"size": asdict(size), "models": STACKED} | tried(partial(stacked, size, how, time_))
            for size in several
        ),
    }
    for part, rows_ in measured.items():
        for row in rows_:
            result[part].append(row)
            write_atomically(out, json.dumps(result, indent=1) + "\n")  # what is measured is kept
            print(line(row), flush=True)
    print(out)
    return int(any("failed" in row for part in measured for row in result[part]))


def line(row: dict[str, Any]) -> str:
    size = row["size"]
    name = row.get("architecture", f"{STACKED} stacked runs")
    said = f"{name:16} d = {size['width']:<5} V = {size['vocabulary']:<6} "
    if "failed" in row:
        return f"{said}failed: {row['failed']}"
    if "ratio" in row:
        return f"{said}{row['ratio']:.2f} times one after another"
    rate = f"{row['parameters'] / 1e6:6.1f}M {row['tokens_per_second']:12,.0f} tokens/s"
    return f"{said}{rate} {100 * row['utilisation']:5.1f} % of the bf16 peak"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
