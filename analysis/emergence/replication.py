"""Are thresholds where they were, in runs that the search did not see?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.emergence.verdicts import Judged


@dataclass(frozen=True)
class Replicated:
    """One curve that is emergent in either of two tables. Thresholds are in units of its x, None where a
    table has none; decades: log10 of the second over the first; inside: whether the second lies in the
    first's interval."""

    task: str
    metric: str
    verdict: str
    verdict_again: str
    threshold: float | None
    threshold_again: float | None
    decades: float | None
    inside: bool | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def replicated(first: Sequence[Judged], second: Sequence[Judged]) -> list[Replicated]:
    """The emergent curves of two tables of the same tasks, held against each other. Raises ValueError where
    they have no curve in common."""
    there = {(j.task, j.metric): j for j in second}
    both = [(j, there[j.task, j.metric]) for j in first if (j.task, j.metric) in there]
    if not both:
        raise ValueError("the two tables have no task and metric in common")
    return [_pair(a, b) for a, b in both if "emergent" in (a.verdict, b.verdict)]


def _pair(a: Judged, b: Judged) -> Replicated:
    decades, inside = None, None
    if a.threshold is not None and a.interval95 is not None and b.threshold is not None:
        decades = math.log10(b.threshold / a.threshold)
        inside = a.interval95[0] <= b.threshold <= a.interval95[1]
    return Replicated(
        a.task, a.metric, a.verdict, b.verdict, a.threshold, b.threshold, decades=decades, inside=inside
    )
