"""The data against the law: measured losses against predicted, and the law along one input or compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.account import Account
from analysis.law import Fit, unusable
from analysis.optima.surfaces import Surface
from analysis.plots.rows import RUNGS, Rows, Tint, label, scaled, tint
from analysis.plots.style import FAINT, INK, PALETTE, canvas, losses, titles

TITLE = "The runs against the law"
NORMAL = 1.96  # 95 % of normal scatter
ALONG = 60  # points of a line
# Rows that a law of one input does not describe are drawn up to this factor above those it does.
FARTHEST = 1.25


def draw(account: Account) -> tuple[Figure, str] | None:
    """Two panels; None where no law could be fitted. Use inside `style.look()`."""
    if account.fit is None:
        return None
    rows = Rows.of(account)
    x = abscissa(rows)
    colour = tint(rows, x)
    figure, axes = canvas(1, 2, height=3.9)
    _agreement(axes[0, 0], rows, colour)
    told = _law(axes[0, 1], account, rows, x, colour)
    colour.key(figure, axes)
    titles(axes[0], ["measured against predicted", f"loss along {label(x).split(',')[0]}"])
    return figure, _agreement_told(rows) + told + rows.thinned


def abscissa(rows: Rows) -> str:
    """What to draw a law along: for laws of N and D, compute; else data, or what has most values."""
    inputs = rows.fit.law.inputs
    if {"N", "D"} <= set(inputs) <= {"N", "D", "C"} and "C" in rows.table and np.ptp(rows["C"]) > 0:
        return "C"
    return "D" if "D" in inputs else max(inputs, key=lambda name: rows.table[name].nunique())


def _agreement(axis: Axes, rows: Rows, colour: Tint) -> None:
    at = rows.shown
    predicted, measured = rows.predicted, rows.measured
    for which in "xy":
        losses(axis, which, [*predicted[at], *measured[at]])
    ends = np.array(axis.get_xlim())
    width = np.exp(NORMAL * rows.fit.scale)
    axis.fill_between(ends, ends / width, ends * width, color=FAINT, alpha=0.18, linewidth=0)
    axis.plot(ends, ends, color=INK, linewidth=0.8, zorder=2)
    axis.scatter(predicted[at], measured[at], s=14, c=_points(rows, colour), linewidth=0, zorder=3)
    worst = rows.outlying & np.isin(np.arange(len(predicted)), at)
    axis.scatter(predicted[worst], measured[worst], s=44, facecolor="none", edgecolor=PALETTE[1], zorder=4)
    axis.set_xlabel("Predicted loss, nats per token")
    axis.set_ylabel("Measured loss, nats per token")


def _agreement_told(rows: Rows) -> str:
    told = (
        "Left: each run's loss against what the law says of it; grey, 95 % of new runs at the pooled "
        f"scatter of {rows.fit.scale:.2%}"
    )
    worst = int(rows.outlying.sum())
    return told + (f"; ringed, {worst} further off than scatter explains." if worst else ".")


def _points(rows: Rows, colour: Tint) -> Any:
    return PALETTE[0] if colour.name is None else colour(rows[colour.name][rows.shown])


def _law(axis: Axes, account: Account, rows: Rows, x: str, colour: Tint) -> str:
    """Draw the panel, and say what it shows."""
    at = rows.shown
    scaled(axis, "x", x, rows[x])
    losses(axis, "y", [*rows.measured[at], *rows.predicted[at]])
    band = "" if rows.fit.samples is None else ", with the 95 % band of its mean"
    if len(rows.fit.law.inputs) == 1:
        told = _one_input(axis, account, rows, x)
    elif (groups := _rungs(rows, x)) is not None:
        for first, its in groups:
            _line(axis, rows, x, _rung(rows, x, its), colour(first))
        told = f" Right: the law for each {' and '.join(_held(rows, x))}{band}."
    elif x == "C" and (line := _frontier(account, rows)) is not None:
        _line(axis, rows, x, line, INK)
        told = f" Right: the line is the least loss that the law allows at C{band}."
    else:
        axis.vlines(rows[x][at], rows.measured[at], rows.predicted[at], color=FAINT, linewidth=0.7, zorder=2)
        told = " Right: strokes lead from the measured loss to what the law says of that run."
    axis.scatter(rows[x][at], rows.measured[at], s=14, c=_points(rows, colour), linewidth=0, zorder=3)
    axis.set_ylabel("Loss, nats per token")
    return told


def _held(rows: Rows, x: str) -> list[str]:
    """The inputs that stay the same along a line: with C on the abscissa, N."""
    return ["N"] if x == "C" else [name for name in rows.fit.law.inputs if name != x]


def _rungs(rows: Rows, x: str) -> list[tuple[float, pd.DataFrame]] | None:
    """The rows that share all inputs but the abscissa; None where they are too many, or of single rows."""
    held = _held(rows, x)
    if len(rows.table[held].drop_duplicates()) > min(RUNGS, len(rows.table) // 2):
        return None
    return [(float(its[held[0]].iloc[0]), its) for _, its in rows.table.groupby(held, sort=True)]


def _rung(rows: Rows, x: str, its: pd.DataFrame) -> pd.DataFrame:
    """Inputs along one line, over the range of its rows."""
    its = its.astype(dict.fromkeys(rows.fit.law.inputs, float))
    moving = "D" if x == "C" else x
    line = pd.DataFrame({moving: np.geomspace(its[moving].min(), its[moving].max(), ALONG)})
    for name in _held(rows, x):
        line[name] = its[name].iloc[0]
    if x == "C":
        line["C"] = np.exp(np.log(its["C"] / its["D"]).mean()) * line["D"]
    return line


def _frontier(account: Account, rows: Rows) -> pd.DataFrame | None:
    """The compute optimum at the table's own C, where it is among the runs; None where it is not."""
    fit = rows.fit
    if fit.law.tradeoff(fit.vector) is None:
        return None
    surface = Surface.of(fit, rows.table, flops=_flops(account))
    if surface.doubt:
        return None
    line = surface.along(np.geomspace(rows["C"].min(), rows["C"].max(), ALONG))
    line = line.loc[~unusable(line[["N", "D", "loss"]].to_numpy(float)).any(axis=1)]
    line = line.loc[~fit.scatter.outside(fit.law.logs(line))]
    return line if len(line) > ALONG // 2 else None


