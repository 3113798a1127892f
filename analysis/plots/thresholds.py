"""Score and likelihood side by side: where the one jumps, and what the other does there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.emergence.curves import Curve
from analysis.emergence.detect import Detection
from analysis.emergence.verdicts import Judged
from analysis.plots.style import FAINT, PALETTE, canvas, counts, flops, titles

TITLE = "Thresholds"
AXES = {
    "N": "N, parameters",
    "C": "C, training FLOPs",
    "D": "D, training tokens",
    "loss": "pre-training loss",
}
Found = tuple[Curve, Detection | None, Judged]


def draw(found: Sequence[Found]) -> tuple[Figure, str]:
    """One task: a panel for each of its metrics, two side by side, and what it shows in words.

    Use inside `style.look()`.
    """
    rows = -(-len(found) // 2)
    figure, axes = canvas(rows, 2, height=2.9 * rows)
    panels = list(axes.ravel())
    at = next((j for _, _, j in found if j.interval95 is not None), None)
    for panel, one in zip(panels, found, strict=False):
        _panel(panel, *one, at)
    for panel in panels[len(found) :]:
        panel.set_axis_off()
    titles(panels, [f"{c.metric}: {j.verdict.replace('_', ' ')}" for c, _, j in found])
    return figure, caption(found)


def caption(found: Sequence[Found]) -> str:
    """The verdict in words."""
    said = []
    for curve, _, j in found:
        if j.threshold is not None and j.interval95 is not None:
            low, high = j.interval95
            where = f"threshold at {curve.axis} = {j.threshold:.2g}, "
            where += f"95 % interval {low:.2g} to {high:.2g} (shaded)"
            seen = {
                "survives": "; the jump survives on a metric that has no steps of its own",
                "vanishes": "; the jump vanishes there: the metric makes it",
                "undecided": "; whether the metric makes the jump is undecided",
            }
            said.append(f"{curve.metric}: emergent, {where}{seen.get(j.mirage or '', '')}; {j.reason}.")
        else:
            said.append(f"{curve.metric}: {j.verdict.replace('_', ' ')}, {j.reason}.")
    return " ".join(said) + " Solid: the best ramp; dashed: the best smooth curve; dotted: chance."


def _panel(axes: Axes, curve: Curve, d: Detection | None, j: Judged, at: Judged | None) -> None:
    x = np.array([curve.at(v) for v in curve.x])
    axes.plot(x, curve.sign * curve.y, "o", color=PALETTE[0], alpha=0.75, markeredgewidth=0, zorder=3)
    if d is not None:
        dense = np.linspace(curve.x[0], curve.x[-1], 400)
        ramp = d.base + d.rise * np.clip((dense - d.onset) / d.width, 0, 1)
        for where, level, line, colour in (
            (curve.x, d.smooth, "--", FAINT),
            (dense, ramp, "-", PALETTE[1]),
        ):
            level = np.clip(level, 0, 1) if curve.bounded else level
            axes.plot([curve.at(v) for v in where], curve.sign * level, line, color=colour)
    if curve.chance is not None:
        axes.axhline(curve.chance, color=FAINT, linestyle=":")
    if at is not None and at.interval95 is not None:
        # Shaded in every panel: what the other metrics do there is the question.
        axes.axvspan(*at.interval95, color=PALETTE[4], alpha=0.25, linewidth=0)
        axes.axvline(at.threshold or 0.0, color=PALETTE[4])
    (flops if curve.axis == "C" else counts)(axes, "x", x)
    if curve.axis == "loss":
        axes.invert_xaxis()
    axes.set_xlabel(AXES.get(curve.axis, curve.axis))
    axes.set_ylabel(curve.metric)
