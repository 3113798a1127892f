"""The law's record as a forecaster: the table's own larger runs, predicted by fits that did not see them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from analysis.account import Account
from analysis.forecasts import Audit, HoldOut
from analysis.plots.rows import label
from analysis.plots.style import FAINT, INK, PALETTE, canvas, outer_labels, titles

TITLE = "Forecasts of the table's own larger runs"
NOMINAL = 95
FAR = 30.0  # a range of reach beyond this has room for powers of ten alone


def draw(account: Account) -> tuple[Figure, str] | None:
    """A column for each axis that was cut; None without an audit or a cut. Use inside `style.look()`."""
    found = account.audit
    if found is None or not found.cuts:
        return None
    names = list(dict.fromkeys(cut.axis for cut in found.cuts))
    covered = any(np.isfinite(cut.inside) for cut in found.cuts)
    figure, axes = canvas(
        1 + covered,
        max(len(names), 2),
        height=4.2 if covered else 2.9,
        sharey="row",
        sharex="col",
        height_ratios=[2, 1] if covered else [1],
    )
    spread = dict(zip(map(id, found.cuts), _spreads(found), strict=True))
    for column, name in enumerate(names):
        cuts = sorted((cut for cut in found.cuts if cut.axis == name), key=lambda cut: cut.reach)
        _errors(axes[0, column], cuts, [spread[id(cut)] for cut in cuts])
        if covered:
            _coverage(axes[1, column], cuts)
        _reach(axes[-1, column], cuts)
    for axis in axes[:, len(names) :].ravel():
        axis.remove()
    outer_labels(axes[:, : len(names)], "Largest run held out, times the largest fitted", "")
    axes[0, 0].set_ylabel("Error of the forecast, %")
    if covered:
        axes[1, 0].set_ylabel("In 95 % interval, %")
        axes[1, 0].set_ylim(0, 100)
    titles(axes[0, : len(names)], [f"larger {label(name).split(',')[0]}" for name in names])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure, _caption(found)


def _spreads(found: Audit) -> list[np.ndarray]:
    """For each cut the middle 80 % of |relative error|, per cent."""
    ends = np.cumsum([cut.held_out for cut in found.cuts])
    each = np.split(found.errors, ends[:-1])
    return [100 * np.expm1(np.quantile(errors, [0.1, 0.9])) for errors in each]


def _errors(axis: Axes, cuts: list[HoldOut], spread: list[np.ndarray]) -> None:
    reach = [cut.reach for cut in cuts]
    error, bias = (100 * np.array([getattr(cut, name) for cut in cuts]) for name in ("error", "bias"))
    axis.axhline(0, color=INK, linewidth=0.8, zorder=1)
    axis.vlines(reach, *np.transpose(spread), color=PALETTE[0], linewidth=5, alpha=0.25, label="80 % of rows")
    dots = {"linestyle": "", "markersize": 5}
    axis.plot(reach, error, marker="o", color=PALETTE[0], label="mean |error|", **dots)
    axis.plot(reach, bias, marker="D", markerfacecolor="white", color=PALETTE[1], label="mean error", **dots)


def _coverage(axis: Axes, cuts: list[HoldOut]) -> None:
    axis.axhline(NOMINAL, color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)))
    axis.plot(
        [cut.reach for cut in cuts],
        [100 * cut.inside for cut in cuts],
        marker="s",
        linestyle="",
        color=PALETTE[2],
        clip_on=False,
    )


def _reach(axis: Axes, cuts: list[HoldOut]) -> None:
    low, high = cuts[0].reach, cuts[-1].reach
    axis.set_xscale("log")
    margin = max((high / low) ** 0.15, 1.1)
    axis.set_xlim(low / margin, high * margin)
    if high * margin**2 > 4 * low:
        subs = (1,) if high > FAR * low else (1, 2, 5)
        axis.xaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"×{v:g}"))


def _caption(found: Audit) -> str:
    told = (
        "Each point: the law fitted to the rows up to a cut and compared with those above. Mean error: above "
        "0 the forecast is too high."
    )
    if np.isfinite(found.inside):
        told += (
            " Below: how many of the rows held out lie in their 95 % interval for a new run; few rows, "
            "neighbours along one trend, make that a rough count."
        )
    return told
