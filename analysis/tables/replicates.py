"""Repeated configurations: what differs between two runs that differ in the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy.stats import chi2

from analysis.law import plain

# Budgets are met in whole steps, sizes in whole heads: what was meant to be equal is so to about a per cent.
SAME = 0.01
SIZES = ("N", "D", "C")
RECIPE = (
    *("architecture", "objective", "data", "width", "depth", "window", "batch_tokens", "unique_tokens"),
    *("optimizer", "schedule", "learning_rate", "peak_learning_rate"),
)
RUNS = ("run", "run_name")


@dataclass(frozen=True)
class SeedNoise:
    """How much the log of the loss scatters when nothing but the seed changes."""

    sigma: float
    """Pooled standard deviation of log loss."""
    interval95: tuple[float, float]
    """From chi-square with `freedom` degrees of freedom: that of normal noise, equal throughout."""
    freedom: int
    groups: int
    rows: list[int]

    def to_json(self) -> dict[str, Any]:
        return plain(asdict(self))


def seed_noise(table: pd.DataFrame) -> SeedNoise | None:
    """Pooled standard deviation of log loss over repeated configurations; None where there are none.

    Repeats have the same N, D, C and recipe (as far as the table tells) within 1 %, and different seeds, or
    runs where no seed is told. Of several rows of one run, the last counts: the others share its luck.
    """
    rows = repeats(table)
    if rows.empty:
        return None
    y = np.log(table.loc[rows.index, "loss"].to_numpy(float))
    groups, size = np.unique(rows.to_numpy(), return_inverse=True, return_counts=True)[1:]
    freedom = int((size - 1).sum())
    squares = float(((y - (np.bincount(groups, y) / size)[groups]) ** 2).sum())
    low, high = (float(np.sqrt(squares / chi2.ppf(tail, freedom))) for tail in (0.975, 0.025))
    sigma = float(np.sqrt(squares / freedom))
    return SeedNoise(sigma, (low, high), freedom, len(size), rows.index.tolist())


def repeats(table: pd.DataFrame) -> pd.Series:
    """Group number of each row that has repeats, by the table's index; empty where the table cannot tell."""
    run = run_column(table)
    told = "seed" if "seed" in table else run
    none = pd.Series(dtype=int)
    if told is None or "loss" not in table or not {"N", "D"} & set(table):
        return none
    table = table.loc[(table["loss"] > 0) & np.isfinite(table["loss"]) & table[told].notna()]
    if run is not None and "D" in table:
        order = np.argsort(table["D"].to_numpy(float), kind="stable")[::-1]
        table = table.iloc[np.sort(order[np.unique(run_numbers(table)[order], return_index=True)[1]])]
    group = configurations(table, (*SIZES, *RECIPE))
    apart = ~pd.DataFrame({"group": group, "told": pd.Series(table[told]).map(str)}).duplicated().to_numpy()
    group = pd.Series(group[apart])
    of, size = np.unique(group.to_numpy(), return_inverse=True, return_counts=True)[1:]
    return pd.Series(group[(size > 1)[of]]) if len(group) else none


def configurations(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Number of the group each row belongs to: rows that agree in the columns `names`, numbers within 1 %."""
    keys = {name: _levels(pd.Series(table[name])) for name in names if name in table}
    if not keys:
        return pd.Series(0, index=table.index)
    return pd.DataFrame(keys, index=table.index).groupby(list(keys), sort=True, dropna=False).ngroup()


def run_numbers(table: pd.DataFrame) -> np.ndarray:
    """(n,) integers, the same for the rows of one run; a row whose run is not told has its own."""
    run = table[run_column(table)]
    numbers = pd.factorize(np.array([str(name) for name in run], dtype=object))[0]
    return np.where(run.notna().to_numpy(), numbers, len(table) + np.arange(len(table)))


def run_column(table: pd.DataFrame) -> str | None:
    """The column that says which rows belong to one run."""
    return next((name for name in RUNS if name in table), None)


def _levels(column: pd.Series) -> np.ndarray:
    """(n,) integers, equal where the values are: within 1 % of the smallest of their level, if positive."""
    if not is_numeric_dtype(column):
        return pd.factorize(column.map(str))[0]
    values = column.to_numpy(dtype=float, na_value=np.nan)
    ends, sorted_values = [], np.unique(values)
    at = 0
    while at < len(sorted_values):
        ends.append(sorted_values[at])
        reach = sorted_values[at] + SAME * abs(sorted_values[at])
        at = max(at + 1, int(np.searchsorted(sorted_values, reach, side="right")))
    return np.searchsorted(np.array(ends), values, side="right")
