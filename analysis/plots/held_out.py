"""Prediction against measurement: fitted runs, and the held-out rungs the fit has never seen."""

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import FAINT, INK, canvas, losses, said, short, size_key, sizes, titles
from analysis.report.holdout import FITTED, HELD_OUT
from analysis.report.study import Study

TITLE = "Prediction against measurement"


def draw(study: Study) -> tuple[Figure, str] | None:
    rows = study.predictions
    if rows.empty:
        return None
    names = sorted(rows.architecture.unique())
    figure, axes = canvas(2, len(names), height=5.2, sharex=True, sharey="row", height_ratios=[1.9, 1])
    colours, rank = sizes(study.finished.N)
    for above, below, name in zip(axes[0], axes[1], names, strict=True):
        above.axline((2, 2), (3, 3), color=FAINT, linewidth=0.8, zorder=1)
        below.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
        for role in (FITTED, HELD_OUT):
            its = rows[(rows.architecture == name) & (rows.role == role)]
            tint = colours(rank(its.N))
            for axis, middle, low, high in (
                (above, its.predicted, its.lo95, its.hi95),
                (below, *(100 * (v / its.loss - 1) for v in (its.predicted, its.lo95, its.hi95))),
            ):
                axis.vlines(its.loss, low, high, color=tint, linewidth=0.9, alpha=0.7, zorder=2)
                axis.scatter(
                    its.loss,
                    middle,
                    s=22,
                    facecolor=tint if role == FITTED else "white",
                    edgecolor=tint,
                    linewidth=1.0,
                    zorder=3,
                )
        losses(above, "x", rows.loss)
        losses(above, "y", [*rows.loss, *rows.predicted, *rows.lo95, *rows.hi95])
        below.set_xlabel("Measured loss, nats per token")
    axes[0, 0].set_ylabel("Predicted loss")
    axes[1, 0].set_ylabel("Error of prediction, %")
    titles(axes[0], map(study.label, names))
    axes[0, 0].scatter([], [], s=22, facecolor=FAINT, edgecolor=FAINT, label="fitted")
    axes[0, 0].scatter([], [], s=22, facecolor="white", edgecolor=INK, label="held out")
    axes[0, 0].legend(loc="upper left")
    size_key(figure, axes, study.finished.N)
    return figure, _caption(study, names)


def _caption(study: Study, names: list[str]) -> str:
    rows = study.predictions
    text = (
        "Loss predicted by the fitted surface against the loss measured, with the 95 % interval for "
        "one new run; beneath, predicted over measured less one."
    )
    for name in names:
        its = rows[(rows.architecture == name) & (rows.role == HELD_OUT)]
        if its.empty:
            continue
        error = its.relative_error
        text += (
            f" {said(name).capitalize()}: the {len(its)} held-out runs (N = {_sizes(its.N)}) are "
            f"missed by {error.abs().mean():.2%} on average, {error.abs().max():.2%} at most"
        )
        known = its.inside.dropna()
        text += f", and {int(known.sum())} of {len(known)} lie in their interval." if len(known) else "."
    return text


def _sizes(N) -> str:
    return ", ".join(short(n) for n in np.unique(N))
