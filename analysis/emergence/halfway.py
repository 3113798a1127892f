"""Where a score has risen half-way: told of every curve that rises, be it with a threshold or smoothly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from analysis.emergence.curves import Curve

FEWEST = 4  # sizes


@dataclass(frozen=True)
class Halfway:
    """at, interval95: in units of the curve's x. levels: what it rises from and to."""

    at: float
    interval95: list[float]
    levels: list[float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def halfway(curve: Curve, *, bootstrap: int, seed: int) -> Halfway | None:
    """Where the best curve that never falls (isotonic regression on x) passes the middle of its range.

    Between two sizes the place is by a straight line in log x. The interval is of curves with residuals of
    random sign (wild bootstrap, Liu 1988), and reaches from size to size: where between two a jump lies is
    not told. None for fewer than four sizes, or where nothing rises.
    """
    sizes, member, count = np.unique(curve.x, return_inverse=True, return_counts=True)
    if len(sizes) < FEWEST:
        return None

    def fit(y: np.ndarray) -> np.ndarray:
        return isotonic_regression(np.bincount(member, y) / count, weights=count).x

    level = fit(curve.y)
    if not level[-1] > level[0]:
        return None
    middle = (level[0] + level[-1]) / 2
    # A level fitted to few points lies nearer to them than the truth does.
    free = max(len(curve.y) - len(np.unique(level)), len(curve.y) / 4)
    residual = (curve.y - level[member]) * np.sqrt(len(curve.y) / free)
    random = np.random.default_rng(seed)
    signs = random.choice([-1.0, 1.0], size=(bootstrap, len(residual)))
    drawn = [_crossing(fit(level[member] + sign * residual), middle) for sign in signs]
    before, after = np.array([(k - 1, k) for k, _ in drawn]).T
    ends = [sizes[int(np.quantile(before, 0.025))], sizes[int(np.quantile(after, 0.975))]]
    k, share = _crossing(level, middle)
    at = sizes[k - 1] + share * (sizes[k] - sizes[k - 1])
    return Halfway(curve.at(float(at)), sorted(curve.at(float(end)) for end in ends), [level[0], level[-1]])


def _crossing(level: np.ndarray, middle: float) -> tuple[int, float]:
    """The first size at the middle or above, at least the second, and the place's share of the way towards it
    from the one before."""
    above = np.flatnonzero(level >= middle)
    k = max(int(above[0]) if len(above) else len(level) - 1, 1)
    rise = level[k] - level[k - 1]
    return k, float(np.clip((middle - level[k - 1]) / rise, 0, 1)) if rise > 0 else 0.5
