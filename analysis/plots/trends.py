"""Figures of a measure against size, a panel each: every run a point, every ladder its line and band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.mechanisms.trends import Trend, named
from analysis.plots.style import FAINT, MARKERS, PALETTE, canvas, counts, titles

COLUMNS, MOST = 3, 12  # panels a row, and panels that are lettered


def draw(table: pd.DataFrame, found: Sequence[Trend], figures: Sequence[str]) -> Figure:
    """At most MOST figures. Use inside `style.look()`."""
    rows = -(-len(figures) // COLUMNS)
    figure, axes = canvas(rows, COLUMNS, height=2.5 * rows)
    panels = list(axes.ravel())
    for panel, name in zip(panels, figures, strict=False):
        _panel(panel, table.loc[table.figure == name], [one for one in found if one.figure == name])
    for panel in panels[len(figures) :]:
        panel.set_axis_off()
    titles(panels, [name.split(".", 1)[1] for name in figures])
    return figure


def _panel(axes: Axes, part: pd.DataFrame, found: Sequence[Trend]) -> None:
    value = part.value.dropna()
    for k, (group, runs) in enumerate(named(part)):
        colour = PALETTE[k % len(PALETTE)]
        axes.plot(runs.N, runs.value, MARKERS[k % len(MARKERS)], color=colour, alpha=0.6, label=group)
        for one in found:
            if one.group == group:
                _line(axes, one, colour)
    counts(axes, "x", part.N)
    if len(value) and value.min() > 0:
        axes.set_yscale("log")
    elif len(value) and value.min() < 0 < value.max():
        axes.axhline(0, color=FAINT, linestyle=":")
    axes.set_xlabel("N, parameters")
    if len(list(named(part))) > 1:
        axes.legend()


def _line(axes: Axes, one: Trend, colour: str) -> None:
    """The line through the level at the centre; the band that the slopes of its interval sweep about it."""
    N = np.geomspace(one.smallest, one.largest, 50)
    x = np.log(N) - one.at
    lines = [one.level + slope * x for slope in (one.slope, *one.interval95)]
    middle, low, high = np.exp(lines) if one.scale == "log" else lines
    axes.plot(N, middle, "-" if one.verdict != "no trend shown" else "--", color=colour)
    axes.fill_between(N, low, high, color=colour, alpha=0.15, linewidth=0)
