"""How long a run trains: tokens, FLOPs or tokens per parameter -> D and the number of steps."""

import math
from dataclasses import dataclass
from typing import Any

from scalelaw.contracts import BadInput, Objective
from scalelaw.counting import count, expected_flops


@dataclass(frozen=True)
class Budget:
    """A resolved budget. D counts the tokens really read: `steps` whole batches."""

    D: int
    steps: int


def resolved(budget: Any, model: Any, objective: Objective, *, window: int, rows: int) -> Budget:
    """What a budget comes to for this model on batches of `rows` windows; one without weights will do."""
    flops = expected_flops(model, objective, window=window, rows=rows)
    N = count(model)["non_embedding"]
    return budget.resolve(N=N, flops_per_token=flops / window, batch_tokens=rows * window)


class Tokens:
    """Train on D tokens."""

    def __init__(self, *, D: float) -> None:
        self.wanted = _positive("budget.D", D)

    def resolve(self, *, N: int, flops_per_token: float, batch_tokens: int) -> Budget:
        return _whole_batches(self.wanted, batch_tokens)


class Flops:
    """Train for C FLOPs of the architecture's own count: both passes, head and attention included."""

    def __init__(self, *, C: float) -> None:
        self.wanted = _positive("budget.C", C)

    def resolve(self, *, N: int, flops_per_token: float, batch_tokens: int) -> Budget:
        return _whole_batches(self.wanted / flops_per_token, batch_tokens)


class TokensPerParameter:
    """Train on `ratio` tokens a non-embedding parameter; about 20 is compute-optimal in Hoffmann 2022."""

    def __init__(self, *, ratio: float) -> None:
        self.wanted = _positive("budget.ratio", ratio)

    def resolve(self, *, N: int, flops_per_token: float, batch_tokens: int) -> Budget:
        return _whole_batches(self.wanted * N, batch_tokens)


def _whole_batches(tokens: float, batch_tokens: int) -> Budget:
    """At least one step; otherwise the nearest whole number of batches."""
    steps = max(1, round(tokens / batch_tokens))
    return Budget(D=steps * batch_tokens, steps=steps)


def _positive(key: str, value: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise BadInput(f"{key} must be a positive number, not {value!r}: a run needs something to train on")
    return float(value)
