"""Peak memory of a step: the most resident above the level before the first one, in a fresh process."""

import os
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from bench import ours
from bench.contestants import CONTESTANTS
from bench.fresh import fresh
from bench.size import Size
from scalelaw.contracts import IGNORE, Batch
from scalelaw.models.base import LanguageModel

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
STEPS = 2  # the second has the optimizer's state from the first


def losses(size: Size) -> dict[str, Any]:
    """Bytes of a causal decoder's step, with our loss and with cross-entropy over all logits at once."""
    kinds = ("fused", "unchunked")
    return {"size": asdict(size)} | {kind: fresh(of_loss, size=asdict(size), kind=kind) for kind in kinds}


def of_loss(size: dict[str, int], kind: str) -> int:
    at = Size(**size)
    model = ours.build("causal decoder", at)
    if kind == "unchunked":
        model.nll = lambda batch: unchunked(model, batch)
    step = ours.stepper("causal decoder", [model], at, precision="bfloat16", compile=False, device="cpu")
    return above(lambda: [step() for _ in range(STEPS)])


def unchunked(model: LanguageModel, batch: Batch) -> torch.Tensor:
    """Summed cross-entropy, nats, over the logits of the whole batch."""
    asked = batch.labels[:, batch.start :].reshape(-1)
    return F.cross_entropy(model(batch).float().flatten(0, 1), asked, ignore_index=IGNORE, reduction="sum")


def of_steps(sizes: Sequence[Size], names: Sequence[str]) -> list[dict[str, Any]]:
    """Bytes of a step of each contestant at each size."""

    def of(asked: tuple[Size, str]) -> int | None:
        return fresh(of_contestant, size=asdict(asked[0]), name=asked[1])

    with ThreadPoolExecutor(os.cpu_count()) as workers:  # other than seconds, bytes do not mind company
        found = dict(zip(product(sizes, names), workers.map(of, product(sizes, names)), strict=True))
    return [{"size": asdict(size), "bytes": {name: found[size, name] for name in names}} for size in sizes]


def of_contestant(size: dict[str, int], name: str) -> int | None:
    """None where the contestant is absent. For settings that compile nothing: a compiler's memory is no
    part of a step."""
    contestant = CONTESTANTS[name]
    if contestant.absent(Size(**size)):
        return None
    turn = contestant.build(Size(**size))
    return above(lambda: turn(STEPS))


def above(work: Any) -> int:
    """Bytes by which the resident memory of this process rose above its level now while `work()` ran."""
    before = _resident()
    work()
    return _peak() - before


def _resident() -> int:
    """Now; and the peak forgets what came before, where the system lets it (Linux)."""
    if not STATUS.exists():
        return _peak()
    if RESET.exists():
        RESET.write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    # Not ru_maxrss where it can be helped: a process inherits that of the one that started it.
    if STATUS.exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
