"""Speed, use of the machine and counted FLOPs over the split of a window, at equal N and at equal C."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.efficiency import Rows, speeds
from analysis.plots.style import MARKERS, PALETTE, canvas, said, titles

ORDER = ("causal_decoder", "prefix_decoder", "encoder_decoder")
PANELS = ("Training MFLOP a token", "Tokens a second", "Share of peak FLOP/s")


def draw(rows: Rows, peak: float) -> Figure:
    """A row of panels for equal N and one for equal C. Use inside `style.look()`."""
    figure, axes = canvas(2, 3, height=5.2, sharex=True, sharey="col")
    for band, match in zip(axes, ("N", "C"), strict=True):
        for name, colour, marker in zip(sorted(ORDER), PALETTE, MARKERS, strict=False):
            its = [
                row for row in rows if row["architecture"] == name and row["match"] in (match, "reference")
            ]
            _lines(band, sorted(its, key=lambda row: row["prefix"]), peak, colour, marker)
    titles(axes.flat, [f"{panel}, equal {match}" for match in ("N", "C") for panel in PANELS])
    for axis in axes[-1]:
        axis.set_xlabel("Prefix, tokens of the window")
    for axis in axes.flat:
        axis.set_ylim(bottom=0)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def _lines(band: Sequence[Axes], its: list[Mapping[str, Any]], peak: float, colour: str, marker: str) -> None:
    if not its:
        return
    prefix = [row["prefix"] for row in its]
    tokens = [row["prefix"] + row["target"] for row in its]
    look: dict[str, Any] = {"color": colour, "marker": marker, "label": said(its[0]["architecture"])}
    band[0].plot(prefix, [row["flops"] / T / 1e6 for row, T in zip(its, tokens, strict=True)], **look)
    for axis, key in zip(band[1:], ("tokens_per_second", "utilisation"), strict=True):
        found = [speeds(row, peak)[key] for row in its]
        value = np.array([one.value for one in found])
        ends = np.abs([[one.low for one in found], [one.high for one in found]] - value)
        axis.errorbar(prefix, value, yerr=ends, capsize=2, **look)
