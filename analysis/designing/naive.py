"""Designs that people use without asking what they are for, at the same number of runs and FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq

TOKENS_PER_PARAMETER = 20.0  # Hoffmann et al. 2022, table 3: the compute-optimal D is about 20 N

# Hoffmann et al. 2022, approach 2: budgets 6e18, 1e19, 3e19, ... 3e21, a factor of 2 to 3 from one to the
# next, each with sizes up to about four times smaller and larger than the best.
BUDGET_STEP, SIZE_SPAN = 3.0, 4.0
SIZES = 5  # a budget; a parabola needs three, and its two ends should bracket the vertex


@dataclass(frozen=True)
class Ranges:
    """Where candidates lie: N and D from lowest to highest, and FLOPs per token at a number of sizes."""

    N: np.ndarray
    per_token: np.ndarray
    D: tuple[float, float]

    @classmethod
    def of(cls, candidates: pd.DataFrame) -> Ranges:
        """From columns N, D, C; where a size costs more than one price a token, their geometric mean."""
        price = np.log(candidates.C / candidates.D).groupby(candidates.N).mean()
        return cls(
            price.index.to_numpy(float), np.exp(price.to_numpy()), (candidates.D.min(), candidates.D.max())
        )

    def table(self, N: np.ndarray, D: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({"N": N, "D": D, "C": self.price(N) * D})

    def price(self, N: np.ndarray) -> np.ndarray:
        """FLOPs per token, interpolated between sizes."""
        return np.exp(np.interp(np.log(N), np.log(self.N), np.log(self.per_token)))


def ladder(count: int, budget: float, ranges: Ranges) -> pd.DataFrame:
    """`count` sizes from the smallest up, evenly in log N, each at 20 tokens a parameter where D allows it.

    The largest is as large as budget and range allow. Columns N, D, C.
    """

    def rungs(log_top: float) -> pd.DataFrame:
        N = np.exp(np.linspace(np.log(ranges.N[0]), log_top, count))
        return ranges.table(N, np.clip(TOKENS_PER_PARAMETER * N, *ranges.D))

    def excess(log_top: float) -> float:
        return float(np.log(rungs(log_top).C.sum() / budget))

    low, high = np.log(ranges.N[[0, -1]])
    if excess(low) >= 0 or excess(high) <= 0:
        return rungs(low if excess(low) >= 0 else high)
    return rungs(float(brentq(excess, low, high)))  # pyright: ignore[reportArgumentType]


def isoflop(count: int, budget: float, ranges: Ranges, N_opt: Callable[[float], float]) -> pd.DataFrame:
    """Profiles of five sizes around the compute-optimal one, at budgets a factor of three apart.

    The largest is as large as budget and ranges allow; what lies outside the ranges is moved to their edge.
    Columns N, D, C.
    """
    sizes = min(SIZES, count)
    shares = BUDGET_STEP ** -np.arange(max(count // SIZES, 1), dtype=float)
    dearest = float(ranges.price(ranges.N).max() * ranges.D[1])
    parts = []
    for C in min(budget / (sizes * shares.sum()), dearest) * shares:
        N = np.clip(N_opt(C) * np.geomspace(1 / SIZE_SPAN, SIZE_SPAN, sizes), ranges.N[0], ranges.N[-1])
        parts.append(ranges.table(N, np.clip(C / ranges.price(N), *ranges.D)))
    return pd.concat(parts, ignore_index=True)
