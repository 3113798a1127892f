"""How far the loss of one run lies from the law, along the table and beyond it."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

# Quarters of a table need eight rows each before their spreads can be told apart.
PARTS, FEWEST = 4, 8
# Spread differs when it does at this level, over all directions looked along (Bonferroni).
LEVEL = 0.01


@dataclass(frozen=True)
class Scatter:
    """Standard deviations of log loss around the law, degrees of freedom taken off."""

    pooled: float
    freedom: int
    directions: list[list[float]]
    """Combinations of log inputs that the table has a range of: each, and sums and differences of two."""
    low: list[float]
    high: list[float]
    """(directions,) the table's range along each."""
    along: int | None = None
    """The direction along which the scatter differs; None where it is the same throughout."""
    edges: list[float] | None = None
    """Along that direction, where one quarter of the rows ends and the next begins."""
    quarters: list[float] | None = None
    """The scatter in each quarter."""
    p_value: float | None = None
    """Brown and Forsythe's (1974) for equal scatter along the direction that differs most, uncorrected."""

    def outside(self, logs: np.ndarray) -> np.ndarray:
        """Mask (n,) of log inputs (n, I) beyond the table's range in some direction: an extrapolation."""
        at = logs @ np.transpose(self.directions)
        slack = 1e-9 * (1 + np.abs(at))
        beyond = (at < np.array(self.low) - slack) | (at > np.array(self.high) + slack)
        return np.asarray(beyond.any(axis=1))

    def at(self, logs: np.ndarray) -> np.ndarray:
        """(n,) scatter of a new run at log inputs (n, I): that of its quarter, and beyond the table, where
        nothing says which quarter it is like, that of the noisiest."""
        if self.along is None:
            return np.full(len(logs), self.pooled)
        assert self.edges is not None
        assert self.quarters is not None
        place = np.searchsorted(self.edges, logs @ np.array(self.directions[self.along]))
        return np.where(self.outside(logs), max(self.quarters), np.array(self.quarters)[place])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def scatter(logs: np.ndarray, residuals: np.ndarray, parameters: int, freedom: int) -> Scatter:
    """From log inputs (n, I), log residuals (n,) of a fit of so many parameters, and the degrees of freedom
    left to their scale: fewer than n - P where rows are not independent."""
    n, inputs = logs.shape
    pooled = float(np.sqrt((residuals**2).sum() / max(n - parameters, 1)))
    unit = np.eye(inputs)
    directions = [*unit]
    for i, j in itertools.combinations(range(inputs), 2):
        directions += [unit[i] + unit[j], unit[i] - unit[j]]
    at = logs @ np.transpose(directions)
    known: dict[str, Any] = {
        "pooled": pooled,
        "freedom": freedom,
        "directions": [d.tolist() for d in directions],
        "low": at.min(axis=0).tolist(),
        "high": at.max(axis=0).tolist(),
    }
    found = [_quarters(at[:, k], residuals) for k in range(len(directions))]
    p = [one[2] if one else 1.0 for one in found]
    most = int(np.argmin(p))
    if (one := found[most]) is None:
        return Scatter(**known)
    edges, spread, p_value = one
    if p_value * len(directions) > LEVEL:
        return Scatter(**known, p_value=p_value)
    loss_of_freedom = np.sqrt(n / max(n - parameters, 1))
    quarters = (np.array(spread) * loss_of_freedom).tolist()
    return Scatter(**known, along=most, edges=edges, quarters=quarters, p_value=p_value)


def _quarters(at: np.ndarray, residuals: np.ndarray) -> tuple[list[float], list[float], float] | None:
    """Edges between the quarters, each one's root mean square, and the p-value; None with too few rows."""
    edges = np.quantile(at, np.arange(1, PARTS) / PARTS)
    place = np.searchsorted(edges, at)
    parts = [residuals[place == k] for k in range(PARTS)]
    if min(map(len, parts)) < FEWEST or not residuals.any():
        return None
    with np.errstate(invalid="ignore"):  # residuals all of one size have no spread to compare
        p_value = float(np.nan_to_num(stats.levene(*parts, center="median").pvalue, nan=1.0))
    return edges.tolist(), [float(np.sqrt((part**2).mean())) for part in parts], p_value
