"""Power laws of the compute optimum, N_opt ~ C^a and D_opt ~ C^b, through minima found at several C.

Shapes: R tables read side by side, J values of C with a minimum, k budgets asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Exponents:
    """What each of R tables says: a, b (R,) and log N_opt, log D_opt (R, k) at the budgets.

    NaN throughout for a table that says nothing, because no two minima are bracketed.
    """

    a: np.ndarray
    b: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray

    def values(self) -> dict[str, np.ndarray]:
        """By published name: a, b, and the natural N_opt, D_opt."""
        with np.errstate(over="ignore"):
            return {"a": self.a, "b": self.b, "N_opt": np.exp(self.log_N), "D_opt": np.exp(self.log_D)}

    def where(self, mask: np.ndarray) -> Exponents:
        return Exponents(self.a[mask], self.b[mask], self.log_N[mask], self.log_D[mask])


class Reader(Protocol):
    """One approach on one table: reads a and b off any losses its runs might have had."""

    def read(self, losses: np.ndarray, budgets: np.ndarray) -> Exponents:
        """Losses (R, n) of the table's rows, budgets (k,) in FLOPs."""
        ...


def joined(parts: list[Exponents]) -> Exponents:
    return Exponents(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "log_N", "log_D"))
    )


def moved(one: Exponents, by: Exponents, sign: float) -> Exponents:
    """one + sign * by, N and D in logarithms."""
    return Exponents(
        one.a + sign * by.a, one.b + sign * by.b, one.log_N + sign * by.log_N, one.log_D + sign * by.log_D
    )


def regress(
    log_C: np.ndarray, log_N: np.ndarray, log_D: np.ndarray, used: np.ndarray, budgets: np.ndarray
) -> Exponents:
    """Least squares of log N_opt and log D_opt (R, J) on log C, (J,) or (R, J), over the mask `used` (R, J).

    A table with fewer than two different C in use says nothing: NaN.
    """
    with np.errstate(all="ignore"):
        count = used.sum(axis=1, keepdims=True)
        centre = (used * log_C).sum(axis=1, keepdims=True) / count
        dx = np.where(used, log_C - centre, 0.0)
        spread = (dx**2).sum(axis=1)
        ahead = np.log(budgets) - centre
        lines = []
        for y in (log_N, log_D):
            y = np.where(used, y, 0.0)
            slope = (dx * y).sum(axis=1) / np.where(spread > 0, spread, np.nan)
            at = (y.sum(axis=1, keepdims=True) / count) + slope[:, None] * ahead
            lines.append((slope, at))
    (a, at_N), (b, at_D) = lines
    return Exponents(a, b, at_N, at_D)
