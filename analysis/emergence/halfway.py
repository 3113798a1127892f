"""Where a score has risen half-way: told of every curve that rises, be it with a threshold or smoothly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from analysis.emergence.curves import Curve
from analysis.emergence.detect import Detection

LEAST = 1e-9  # of the largest score: a rise below it is rounding


@dataclass(frozen=True)
class Halfway:
    """at, interval95: in units of the curve's x. levels: what it rises from and to, in units of its y."""

    at: float
    interval95: list[float]
    levels: list[float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def halfway(curve: Curve, found: Detection, *, bootstrap: int, seed: int) -> Halfway | None:
    """Where the best curve that never falls (isotonic regression on x) passes the middle of its range.

    Between two sizes the place is by a straight line in log x. The interval is of curves drawn about the best
    one with the scatter `found`, and reaches from size to size: where between two a jump lies is not told.
    None where nothing rises; whether a rise is more than chance is for `found` to say.
    """
    sizes, member, count = np.unique(curve.x, return_inverse=True, return_counts=True)

    def fit(y: np.ndarray) -> np.ndarray:
        return isotonic_regression(np.bincount(member, y) / count, weights=count).x

    level = fit(curve.y)
    if not level[-1] - level[0] > LEAST * float(np.abs(curve.y).max()):
        return None
    middle = (level[0] + level[-1]) / 2
    random = np.random.default_rng(seed)
    drawn = found.noise.draw(level[member] / found.unit, bootstrap, random) * found.unit
    after = np.array([_crossing(fit(y), middle)[0] for y in drawn])
    ends = [sizes[int(np.quantile(after, 0.025)) - 1], sizes[int(np.quantile(after, 0.975))]]
    k, share = _crossing(level, middle)
    at = sizes[k - 1] + share * (sizes[k] - sizes[k - 1])
    interval = sorted(curve.at(float(end)) for end in ends)
    return Halfway(curve.at(float(at)), interval, [float(level[0]), float(level[-1])])


def _crossing(level: np.ndarray, middle: float) -> tuple[int, float]:
    """The first size at the middle or above, at least the second, and the place's share of the way towards it
    from the one before."""
    above = np.flatnonzero(level >= middle)
    k = max(int(above[0]) if len(above) else len(level) - 1, 1)
    rise = level[k] - level[k - 1]
    return k, float(np.clip((middle - level[k - 1]) / rise, 0, 1)) if rise > 0 else 0.5
