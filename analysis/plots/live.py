"""Validation loss of the runs of a study so far: against training FLOPs above, against tokens below."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots.style import (
    INK,
    canvas,
    counts,
    flops,
    losses,
    outer_labels,
    said,
    size_key,
    sizes,
    titles,
)

# How far above the worst loss reached a panel extends: the first steps, alike in every run, would fill it.
HEADROOM = 1.25
MOST = 4  # panels side by side


@dataclass(frozen=True)
class Curve:
    """The evaluations of one run: tokens, flops and loss, (n,) each, n at least 1."""

    architecture: str
    N: float
    state: str
    tokens: np.ndarray
    flops: np.ndarray
    loss: np.ndarray


def draw(curves: Sequence[Curve]) -> Figure:
    """The last evaluation of a run that goes on is a ring, that of one that ended early a cross."""
    names = sorted({curve.architecture for curve in curves})[:MOST]
    figure, axes = canvas(2, len(names), height=5.4, sharex="row", sharey=True)
    colours, rank = sizes(curve.N for curve in curves)
    ceiling = max(float(curve.loss.min()) for curve in curves) * HEADROOM
    for k, name in enumerate(names):
        # Large first, so that the small models' short curves stay visible.
        its = sorted((c for c in curves if c.architecture == name), key=lambda c: -c.N)
        shades = [colours(rank(curve.N)) for curve in its]
        for axis, x in ((axes[0, k], "flops"), (axes[1, k], "tokens")):
            lines = [np.column_stack([getattr(curve, x), curve.loss]) for curve in its]
            axis.add_collection(LineCollection(lines, colors=shades, linewidths=0.9))
            for curve, shade in zip(its, shades, strict=True):
                _head(axis, getattr(curve, x)[-1], curve.loss[-1], curve.state, shade)
    visible = {x: [v for c in curves for v in getattr(c, x)[c.loss <= ceiling]] for x in ("flops", "tokens")}
    for k in range(len(names)):
        flops(axes[0, k], "x", visible["flops"])
        counts(axes[1, k], "x", visible["tokens"])
        losses(axes[0, k], "y", [*(float(c.loss.min()) for c in curves), ceiling])
    outer_labels(axes, "Training tokens, D", "Validation loss, nats per token")
    for axis in axes[0]:
        axis.set_xlabel("Training FLOPs, C")
    titles(axes.flat, [said(name) for name in names] * 2)
    style = {"color": INK, "linestyle": "", "markersize": 4}
    keys = [Line2D([], [], marker="o", markerfacecolor="white", label="going on", **style)]
    keys += [Line2D([], [], marker="x", label="ended early", **style)]
    figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    size_key(figure, axes, (curve.N for curve in curves))
    return figure


def _head(axis, x: float, loss: float, state: str, shade) -> None:
    if state in ("running", "waiting"):
        axis.plot(x, loss, "o", color=shade, markerfacecolor="white", markersize=4, markeredgewidth=1.3)
    elif state != "finished":
        axis.plot(x, loss, "x", color=shade, markersize=4)
