"""AdamW with learning rates that transfer over width and depth, and the schedules.

The rule, for matrices whose fan-in grows with the width, relative to a base shape:

    head     base_width / width
    read     base_width / width * sqrt(base_depth / depth)
    write    base_width / width * (base_depth / depth)

Embeddings and norm gains keep the rate itself. Over width this is muP for Adam (Yang et al. 2022, Tensor
Programs V, table 3). Over depth it is Depth-muP (Yang et al. 2023, Tensor Programs VI, table 1): there each
block's output is multiplied by depth ** -1/2 and Adam's rate too; here the multiplier is part of the initial
values of the matrices that write (scalelaw.models.layers), so their rate takes it a second time. A rate tuned
on a small rung is to serve the larger ones: what `study=widths` and `study=lr` found is in docs/hparams.md.
"""

import math
from collections.abc import Iterable
from typing import Protocol

import torch

from scalelaw.contracts import BadInput
from scalelaw.shape import Shape

TRANSFERS = ("none", "width", "width_and_depth")


class Grouped(Protocol):
    """A model that says which of its parameters are embeddings and gains, head, readers and writers."""

    def rate_groups(self) -> dict[str, list[torch.nn.Parameter]]: ...


class Schedule(Protocol):
    """Factor on the peak learning rate at a step (counted from 0) of a run of `steps` steps."""

    def __call__(self, step: int, steps: int) -> float: ...

    def shared(self, steps: int) -> int:
        """How many first steps of such a run have the factors that they have in every longer run."""
        ...


def adamw(
    model: Grouped,
    shape: Shape,
    *,
    lr: float,
    transfer: str,
    base_width: int,
    base_depth: int,
    betas: Iterable[float],
    eps: float,
    weight_decay: float,
) -> torch.optim.AdamW:
    """Fused AdamW over the model's rate groups, each with its peak rate in `group["peak"]`.

    transfer: "width_and_depth", the rule above; "width", muP alone; "none", one rate for all (standard
    parametrisation), for comparison. Raises BadInput for any other, or a rate that is not positive.
    """
    if not lr > 0:
        raise BadInput(f"optimizer.lr must be positive, not {lr!r}")
    if transfer not in TRANSFERS:
        raise BadInput(f"optimizer.transfer is one of {', '.join(TRANSFERS)}, not {transfer!r}")
    narrow = 1.0 if transfer == "none" else base_width / shape.width
    shallow = base_depth / shape.depth if transfer == "width_and_depth" else 1.0
    factors = {"vector": 1.0, "head": narrow, "read": narrow * shallow**0.5, "write": narrow * shallow}
    first, second = betas
    groups = [
        {
            "params": parameters,
            "name": name,
            "lr": lr * factors[name],
            "peak": lr * factors[name],
            # Decay shrinks matrices only: a decayed norm gain or embedding is a different model.
            "weight_decay": 0.0 if name == "vector" else weight_decay,
        }
        for name, parameters in model.rate_groups().items()
        if parameters  # a tied model has no head of its own
    ]
    return torch.optim.AdamW(groups, betas=(float(first), float(second)), eps=eps, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


class WarmupStableDecay:
    """Linear warm-up, constant, linear decay to `final` (Hu et al. 2024, MiniCPM; Hägele et al. 2024).

    warmup: below 1 a share of the run's steps, from 1 on a number of steps. decay: a share. With a number,
    runs of all budgets begin alike, and shorter ones can branch off a longer one where their decay begins.
    """

    def __init__(self, *, warmup: float, decay: float, final: float) -> None:
        _shares("schedule", decay=decay, final=final)
        if not (0 <= warmup < 1 or (warmup >= 1 and warmup == int(warmup))):
            raise BadInput(f"schedule.warmup is a share below 1 or a whole number of steps, not {warmup!r}")
        if warmup < 1 and warmup + decay > 1:
            raise BadInput(f"schedule.warmup + schedule.decay is {warmup + decay:g}: more than the whole run")
        self.warmup, self.decay, self.final = warmup, decay, final

    def __call__(self, step: int, steps: int) -> float:
        length = self.warmup if self.warmup >= 1 else self.warmup * steps
        decayed = self.final + (1 - self.final) * min(1.0, self._left(step, steps))
        return min(_warmup(step, length), decayed)

    def shared(self, steps: int) -> int:
        if self.warmup < 1:
            return 0
        alike = min(steps, math.ceil(steps - self.decay * steps) + 1)
        while alike > 0 and self._left(alike - 1, steps) < 1:  # to its rounding: a bit less is another rate
            alike -= 1
        return alike

    def _left(self, step: int, steps: int) -> float:
        """How much of the decay is left to come; from 1 on, all of it."""
        return (steps - step) / max(1.0, self.decay * steps)


class Cosine:
    """Linear warm-up, then half a cosine down to `final` at the last step (Hoffmann 2022 use final = 0.1)."""

    def __init__(self, *, warmup: float, final: float) -> None:
        _shares("schedule", warmup=warmup, final=final)
        self.warmup, self.final = warmup, final

    def __call__(self, step: int, steps: int) -> float:
        start = self.warmup * steps
        progress = min(1.0, max(0.0, (step - start) / max(1.0, steps - start)))
        cosine = self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
        return min(_warmup(step, start), cosine)

    def shared(self, steps: int) -> int:
        return 0


def _warmup(step: int, length: float) -> float:
    # The first step already moves: a rate of zero would waste its batch.
    return min(1.0, (step + 1) / max(1.0, length))


def _shares(group: str, **values: float) -> None:
    for key, value in values.items():
        if not 0 <= value <= 1:
            raise BadInput(f"{group}.{key} is a share of the run between 0 and 1, not {value!r}")
