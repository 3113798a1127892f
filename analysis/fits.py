"""A law fitted to a table of runs, to each architecture apart."""

import dataclasses
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis.law import Fit, Law
from analysis.solver.solve import solve
from analysis.tables import hygiene
from analysis.tables.replicates import run_column, run_numbers
from analysis.tables.runs import best_along, usable

CONVERGED = "converged"


def fit(table: pd.DataFrame, law: Law, *, cluster: str | None = "auto", **knobs: Any) -> Fit:
    """Fit one law to all usable rows; what is left out, and what is doubtful of the rest, is in the Fit.

    cluster: the column that tells which rows belong to one run; "auto" takes the run's own column where runs
    have several rows; None takes every row for independent. knobs: those of `analysis.solver.solve.solve`.
    Raises ValueError naming the source, and row and column where there is one.
    """
    source = table.attrs.get("source", "table")
    flags = hygiene.inspect(table)
    rows, dropped = hygiene.clean(table, flags)
    rows, more = usable(rows, law)
    dropped = _unread(table) + dropped + more
    used = best_along(rows, law.along) if law.along else rows
    if law.along and len(used) < len(rows):
        why = f"another run does as well with no more {law.along}"
        beaten = sorted(set(rows.index) - set(used.index))
        dropped.append({"why": why, "count": len(beaten), "rows": beaten})
    cluster = _run_of_rows(used) if cluster == "auto" else cluster
    try:
        found = solve(law, used, cluster=cluster, **knobs)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if below := _below_floor(found, used):
        raise ValueError(f"{source}, {below}")
    warnings = [asdict(flag) for flag in flags if flag.severity != hygiene.DROP]
    return dataclasses.replace(found, used=used.index.tolist(), dropped=dropped, flags=warnings)


def _unread(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs that are no row at all, since their files could not be read: of which part is not known."""
    unread = table.attrs.get("unread", {})
    if not unread:
        return []
    why = f"files that cannot be read: {next(iter(unread.values()))}"
    return [{"why": why, "count": len(unread), "rows": []}]


def _run_of_rows(table: pd.DataFrame) -> str | None:
    """The column of runs, where at least one of them has several rows, all of one size.

    A column that names a project or an experiment is no run: checkpoints of a run are of one size.
    """
    name = run_column(table)
    if name is None or "N" not in table:
        return None
    run = run_numbers(table)
    rows = np.bincount(run)
    if len(rows) < 2 or rows.max() < 2:
        return None
    size = np.unique(table["N"].to_numpy(float), return_inverse=True)[1]
    pairs = np.unique(np.stack([run, size]), axis=1)
    return name if np.bincount(pairs[0]).max() == 1 else None


# A loss that many standard deviations under the floor is no scatter but of another data set, unit or metric.
FAR = 6.0


def _below_floor(found: Fit, table: pd.DataFrame) -> str | None:
    """The row that lies so far below the fitted irreducible loss that no law of this form can mean it."""
    floor = getattr(found.law, "floor", None)
    if floor is None or not found.params[floor] > 0:
        return None
    typical = float(np.median(np.abs(found.residuals))) / 0.6745  # of normal scatter, the standard deviation
    depth = np.log(found.params[floor]) - np.log(table["loss"].to_numpy(float))
    if not (depth > max(FAR * typical, FAINTEST)).any():
        return None
    row = table.index[int(depth.argmax())]
    return (
        f"row {row}, column loss: is {table['loss'].iloc[int(depth.argmax())]:g}, far below the irreducible "
        f"loss {floor} = {found.params[floor]:.4g} that the other rows have: it cannot be of the same law"
    )


# Rows of an exact law are below its floor by rounding alone.
FAINTEST = 1e-6


def aicc(fit: Fit) -> float:
    """Akaike's criterion, corrected for small samples (Hurvich & Tsai 1989), on log losses.

    The robust criterion is read as a density exp(-rho / s) with its scale s free: for Huber's loss near least
    absolute deviations that is Laplace's, -2 log likelihood = 2 n log s; for least squares the normal's.
    Infinite where n leaves nothing to correct with.
    """
    r = np.abs(fit.residuals)
    n, k = fit.n, len(fit.law.names) - len(fit.fixed) + 1  # and the scale
    squares = fit.criterion in ("mse", "mse_raw")
    scale = (r**2).mean() if squares else r.mean() ** 2
    if n - k - 1 <= 0:
        return float("inf")
    return float(n * np.log(max(scale, 1e-300)) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


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


def parts(table: pd.DataFrame, by: str) -> dict[str, pd.DataFrame]:
    """The rows of each value of column `by`, in the order of their names. ValueError for an empty cell."""
    groups = pd.Series(table[by])
    if groups.isna().any():
        row = table.index[int(groups.isna().argmax())]
        raise ValueError(f"{table.attrs.get('source', 'table')}, row {row}, column {by}: is empty")
    return {str(name): table.loc[groups == name] for name in sorted(groups.unique(), key=str)}


def fit_each(
    table: pd.DataFrame, law: Law, *, by: str = "architecture", **knobs: Any
) -> tuple[dict[str, Fit], dict[str, str]]:
    """Fit one law to the rows of each value of column `by`: the fits, and why others could not be had."""
    fits, refused = {}, {}
    for name, rows in parts(table, by).items():
        try:
            fits[name] = fit(rows, law, **knobs)
        except ValueError as error:
            refused[name] = str(error)
    return fits, refused
