"""Final loss against compute, all architectures together, with what the fits say is the best possible."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import frontier_line
from analysis.plots.style import MARKERS, PALETTE, canvas, flops, losses, said
from analysis.report.holdout import FITTED, HELD_OUT
from analysis.report.study import Study, span
from analysis.tables.runs import efficient

TITLE = "Loss against compute"


def draw(study: Study) -> tuple[Figure, str]:
    figure, axes = canvas(1, 1, height=4.4)
    axis = axes[0, 0]
    lines, notes, keys = [], [], []
    for name, colour, marker in zip(study.architectures, PALETTE, MARKERS, strict=False):
        its = study.of(name)
        best = its.loc[efficient(its.C.to_numpy(), its.loss.to_numpy())].sort_values("C")
        axis.step(best.C, best.loss, where="post", color=colour, linewidth=0.8, alpha=0.55)
        for role, face in ((FITTED, colour), (HELD_OUT, "white")):
            part = its[its.role == role]
            axis.scatter(
                part.C,
                part.loss,
                s=20,
                marker=marker,
                facecolor=face,
                edgecolor=colour,
                linewidth=0.9,
                zorder=3,
            )
        keys.append(Line2D([], [], color=colour, marker=marker, linewidth=1.8, label=study.label(name)))
        if study.surface(name) is not None:
            line = study.frontier(name, span(study.finished.C, 80))
            frontier_line.draw(axis, line, "C", "loss", color=colour)
            lines.append(line)
            notes.append((said(name), line.C.iloc[-1], float(line.loss.iloc[-1])))
    flops(axis, "x", study.finished.C)
    low = frontier_line.low_enough(study.finished.loss, lines)
    losses(axis, "y", [*study.finished.loss, low], ticks=9)
    axis.set_xlabel("Training FLOPs, C")
    axis.set_ylabel("Final validation loss, nats per token")
    keys.append(
        Line2D([], [], color="grey", marker="o", markerfacecolor="white", linestyle="", label="held out")
    )
    figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return figure, _caption(notes)


def _caption(notes: list[tuple[str, float, float]]) -> str:
    text = (
        "Final loss of every finished run. Thin steps: the best loss measured at up to C. Thick "
        "lines: the fitted frontier, the loss of the best split of C between parameters and tokens, "
        "with its 95 % band; dashed where the best split lies outside the sizes or tokens that were "
        "fitted."
    )
    found = [n for n in notes if np.isfinite(n[2])]
    if found:
        text += f" At C = {found[0][1]:.2g} FLOPs the frontiers stand at " + ", ".join(
            f"{loss:.3f} ({name})" for name, _, loss in found
        )
        text += " nats per token."
    return text
