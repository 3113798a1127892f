"""Training speed beside Hugging Face's Llama of the same shape, on one thread, and seconds to fit a law.

Contestants take turns, round after round, so that a machine that slows down slows down all of them; what is
reported is the median over rounds and the quotient of medians. bench/README.md says how to read it.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from analysis.laws.chinchilla import Chinchilla
from analysis.solver.solve import solve
from scalelaw.contracts import Objective
from scalelaw.evaluate import cross_entropy
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.optim import adamw
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically
from scalelaw.shape import Shape, ladder

try:
    import transformers
except ImportError:  # it comes with the test extra; without it our own speed can still be told
    transformers = None

DEPTH, VOCAB, WINDOW, ROWS = 4, 256, 128, 8  # bytes, the default window, a batch large enough to fill matmuls
HEAD_DIM, FFN = 12, "8/3"  # as conf/shape/ladder.yaml; one head is also the narrowest width
LR, BETAS, EPS, DECAY, CLIP = (
    0.004,
    (0.9, 0.95),
    1e-8,
    0.1,
    1.0,
)  # as conf/optimizer/adamw.yaml, conf/train.yaml
WARM_STEPS = 3  # the first allocates gradients, the second the optimizer's state; one more to be sure
PEER = "hf_llama"
LAW = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}  # near Hoffmann et al. 2022, table A.3
NOISE = 0.01  # of log loss
RESAMPLES = 1000  # as conf/fit.yaml

Step = Callable[[], object]


def trainer(model: torch.nn.Module, logits: Any, optim: torch.optim.Optimizer, ask: Objective) -> Step:
    """One step as scalelaw.train takes it, on fresh random tokens: nothing to learn in them."""
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        batch = ask(torch.randint(VOCAB, (ROWS, WINDOW + 1), generator=generator), generator)
        nll = cross_entropy(logits, batch, "sum")
        (nll / (ROWS * WINDOW)).backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP))
        if not math.isfinite(norm) or not math.isfinite(nll.item()):
            raise ArithmeticError("the loss is not finite, and the speed of such a run means nothing")
        optim.step()
        optim.zero_grad()

    return step


def ours(architecture: type, shape: Shape, ask: Objective) -> Step:
    model = architecture(shape, VOCAB, tie_embeddings=False)
    rule = {"transfer": "width_and_depth", "base_width": 48, "base_depth": 4}
    optim = adamw(model, shape, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, **rule)
    return trainer(model, model, optim, ask)


def llama(shape: Shape) -> Step:
    """The same sizes, loss, clipping and optimizer, and torch's fused attention: only the model differs."""
    assert transformers is not None
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=shape.width,
        intermediate_size=shape.ffn_width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        tie_word_embeddings=False,
        use_cache=False,
        attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
    )
    model = transformers.LlamaForCausalLM(config)
    optim = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, fused=True)
    return trainer(model, lambda batch: model(input_ids=batch.tokens).logits, optim, CausalLM())


def tokens_per_second(step: Step, seconds: float) -> float:
    start, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or not steps:
        step()
        steps += 1
    return steps * ROWS * WINDOW / passed


def training(width: int, rounds: int, seconds: float) -> dict:
    """Tokens per second of every contestant: each round, the medians, and ours over the peer's."""
    shape = ladder(depth=DEPTH, width_per_layer=width // DEPTH, head_dim=HEAD_DIM, ffn_multiple=FFN)
    torch.manual_seed(0)
    split = PrefixLM(prefix=WINDOW // 2, per_row=False)
    steps = {
        "causal_decoder": ours(CausalDecoder, shape, CausalLM()),
        "prefix_decoder": ours(PrefixDecoder, shape, split),
        "encoder_decoder": ours(EncoderDecoder, shape, split),
    }
    steps |= {PEER: llama(shape)} if transformers else {}
    for step in steps.values():
        for _ in range(WARM_STEPS):
            step()
    each = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            each[name].append(tokens_per_second(step, seconds))
    medians = {name: median(values) for name, values in each.items()}
    ratios = {name: medians[name] / medians[PEER] for name in medians if PEER in medians and name != PEER}
    return {"width": width, "tokens_per_second": medians, "over_peer": ratios, "rounds": each}


def fitting(rounds: int) -> list[dict]:
    """Seconds to fit Chinchilla's law to 240 rows of a known law with noise, without and with intervals."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e5, 3e6, 12), np.geomspace(1e6, 3e7, 20)))
    exact = Chinchilla().predict(LAW, {"N": N, "D": D})
    table = {"N": N, "D": D, "loss": exact * np.exp(np.random.default_rng(0).normal(0, NOISE, len(N)))}
    each = {0: [], RESAMPLES: []}
    for _ in range(rounds):
        for bootstrap, seconds in each.items():
            start = time.perf_counter()
            solve(Chinchilla(), table, delta=1e-3, bootstrap=bootstrap, seed=0)
            seconds.append(time.perf_counter() - start)
    return [{"rows": len(N), "bootstrap": b, "seconds": median(s), "rounds": s} for b, s in each.items()]


def show(result: dict) -> None:
    print(f"{'width':>5}  {'':16}{'tokens/s':>10}  {'lowest to highest':>19}  {'over ' + PEER:>13}")
    for row in result["training"]:
        for name, rate in row["tokens_per_second"].items():
            low, high = min(row["rounds"][name]), max(row["rounds"][name])
            ratio = f"{row['over_peer'][name]:13.2f}" if name in row["over_peer"] else ""
            print(f"{row['width']:5}  {name:16}{rate:10,.0f}  {low:8,.0f} to {high:7,.0f}  {ratio}")
    if not transformers:
        print("transformers is not installed (pip install '.[test]'): ours alone, no ratios")
    for row in result["fitting"]:
        print(f"fit of {row['rows']} rows, bootstrap {row['bootstrap']:4}: {row['seconds']:.3f} s")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[24, 48, 96], help=f"multiples of {HEAD_DIM}"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="a measurement")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "speed.json")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1 or not all(w > 0 and w % HEAD_DIM == 0 for w in asked.widths):
        parser.error(f"--rounds is at least 1, --widths are multiples of {HEAD_DIM}")

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # as scalelaw.train
    origin = provenance(" ".join(["python -m bench", *arguments]))
    origin["versions"]["transformers"] = transformers.__version__ if transformers else None
    result = {
        "provenance": origin,
        "setting": {"depth": DEPTH, "vocabulary": VOCAB, "window": WINDOW, "rows": ROWS},
        "training": [training(width, asked.rounds, asked.seconds) for width in asked.widths],
        "fitting": fitting(asked.rounds),
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out, json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main(sys.argv[1:])
