"""The compute optimum: what it was read from, and N_opt and D_opt against C."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.interpolate import Akima1DInterpolator

from analysis.account import Account
from analysis.optima.isoflop import polynomial, spoken
from analysis.optima.optimum import Optimum
from analysis.optima.vertices import Vertices
from analysis.plots.rows import scaled
from analysis.plots.style import INK, PALETTE, canvas, flops, losses, power, titles
from analysis.tables.replicates import run_column

TITLE = "The compute optimum"
ALONG = 60  # points of a line
NAMES = ("N_opt", "D_opt")
TAILS = (0.025, 0.975)
SOURCES = {"approach1": "envelope of the runs", "approach2": "IsoFLOP profiles"}
GROUPS = 8  # more profiles than these in a panel cannot be told apart
CURVES = 150  # nor more learning curves
POINTS = 400
FARTHEST = 30.0  # a band that reaches further from its line than this factor is cut


@dataclass(frozen=True)
class Line:
    """N_opt and D_opt along C, each (k,), with the 95 % interval (2, k) where there is one."""

    C: np.ndarray
    best: dict[str, np.ndarray]
    interval: dict[str, np.ndarray]


def draw(account: Account) -> tuple[Figure, str] | None:
    """Two panels, three for approaches 1 and 2; None without an optimum. Use inside `style.look()`."""
    found = account.optimum
    if found is None:
        return None
    runs, within = _runs(account)
    line = _power_law(found, within) if isinstance(found, Optimum) else _closed_form(account, within)
    source = SOURCES.get(found.method) if isinstance(found, Optimum) else None
    figure, axes = canvas(1, 2 if source is None else 3, height=3.6)
    told = ""
    if isinstance(found, Optimum) and source is not None:
        told = (_profiles if isinstance(found.reader, Vertices) else _envelope)(axes[0, 0], found)
    for axis, name in zip(axes[0, -2:], "ND", strict=True):
        _grown(axis, found, line, runs, name, within)
    titles(axes[0], [*([] if source is None else [source]), "$N_{opt}$", "$D_{opt}$"])
    axes[0, -2].legend(loc="upper left")
    return figure, told + _caption(account, line)


def _runs(account: Account) -> tuple[pd.DataFrame, tuple[float, float]]:
    """The runs where the optimum counts C, and the range of it that they cover."""
    found = account.optimum
    if isinstance(found, Optimum) and found.rows is not None:
        rows = found.rows
    else:
        assert account.fit is not None
        assert isinstance(found, dict)
        rows = account.table.loc[account.fit.used]
        rows = rows.assign(C=found["flops"] * rows["N"] * rows["D"])
    C = rows["C"].to_numpy(float)
    return rows, (float(C.min()), float(C.max()))


def _span(budgets: list[float], within: tuple[float, float]) -> np.ndarray:
    ends = [*within, *budgets]
    return np.unique([*np.geomspace(min(ends), max(ends), ALONG), *within])


def _closed_form(account: Account, within: tuple[float, float]) -> Line:
    fit, found = account.fit, account.optimum
    assert fit is not None
    assert isinstance(found, dict)
    C = _span(found["C"], within)
    trade = fit.law.tradeoff(fit.vector)
    assert trade is not None
    line = Line(C, dict(zip(NAMES, trade.optimum(C / found["flops"]), strict=True)), {})
    if fit.samples is None:
        return line
    # Not by `Fit.optimum`, which predicts the loss of every draw at every C as well.
    drawn = fit.law.tradeoff(fit.samples[:, None, :])
    assert drawn is not None
    with np.errstate(all="ignore"):  # a resample whose term vanished has its optimum at 0 or infinity
        for name, values in zip(NAMES, drawn.optimum(C / found["flops"]), strict=True):
            line.interval[name] = np.nanquantile(values, TAILS, axis=0, method="inverted_cdf")
    return line


def _power_law(found: Optimum, within: tuple[float, float]) -> Line:
    """Through the first budget's values, with the exponents; draws alike."""
    C = _span(found.C, within)
    ahead = np.log(C / found.C[0])
    best = {
        "N_opt": found.N_opt[0] * np.exp(found.a * ahead),
        "D_opt": found.D_opt[0] * np.exp(found.b * ahead),
    }
    interval, draws = {}, found.samples
    if draws is not None and found.interval95:
        draws = draws.where(np.isfinite(draws.a))
        for name, slope, at in (("N_opt", draws.a, draws.log_N), ("D_opt", draws.b, draws.log_D)):
            logs = at[:, :1] + slope[:, None] * ahead
            # Beyond a float there is nothing to draw.
            interval[name] = np.exp(np.quantile(logs, TAILS, axis=0).clip(-300, 300))
    return Line(C, best, interval)


