"""Runs that one could do: a grid over sizes and tokens, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

RANGE = 2  # numbers that say from where to where; more are taken one by one


def grid(sizes: Any, tokens: Any, *, flops: float, per_run: float) -> pd.DataFrame:
    """Candidates: every N of `sizes` with every D of `tokens` at C = flops N D, at most `per_run` FLOPs each.

    Columns N, D, C. Raises ValueError for numbers that are not positive, and when nothing is that cheap.
    """
    N, D = (np.unique(np.atleast_1d(np.asarray(values, dtype=float))) for values in (sizes, tokens))
    for name, values in (("N", N), ("D", D)):
        if not len(values) or not (values > 0).all() or not np.isfinite(values).all():
            raise ValueError(f"candidates.{name}: every one has to be a positive number")
    N, D = (v.ravel() for v in np.meshgrid(N, D, indexing="ij"))
    table = pd.DataFrame({"N": N, "D": D, "C": flops * N * D})
    cheap = table.loc[table.C <= per_run].reset_index(drop=True)
    if cheap.empty:
        raise ValueError(f"no candidate costs {per_run:.4g} FLOPs or less: the cheapest {table.C.min():.4g}")
    return cheap


def between(
    table: pd.DataFrame,
    *,
    N: Sequence[float] | None,
    D: Sequence[float] | None,
    points: int,
    flops: float,
    per_run: float,
) -> pd.DataFrame:
    """`grid` of `points` sizes and `points` numbers of tokens, evenly in the logarithm.

    N, D: [smallest, largest], a longer list of values to be taken as they are, or None for the table's range.
    Raises ValueError as `grid`, and for a range that the table does not have.
    """
    axes = []
    for name, values in (("N", N), ("D", D)):
        if values is None and name not in table:
            raise ValueError(
                f"candidates.{name}: there is no column {name} in the table to take a range from"
            )
        ends = np.array([table[name].min(), table[name].max()] if values is None else values, dtype=float)
        if not (ends > 0).all():
            raise ValueError(f"candidates.{name}={values}: every number has to be positive")
        axes.append(np.geomspace(ends[0], ends[1], points) if len(ends) == RANGE else ends)
    return grid(*axes, flops=flops, per_run=per_run)


def costs(table: pd.DataFrame, budget: float) -> np.ndarray:
    """(K,) FLOPs of each candidate. Raises ValueError when the budget buys none of them."""
    if not 0 < budget < np.inf:
        raise ValueError(f"flops_budget={budget} is not a positive number")
    if "C" not in table or table.empty:
        raise ValueError("candidates: no runs, or no column C that says what each costs")
    cost = table["C"].to_numpy(float)
    if not (cost > 0).all():
        raise ValueError(
            f"candidates, column C, row {int((~(cost > 0)).argmax()) + 1}: not a positive number"
        )
    if cost.min() > budget:
        raise ValueError(f"flops_budget={budget:.4g} buys none: the cheapest costs {cost.min():.4g}")
    return cost
