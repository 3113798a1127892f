"""Measure the training engine beside what people train with, and write bench/results/speed.json.

    python -m bench            # about half an hour on two cores
    python -m bench --quick    # five at most, smaller; into outputs/bench

bench/README.md says how to read the figures; `python -m bench.table` puts them into docs/performance.md.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import fitting, machine, memory, plot, speed, sweep, table
from bench.contestants import BEST, CONTESTANTS
from bench.fresh import ROOT, fresh
from bench.size import Size
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically

PEERS = ("transformers", "accelerate", "x-transformers", "litgpt")
IN_MEMORY = (
    "scalelaw causal decoder, bf16 autocast",
    "scalelaw causal decoder, fp32",
    "nanoGPT, fp32",
    "Hugging Face Llama, fp32",
)
# Without a line of their own, for the time they take: a loop and a Trainer are the same float32 step, side by
# side a hundredth apart, and the others' bfloat16 is faster at every width.
UNLISTED = (
    "Hugging Face Llama, fp32",
    "Hugging Face GPT-2, fp32",
    "Hugging Face T5, fp32",
    "x-transformers, fp32",
    "litgpt, fp32",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured, and how long.

    ladder: (d, depth, rows) of each rung; rows get fewer where a step would take many seconds. windows:
    (T, rows) at the second rung. vocabularies: at the first. seconds: of a measurement. compiled: who is
    measured compiled too. depths, steps, kinds: of the sweeps' runs (bench.sweep). overhead: runs over which
    its slope is taken.
    """

    ladder: tuple[tuple[int, int, int], ...]
    windows: tuple[tuple[int, int], ...]
    vocabularies: tuple[int, ...]
    window: int
    vocabulary: int
    rows: int
    large_vocabulary: int
    squares: tuple[int, ...]
    compiled: tuple[str, ...]
    rounds: int
    seconds: float
    depths: tuple[int, ...]
    steps: int
    kinds: tuple[str, ...]
    overhead: int
    resamples: int

    def sizes(self) -> list[Size]:
        return [
            Size(width=d, depth=depth, rows=rows, window=self.window, vocabulary=self.vocabulary)
            for d, depth, rows in self.ladder
        ]


FULL = Plan(
    ladder=((64, 2, 32), (128, 4, 16), (256, 6, 8), (512, 8, 4)),
    windows=((256, 32), (512, 16), (1024, 8)),
    vocabularies=(256, 4096, 32768),
    window=256,
    vocabulary=4096,
    rows=32,
    large_vocabulary=32768,
    squares=(1024, 2048),
    compiled=tuple(dict.fromkeys(contestant.who for contestant in CONTESTANTS.values())),
    rounds=3,
    seconds=0.7,
    depths=(7, 6, 5, 4, 3, 2),
    steps=360,
    kinds=("seeds", "budgets"),
    overhead=9,
    resamples=1000,
)
QUICK = Plan(
    ladder=((64, 2, 32), (128, 4, 8)),
    windows=((128, 16), (512, 4)),
    vocabularies=(256,),
    window=256,
    vocabulary=4096,
    rows=32,
    large_vocabulary=32768,
    squares=(1024,),
    compiled=("scalelaw causal decoder", "nanoGPT"),  # what compiles in seconds
    rounds=3,
    seconds=0.4,
    depths=(3, 2),
    steps=90,
    kinds=("budgets",),
    overhead=3,
    resamples=100,
)


def parts(plan: Plan, names: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """Each section of the file and how it is measured."""
    sizes = plan.sizes()
    names = [n for n in names if not CONTESTANTS[n].compiled or CONTESTANTS[n].who in plan.compiled]
    return {
        "peaks": lambda: fresh(machine.peaks, shapes=machine.products(sizes, plan.squares), device="cpu"),
        "speed": lambda: speed.compare(sizes, names, plan.rounds, plan.seconds),
        "growth": lambda: growth(plan),
        "sweep": lambda: sweep.throughput(plan.depths, plan.steps, plan.kinds),
        "overhead": lambda: sweep.overhead(plan.overhead),
        "memory": lambda: {"loss": memory.losses(large(plan)), "steps": memory.of_steps(sizes, IN_MEMORY)},
        "fitting": lambda: fitting.fits(plan.rounds, plan.resamples),
    }


def large(plan: Plan) -> Size:
    """The step whose logits are the most of its memory."""
    d, depth, _ = plan.ladder[0]
    return Size(width=d, depth=depth, rows=plan.rows, window=plan.window, vocabulary=plan.large_vocabulary)


def growth(plan: Plan) -> dict[str, Any]:
    """Our best setting alone, over windows and over vocabularies; over N it is in the comparison already."""
    (small, shallow, rows), (d, depth, _) = plan.ladder[0], plan.ladder[min(1, len(plan.ladder) - 1)]
    sizes = {
        "window": [
            Size(width=d, depth=depth, rows=rows, window=T, vocabulary=plan.vocabulary)
            for T, rows in plan.windows
        ],
        "vocabulary": [
            Size(width=small, depth=shallow, rows=rows, window=plan.window, vocabulary=V)
            for V in plan.vocabularies
        ],
    }
    best = [f"scalelaw causal decoder, {BEST}"]
    return {
        along: speed.compare(several, best, plan.rounds, plan.seconds) for along, several in sizes.items()
    }


def main(arguments: Sequence[str], plan: Plan | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five minutes instead of thirty")
    parser.add_argument("--parts", nargs="+", metavar="PART", choices=list(parts(FULL, [])), default=None)
    parser.add_argument(
        "--contestants",
        nargs="+",
        metavar="WORD",
        default=None,
        help="those with one of these in their name",
    )
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args(arguments)
    if asked.contestants is None:
        names = [name for name in CONTESTANTS if name not in UNLISTED]
    else:
        names = [n for n in CONTESTANTS if any(word.lower() in n.lower() for word in asked.contestants)]
    if not names:
        parser.error(f"no contestant has {asked.contestants} in its name; there are {', '.join(CONTESTANTS)}")
    plan = plan or (QUICK if asked.quick else FULL)
    out = asked.out or (ROOT / "outputs/bench" if asked.quick else ROOT / "bench/results") / "speed.json"

    here = origin(["python -m bench", *arguments])
    result: dict[str, Any] = {"provenance": here}
    if asked.parts and out.exists():  # the rest of the file stays, and says itself where it is from
        result = json.loads(out.read_text())
    for part, measure in parts(plan, names).items():
        if asked.parts and part not in asked.parts:
            continue
        start = time.perf_counter()
        result[part] = measure()
        if result["provenance"] != here:
            result.setdefault("later", {})[part] = here
        write_atomically(out, json.dumps(result, indent=1) + "\n")
        print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
    if "speed" in result:
        write_atomically(out.with_suffix(".svg"), plot.draw(result["speed"]) + "\n")
    print(f"\n{table.block(result)}\n\n{out}")


def origin(command: Sequence[str]) -> dict[str, Any]:
    found = provenance(" ".join(command))
    found["versions"] |= {name: _version(name) for name in PEERS}
    return found | {"threads": 1, "cores": os.cpu_count()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
