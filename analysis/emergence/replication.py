"""Are thresholds where they were, in runs that the search did not see, and the places half-way up?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.emergence.halfway import Halfway
from analysis.emergence.verdicts import Judged

Side = tuple[Judged, Halfway | None]
RISES = ("emergent", "smooth", "undecided")


@dataclass(frozen=True)
class Place:
    """Of one table and of the other, in units of x; None where it has none. decades: log10 of the second over
    the first. inside: whether the second lies in the first's 95 % interval."""

    first: float | None
    again: float | None
    decades: float | None
    inside: bool | None


@dataclass(frozen=True)
class Replicated:
    """One curve that rises in both of two tables, or is emergent in either."""

    task: str
    metric: str
    verdict: str
    verdict_again: str
    threshold: Place
    halfway: Place

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def replicated(first: Sequence[Side], second: Sequence[Side]) -> list[Replicated]:
    """Two tables of the same tasks, held against each other. Raises ValueError where they have no curve in
    common."""
    there = {(judged.task, judged.metric): (judged, half) for judged, half in second}
    both = [(one, there[key]) for one in first if (key := (one[0].task, one[0].metric)) in there]
    if not both:
        raise ValueError("the two tables have no task and metric in common")
    return [
        Replicated(
            task=a.task,
            metric=a.metric,
            verdict=a.verdict,
            verdict_again=b.verdict,
            threshold=_place(a.threshold, a.interval95, b.threshold),
            halfway=_place(half and half.at, half and half.interval95, other and other.at),
        )
        for (a, half), (b, other) in both
        if "emergent" in (a.verdict, b.verdict) or (a.verdict in RISES and b.verdict in RISES)
    ]


def _place(first: float | None, interval: Sequence[float] | None, again: float | None) -> Place:
    if first is None or interval is None or again is None:
        return Place(first, again, None, None)
    return Place(first, again, math.log10(again / first), interval[0] <= again <= interval[1])
