"""Loss against the base learning rate, one panel a rung and budget, one line a batch, the optima marked."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.plots.style import INK, MARKERS, canvas, losses, said, short
from analysis.tuning.grids import Cell

# How far above a panel's best loss it reaches: rates that break training would flatten all others.
HEADROOM = 1.15
STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 9,
    "linewidth": 0,
    "markeredgecolor": INK,
    "markeredgewidth": 0.6,
}


def draw(rows: pd.DataFrame, cells: Mapping[str, list[Cell]]) -> Figure:
    """rows: `analysis.tuning.grids.table`. cells: by architecture; rungs go down, budgets across."""
    bands = [(name, N) for name, its in cells.items() for N in sorted({cell.N for cell in its})]
    columns = max(sum(cell.N == N for cell in cells[name]) for name, N in bands)
    figure, axes = canvas(len(bands), columns, height=0.7 + 2.1 * len(bands), sharex=True)
    batches = sorted({tried.batch_tokens for its in cells.values() for cell in its for tried in cell.batches})
    shades = map(to_hex, matplotlib.colormaps["viridis"](np.linspace(0, 0.82, len(batches))))
    colours = dict(zip(batches, shades, strict=True))
    for band, (name, N) in zip(axes, bands, strict=True):
        for axis in band:
            axis.set_visible(False)
        rung = [cell for cell in cells[name] if cell.N == N]
        for axis, cell in zip(band, rung, strict=False):
            axis.set_visible(True)
            _panel(axis, cell, rows, colours, batches)
        band[0].set_ylabel("Loss, nats per token")
    _rates(axes, rows.rate)
    for axis in axes[-1]:
        axis.set_xlabel("Base learning rate")
    figure.legend(handles=_key(colours, batches), loc="outside lower center", ncols=4)
    return figure


def _panel(
    axis: Axes, cell: Cell, rows: pd.DataFrame, colours: Mapping[int, str], batches: list[int]
) -> None:
    best = min(tried.rate.loss for tried in cell.batches)
    shown = [best]
    its = rows.loc[
        (rows.architecture == cell.architecture) & (rows.N == cell.N) & (rows.budget == cell.budget)
    ]
    for tried in cell.batches:
        line = its.loc[(its.batch_tokens == tried.batch_tokens) & np.isfinite(its.loss)].sort_values("rate")
        colour, marker = colours[tried.batch_tokens], _marker(batches.index(tried.batch_tokens))
        axis.plot(line.rate, line.loss, marker, color=colour, markersize=3, alpha=0.8)
        mean = line.groupby("rate").loss.mean()
        axis.plot(mean.index, mean, linewidth=0.9, color=colour)
        shown += [loss for loss in line.loss if loss < best * HEADROOM]
        face = colour if tried.rate.bracketed else "white"
        axis.plot(tried.rate.value, tried.rate.loss, zorder=3, color=face, **STAR)
    if cell.rate is not None:
        axis.axvline(cell.rate, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    losses(axis, "y", shown, ticks=5)
    title = f"{said(cell.architecture)}, width {cell.width}\nN = {short(cell.N)}, D = {short(cell.D)}"
    axis.set_title(title, fontsize=8)


def _marker(k: int) -> str:
    return MARKERS[k % len(MARKERS)]


def _rates(axes: np.ndarray, rates: pd.Series) -> None:
    """Rates tried, from the lowest to the highest of any panel (the axes share them)."""
    for axis in axes.flat:
        axis.set_xscale("log")
        axis.set_xlim(rates.min() / 1.3, rates.max() * 1.3)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=20))
        axis.xaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=100))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())


def _key(colours: Mapping[int, str], batches: list[int]) -> list[Line2D]:
    keys = [
        Line2D([], [], color=colours[size], marker=_marker(k), markersize=4, label=f"{size:,} tokens a batch")
        for k, size in enumerate(batches)
    ]
    keys.append(Line2D([], [], color="grey", label="vertex", **STAR))
    keys.append(Line2D([], [], color="white", label="best tried, not bracketed", **STAR))
    keys.append(
        Line2D([], [], color=INK, linestyle=(0, (4, 2)), linewidth=0.8, label="rate at the best batch")
    )
    return keys
