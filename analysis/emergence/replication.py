"""Are thresholds where they were, in runs that the search did not see, and the places half-way up?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.emergence.halfway import Halfway
from analysis.emergence.verdicts import Judged

Side = tuple[Judged, Halfway | None]
Found = tuple[float, Sequence[float]] | None


@dataclass(frozen=True)
class Place:
    """Of one table and of the other, in units of x, with their 95 % intervals; None where it has none.
    decades: log10 of the second over the first."""

    first: float | None
    interval95: Sequence[float] | None
    again: float | None
    again95: Sequence[float] | None
    decades: float | None


@dataclass(frozen=True)
class Replicated:
    """One curve of both tables that rises in both, or has a threshold in either."""

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
            threshold=_place(_threshold(a), _threshold(b)),
            halfway=_place(_halfway(half), _halfway(other)),
        )
        for (a, half), (b, other) in both
        if "emergent" in (a.verdict, b.verdict) or (half is not None and other is not None)
    ]


def _threshold(judged: Judged) -> Found:
    if judged.threshold is None or judged.interval95 is None:
        return None
    return judged.threshold, judged.interval95


def _halfway(half: Halfway | None) -> Found:
    return None if half is None else (half.at, half.interval95)


def _place(first: Found, again: Found) -> Place:
    decades = math.log10(again[0] / first[0]) if first and again else None
    return Place(*(first or (None, None)), *(again or (None, None)), decades)
