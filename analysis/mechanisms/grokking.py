"""Grokking: what was trained on is known early, what was held out only much later (Power et al. 2022).

Read from the accuracies along a run. Between two evaluations nothing is known: a time is a pair of steps, the
last one before and the first one at which it is so, and a delay has the bounds that follow. An accuracy is
the median of three evaluations in a row: with weight decay a model that knows all forgets it now and then for
a few steps, and is no less one that knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

TRAIN, HELD_OUT = "accuracy.train", "accuracy.validation"
LEVEL = 0.9  # of what is right: known, but for slips
DELAY = 2.0  # times as many steps at the least: what is learnt at once differs by less

Bracket = tuple[float, float]


@dataclass(frozen=True)
class Grokking:
    """train, held_out: steps between which accuracy came to LEVEL to stay; None where it did not. delay: the
    least and the most that the second may be, over the first. verdict: "grokked", "learnt together",
    "memorised" (what was held out was not learnt), "not learnt", or "undecided": evaluations too far apart.
    """

    train: Bracket | None
    held_out: Bracket | None
    delay: Bracket | None
    verdict: str

    def said(self) -> str:
        if self.train is None:
            return "not learnt: what was trained on never came to stay above 90 %"
        known = f"what was trained on is known {_between(self.train)}"
        if self.held_out is None or self.delay is None:
            return f"memorised: {known}, what was held out never"
        low, high = self.delay
        delay = f"{low:.3g} to {high:.3g} times as late"
        return f"{self.verdict}: {known}, what was held out {_between(self.held_out)}, {delay}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"said": self.said()}


def grokking(rows: Sequence[Mapping[str, Any]]) -> Grokking | None:
    """Of a run's metrics, in order; None where accuracies were not measured along it."""
    seen = [row for row in rows if TRAIN in row and HELD_OUT in row]
    if len(seen) < 2:
        return None
    steps = [float(row["step"]) for row in seen]
    train, held_out = (comes_to_stay(steps, [float(row[key]) for row in seen]) for key in (TRAIN, HELD_OUT))
    if train is None:
        return Grokking(None, held_out, None, "not learnt")
    if held_out is None:
        return Grokking(train, None, None, "memorised")
    # Before the first evaluation there is step 1.
    low, high = held_out[0] / train[1], held_out[1] / max(train[0], 1.0)
    verdict = "grokked" if low >= DELAY else "learnt together" if high < DELAY else "undecided"
    return Grokking(train, held_out, (low, high), verdict)


def comes_to_stay(steps: Sequence[float], accuracy: Sequence[float]) -> Bracket | None:
    """The evaluations before and after which the median of three is at LEVEL from then on; step 0 before the
    first. At the ends an evaluation counts by itself."""
    inner = [median(accuracy[k - 1 : k + 2]) for k in range(1, len(accuracy) - 1)]
    below = [k for k, value in enumerate([accuracy[0], *inner, accuracy[-1]]) if value < LEVEL]
    first = below[-1] + 1 if below else 0
    if first == len(steps):
        return None
    return (steps[first - 1] if first else 0.0), steps[first]


def _between(steps: Bracket) -> str:
    return f"between steps {steps[0]:.0f} and {steps[1]:.0f}"
