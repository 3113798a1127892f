"""Learning curves: loss against training FLOPs, one panel an architecture."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.optima.frontier import envelope
from analysis.plots import frontier_line
from analysis.plots.style import INK, canvas, flops, losses, outer_labels, said, size_key, sizes, titles
from analysis.report.holdout import HELD_OUT, LEFT_OUT
from analysis.report.study import Study, each, span

TITLE = "Learning curves"
# How far above the worst final loss a panel reaches: the first steps, alike in every run, would fill it.
HEADROOM = 1.25


def draw(study: Study) -> tuple[Figure, str] | None:
    names = study.architectures
    figure, axes = canvas(1, len(names), height=3.3, sharex=True, sharey=True)
    colours, rank = sizes(study.finished.N)
    every = [c for c in study.curves.values() if not c.empty]
    if not every:
        return None
    visible = np.concatenate([c.flops[c.loss < study.finished.loss.max() * HEADROOM] for c in every])
    gaps = []
    for axis, name in zip(axes[0], names, strict=True):
        # Large first, so that the small models' short curves stay visible.
        for row in each(study.runs.loc[study.runs.architecture == name].sort_values("N", ascending=False)):
            curve = study.curves[row.run]
            style = {HELD_OUT: (0, (4, 1.5)), LEFT_OUT: (0, (1, 1))}.get(str(row.role), "-")
            axis.plot(curve.flops, curve.loss, color=colours(rank(row.N)), linewidth=0.9, linestyle=style)
        if study.surface(name) is not None:
            C = span(study.of(name).C, 60)
            line = study.frontier(name, C)
            frontier_line.draw(axis, line, "C", "loss", color=INK, band=False)
            lowest = envelope([study.curves[run] for run in study.of(name).run], C)
            gap = (lowest / line.loss - 1)[line.inside & np.isfinite(lowest)]
            if len(gap):
                gaps.append((said(name), float(gap.median())))
        flops(axis, "x", [*visible, *study.finished.C])
        losses(axis, "y", [*study.finished.loss, study.finished.loss.max() * HEADROOM])
    outer_labels(axes, "Training FLOPs, C", "Validation loss, nats per token")
    titles(axes[0], map(study.label, names))
    keys = [Line2D([], [], color=INK, linewidth=1.8, label="fitted frontier")]
    if (study.runs.role == HELD_OUT).any():
        keys.append(Line2D([], [], color=colours(1.0), linestyle=(0, (4, 1.5)), label="held out"))
    if (study.runs.role == LEFT_OUT).any():
        keys.append(Line2D([], [], color="grey", linestyle=(0, (1, 1)), label="did not finish"))
    axes[0, -1].legend(handles=keys, loc="upper right")
    size_key(figure, axes, study.finished.N)
    return figure, _caption(study, gaps)


def _caption(study: Study, gaps: list[tuple[str, float]]) -> str:
    shown = len(study.runs)
    text = (
        f"Each of the {shown} runs, coloured by its number of non-embedding parameters N. Where curves "
        "cross, a larger model overtakes a smaller one. The black line is the lowest loss that the "
        "fitted L(N, D) allows at each budget, dashed where it is extrapolated."
    )
    if gaps:
        text += " Where it is not, the lower envelope of the curves lies " + ", ".join(
            f"{abs(g):.1%} {'above' if g >= 0 else 'below'} it for the {name}" for name, g in gaps
        )
        text += (
            " (median over C). On the envelope a run's rate has mostly not decayed yet: a gap is expected."
        )
    return text
