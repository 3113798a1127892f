"""A law fitted to a table of runs, to each architecture apart."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from analysis.law import Fit, Law
from analysis.runs import best_along, usable
from analysis.solve import solve

CONVERGED = "converged"


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


# Wider than this, an interval says little more than the sign: two decades of a factor, as a factor is found
# only together with its exponent, and a fivefold exponent, between a law of small returns and one of large.
FACTOR_SPAN, EXPONENT_SPAN = 100.0, 5.0


def undetermined(fit: Fit) -> list[str]:
    """The parameters whose 95 % interval is too wide to call them measured, or includes 0."""
    out = []
    for name, (low, high) in fit.interval95.items():
        most = EXPONENT_SPAN if name.startswith(("alpha", "beta")) else FACTOR_SPAN
        if not (np.isfinite(high) and 0 < low and high <= most * low):
            out.append(name)
    return out


def verdict(fit: Fit) -> str:
    """The status of a fit, and where that is `converged`, which parameters the runs leave open."""
    lacking = undetermined(fit)
    if fit.status != CONVERGED or not lacking:
        return fit.status
    return f"optimum found; not determined by these runs: {', '.join(lacking)}"


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
