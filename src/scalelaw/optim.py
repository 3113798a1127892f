"""AdamW with learning rates that transfer over width, and the schedules.

Rule (muP for Adam: Yang et al. 2022, Tensor Programs V, Table 3): the learning rate of a matrix whose fan-in
grows with the width is lr * base_width / width; embeddings and norm gains keep lr. The matching
initialisation is the models' own. A rate tuned on a small rung then serves the larger ones.
"""

import math
from collections.abc import Iterable
from typing import Protocol

import torch

from scalelaw.contracts import BadInput


class Grouped(Protocol):
    """A model that says which of its parameters have a fan-in that grows with the width."""

    def width_groups(self) -> dict[str, list[torch.nn.Parameter]]: ...


class Schedule(Protocol):
    """Factor on the peak learning rate at a step (counted from 0) of a run of `steps` steps."""

    def __call__(self, step: int, steps: int) -> float: ...


def adamw(
    model: Grouped,
    width: int,
    *,
    lr: float,
    base_width: int,
    transfer: bool,
    betas: Iterable[float],
    eps: float,
    weight_decay: float,
) -> torch.optim.AdamW:
    """Fused AdamW over the model's parameter groups, each with its peak rate in `group["peak"]`.

    `transfer=False` gives every group the same rate (standard parametrisation), for comparison.
    Raises BadInput for a learning rate that is not positive.
    """
    if not lr > 0:
        raise BadInput(f"optimizer.lr must be positive, not {lr!r}")
    groups = model.width_groups()
    scale = base_width / width if transfer else 1.0
    first, second = betas
    return torch.optim.AdamW(
        [
            # Decay shrinks matrices only: a decayed norm gain or embedding is a different model.
            {"params": groups["vector_like"], "lr": lr, "peak": lr, "weight_decay": 0.0},
            {
                "params": groups["matrix_like"],
                "lr": lr * scale,
                "peak": lr * scale,
                "weight_decay": weight_decay,
            },
        ],
        betas=(float(first), float(second)),
        eps=eps,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


class WarmupStableDecay:
    """Linear warm-up, constant, linear decay to `final` (Hu et al. 2024, MiniCPM; Hägele et al. 2024).

    `warmup` and `decay` are shares of the run's steps, so the schedule always matches D.
    """

    def __init__(self, *, warmup: float, decay: float, final: float) -> None:
        _shares("schedule", warmup=warmup, decay=decay, final=final)
        if warmup + decay > 1:
            raise BadInput(f"schedule.warmup + schedule.decay is {warmup + decay:g}: more than the whole run")
        self.warmup, self.decay, self.final = warmup, decay, final

    def __call__(self, step: int, steps: int) -> float:
        left = (steps - step) / max(1.0, self.decay * steps)
        return min(_warmup(step, self.warmup * steps), self.final + (1 - self.final) * min(1.0, left))


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


def _warmup(step: int, length: float) -> float:
    # The first step already moves: a rate of zero would waste its batch.
    return min(1.0, (step + 1) / max(1.0, length))


def _shares(group: str, **values: float) -> None:
    for key, value in values.items():
        if not 0 <= value <= 1:
            raise BadInput(f"{group}.{key} is a share of the run between 0 and 1, not {value!r}")
