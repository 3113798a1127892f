"""A law fitted to a table of runs, to each architecture apart."""

import dataclasses
from typing import Any

import pandas as pd

from analysis.law import Fit, Law
from analysis.runs import best_along, usable
from analysis.solve import solve


def fit(table: pd.DataFrame, law: Law, **knobs: Any) -> Fit:
    """Fit one law to all usable rows. knobs: those of `analysis.solve.solve`. Raises ValueError."""
    rows, dropped = usable(table, law)
    used = best_along(rows, law.along) if law.along else rows
    if law.along and len(used) < len(rows):
        why = f"another run does as well with no more {law.along}"
        beaten = sorted(set(rows.index) - set(used.index))
        dropped.append({"why": why, "count": len(beaten), "rows": beaten})
    try:
        found = solve(law, used, **knobs)
    except ValueError as error:
        raise ValueError(f"{table.attrs.get('source', 'table')}: {error}") from error
    return dataclasses.replace(found, rows=used.index.tolist() if law.along else None, dropped=dropped)


def fit_each(
    table: pd.DataFrame, law: Law, *, by: str = "architecture", **knobs: Any
) -> tuple[dict[str, Fit], dict[str, str]]:
    """Fit one law to the rows of each value of column `by`: the fits, and why others could not be had."""
    groups = pd.Series(table[by])
    if groups.isna().any():
        row = table.index[int(groups.isna().argmax())]
        raise ValueError(f"{table.attrs.get('source', 'table')}, row {row}, column {by}: is empty")
    fits, refused = {}, {}
    for name in sorted(groups.unique(), key=str):
        try:
            fits[str(name)] = fit(table.loc[groups == name], law, **knobs)
        except ValueError as error:
            refused[str(name)] = str(error)
    return fits, refused