def _flops(account: Account) -> float:
    return account.optimum.get("flops", 6.0) if isinstance(account.optimum, dict) else 6.0


def _line(axis: Axes, rows: Rows, x: str, line: pd.DataFrame, colour: Any) -> None:
    if rows.fit.samples is not None:
        _band(axis, rows.fit, x, line, "mean", colour, 0.2)
    axis.plot(line[x], rows.fit.predict(line), color=colour, linewidth=1.2)


def _band(axis: Axes, fit: Fit, x: str, line: pd.DataFrame, kind: str, colour: Any, alpha: float) -> None:
    with np.errstate(all="ignore"):  # where a resample's law has no finite value the band has no end
        interval = fit.predict_interval(line, kind=kind)
    low, high = np.nan_to_num(interval.T, nan=np.nan, posinf=1e30)
    axis.fill_between(line[x], low, high, color=colour, alpha=alpha, linewidth=0)


def _one_input(axis: Axes, account: Account, rows: Rows, x: str) -> str:
    low, high = axis.get_xlim()
    line = pd.DataFrame({x: np.geomspace(low, high, 2 * ALONG)})
    told = " Right: the law"
    if rows.fit.samples is not None:
        _band(axis, rows.fit, x, line, "run", PALETTE[0], 0.12)
        told += " with the 95 % bands of its mean (dark) and of a new run (light)"
    _line(axis, rows, x, line, PALETTE[0])
    others = account.table.drop(index=rows.fit.used)
    others = others.loc[~unusable(others[[x, "loss"]].to_numpy(float)).any(axis=1)]
    if others.empty:
        return told + "."
    losses(axis, "y", [*rows.measured, *np.minimum(others.loss, FARTHEST * rows.measured.max())])
    axis.scatter(others[x], others.loss, s=9, c="#c4c4c4", linewidth=0, zorder=1)
    return told + f"; pale, {len(others)} rows that are not in the fit."
