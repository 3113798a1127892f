"""How much compute each group needs to be as good as the reference, against the compute of the reference."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.comparing.comparison import Comparison
from analysis.comparing.multipliers import Multiplier
from analysis.plots.style import INK, PALETTE, canvas, flops, said

TITLE = "Effective compute"
# Beyond this factor from 1 a band says only that nothing is known, and would flatten the lines.
FARTHEST = 30.0
SEVERAL = 0.12  # how strongly a band is filled where others cross it


def draw(comparison: Comparison) -> tuple[Figure, str] | None:
    """One panel; None for a comparison without a compute frontier. Use inside `style.look()`."""
    if not comparison.multipliers:
        return None
    figure, axes = canvas(1, 1, height=3.9)
    axis = axes[0, 0]
    for m, colour in zip(comparison.multipliers.values(), PALETTE[1:], strict=False):
        _line(axis, m, colour)
    axis.axhline(1.0, color=INK, linewidth=0.9, label=f"as much as {said(comparison.reference)}")
    every = np.concatenate([m.table.C for m in comparison.multipliers.values()])
    flops(axis, "x", every)
    _factors(axis, list(comparison.multipliers.values()))
    reference = said(comparison.reference)
    axis.set_xlabel(f"C, training FLOPs of {reference}")
    axis.set_ylabel(f"Compute to match {reference}, times C")
    figure.legend(loc="outside upper right", ncols=len(comparison.multipliers) + 1)
    return figure, caption(comparison)


def _line(axis: Axes, m: Multiplier, colour: str) -> None:
    table = m.table
    # Where no draw or fit reaches the loss the band runs off the panel and the line ends.
    top = table.m_hi95.where(np.isfinite(table.m_hi95), 1e30)
    bottom = table.m_lo95.where(table.m_lo95 > 0, 1e-30)
    if table.m_lo95.notna().any():
        axis.fill_between(table.C, bottom, top, color=colour, alpha=SEVERAL, linewidth=0)
        for end in (bottom, top):
            axis.plot(table.C, end, color=colour, linewidth=0.6, alpha=0.6)
    value = table.m.where(np.isfinite(table.m) & (table.m > 0))
    axis.plot(table.C, value.where(table.inside), color=colour, linewidth=1.8, label=said(m.group))
    near = table.inside & ~(table.inside.shift(1, fill_value=True) & table.inside.shift(-1, fill_value=True))
    axis.plot(
        table.C, value.where(~table.inside | near), color=colour, linewidth=1.4, linestyle=(0, (3, 2))
    )  # the dashes start at the last point inside, or a gap would open


def _factors(axis: Axes, multipliers: list[Multiplier]) -> None:
    """A log axis of factors, wide enough for the lines and for the bands up to FARTHEST."""
    values = np.concatenate([m.table[["m", "m_lo95", "m_hi95"]].to_numpy().ravel() for m in multipliers])
    values = np.clip(values[~np.isnan(values)], 1 / FARTHEST, FARTHEST)
    low, high = min(values.min(), 0.8), max(values.max(), 1.25)
    axis.set_yscale("log")
    axis.set_ylim(low / 1.1, high * 1.1)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def caption(comparison: Comparison) -> str:
    """What the figure shows, and what it leaves out."""
    text = (
        f"The compute with which each {comparison.by} reaches the loss that {said(comparison.reference)} "
        "reaches with C, as a multiple of C, both at their best split between parameters and tokens. "
        "Below 1: cheaper. "
    )
    tables = [m.table for m in comparison.multipliers.values()]
    if any(t.m_lo95.notna().any() for t in tables):
        text += "Bands: 95 % of the draws. "
    if not all(t.inside.all() for t in tables):
        text += "Dashed: C or the multiple of it lies beyond the runs that were fitted. "
    for m in comparison.multipliers.values():
        never = m.table.loc[np.isinf(m.table.m) & (m.table.m > 0)]
        if len(never):
            text += f"From C = {never.C.iloc[0]:.2g} on {said(m.group)} never reaches that loss. "
        elif (m.table.never > 0).any():
            last = m.table.iloc[-1]
            text += f"At C = {last.C:.2g}, {last.never:.1%} of the draws of {said(m.group)} never reach it. "
    return text.strip()