def _grown(
    axis: Axes,
    found: Optimum | dict,
    line: Line,
    runs: pd.DataFrame,
    name: str,
    within: tuple[float, float],
) -> None:
    """N_opt or D_opt against C, dashed beyond the runs, which are the dots."""
    best = line.best[f"{name}_opt"]
    known = np.isfinite(best) & (best > 0) & (best < 1e40)
    some = runs if len(runs) <= POINTS else runs.iloc[np.linspace(0, len(runs) - 1, POINTS).astype(int)]
    axis.scatter(some["C"], some[name], s=8, c="#bdbdbd", linewidth=0, zorder=1, label="runs")
    every = [some[name].to_numpy(float), best[known]]
    if known.any():
        inside = (within[0] <= line.C) & (line.C <= within[1])
        axis.plot(line.C[inside], best[inside], color=PALETTE[0], linewidth=1.6, label="optimum")
        for beyond in (line.C <= within[0], line.C >= within[1]):
            axis.plot(line.C[beyond], best[beyond], color=PALETTE[0], linestyle=(0, (3, 2)))
        if line.interval:
            low, high = line.interval[f"{name}_opt"]
            low = np.nan_to_num(low, nan=0.0).clip(best / FARTHEST)
            high = np.nan_to_num(high, nan=np.inf).clip(None, best * FARTHEST)
            axis.fill_between(line.C, low, high, color=PALETTE[0], alpha=0.15, linewidth=0)
            every += [low[known], high[known]]
    if isinstance(found, Optimum) and len(found.points):
        axis.plot(
            found.points["C"],
            found.points[name],
            linestyle="",
            marker="D",
            markerfacecolor="white",
            color=INK,
            label="minima",
            zorder=4,
        )
    flops(axis, "x", line.C)
    scaled(axis, "y", name, np.concatenate(every))
    axis.set_xlabel("C, training FLOPs")


def _profiles(axis: Axes, found: Optimum) -> str:
    """Of approach 2: the groups of equal compute, their curves and minima."""
    design, rows = found.reader, found.rows
    assert isinstance(design, Vertices)
    assert rows is not None
    most = sorted(range(len(design.rows)), key=lambda g: -len(design.rows[g]))[:GROUPS]
    loss = rows["loss"].to_numpy(float)
    tints = colormaps["plasma"](np.linspace(0.05, 0.8, max(len(most), 2)))
    seen = []
    for tint, g in zip(tints, sorted(most, key=lambda g: design.log_C[g]), strict=False):
        x, y = design.x[g], loss[design.rows[g]]
        at = np.linspace(x.min(), x.max(), ALONG)
        axis.plot(np.exp(at), _curve(at, x, y, design.curve), color=tint, linewidth=1.0)
        axis.scatter(np.exp(x), y, s=14, color=[tint], linewidth=0, zorder=3)
        last = int(x.argmax())
        axis.annotate(
            power(float(f"{np.exp(design.log_C[g]):.2g}")),  # rounded first, or 1e20 is 10.0 x 10^19
            (np.exp(x[last]), y[last]),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            color=tint,
        )
        seen.append(np.concatenate([np.exp(x), np.exp(x[last : last + 1]) * 2]))
    axis.plot(
        found.points["N"],
        found.points["loss"],
        linestyle="",
        marker="D",
        markerfacecolor="white",
        color=INK,
        zorder=4,
    )
    scaled(axis, "x", "N", np.concatenate(seen) if seen else rows["N"].to_numpy(float))
    losses(axis, "y", loss)
    axis.set_ylabel("Loss, nats per token")
    bracketed, all_ = len(found.points), len(found.profiles)
    more = f" The {GROUPS} largest groups are drawn." if len(design.rows) > GROUPS else ""
    return (
        f"Left: runs of about equal compute with {spoken(design.curve)} through each; {bracketed} of {all_} "
        f"groups bracket a minimum (diamonds).{more} "
    )


def _curve(at: np.ndarray, x: np.ndarray, y: np.ndarray, curve: str) -> np.ndarray:
    """The curve of `analysis.optima.isoflop.minima`, (m,), at log sizes `at`."""
    if curve != "akima":
        return np.polynomial.polynomial.polyval(at - x.mean(), polynomial(x, y[None], curve)[0][0])
    sizes, which = np.unique(x, return_inverse=True)
    return Akima1DInterpolator(sizes, np.bincount(which, y) / np.bincount(which))(at)


def _envelope(axis: Axes, found: Optimum) -> str:
    """Of approach 1: the runs, and those of least loss."""
    rows = found.rows
    assert rows is not None
    name = run_column(rows)
    if name is not None and rows[name].duplicated().any():
        for _, its in list(rows.groupby(name, sort=False))[:CURVES]:
            its = its.sort_values("C")
            axis.plot(its["C"], its["loss"], color="#bdbdbd", linewidth=0.8, zorder=1)
    else:
        some = rows if len(rows) <= POINTS else rows.iloc[np.linspace(0, len(rows) - 1, POINTS).astype(int)]
        axis.scatter(some["C"], some["loss"], s=8, c="#bdbdbd", linewidth=0, zorder=1)
    axis.plot(
        found.points["C"],
        found.points["loss"],
        linestyle="",
        marker="D",
        markersize=3.5,
        markerfacecolor="white",
        color=INK,
        zorder=4,
    )
    flops(axis, "x", rows["C"])
    losses(axis, "y", rows["loss"])
    axis.set_xlabel("C, training FLOPs")
    axis.set_ylabel("Loss, nats per token")
    return "Left: the runs, and where one of them has the least loss at its C (diamonds). "


def _caption(account: Account, line: Line) -> str:
    told = "Best N and D for a budget C"
    if isinstance(account.optimum, dict):
        told += f", where C = {account.optimum['flops']:g} N D"
    told += ", dashed beyond the runs' C"
    return told + (" (pale: 95 % interval)." if line.interval else ".")
