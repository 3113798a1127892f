"""Kaplan's power laws in one variable: L(N), L(D), L(C)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.law import Fit
from analysis.plots.style import MARKERS, PALETTE, canvas, counts, flops, losses, said, titles
from analysis.report import holdout
from analysis.report.holdout import HELD_OUT
from analysis.report.study import Study, span

TITLE = "Power laws in one variable"
AXES = {"N": "N, parameters", "D": "D, training tokens", "C": "C, training FLOPs"}


def draw(study: Study) -> tuple[Figure, str] | None:
    laws = _power_laws(study)
    if not laws:
        return None
    figure, axes = canvas(1, len(laws), height=3.4, sharey=True)
    for axis, (x, fits) in zip(axes[0], laws.items(), strict=True):
        for k, name in enumerate(study.architectures):
            if name in fits:
                _line(axis, study, fits[name], x, name, colour=PALETTE[k % len(PALETTE)])
            _points(
                axis, study, fits.get(name), x, name, PALETTE[k % len(PALETTE)], MARKERS[k % len(MARKERS)]
            )
        (flops if x == "C" else counts)(axis, "x", study.finished[x])
        losses(axis, "y", study.finished.loss)
        axis.set_xlabel(AXES.get(x, x))
    axes[0, 0].set_ylabel("Final loss, nats per token")
    titles(axes[0], [f"L({x})" for x in laws])
    handles, names = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names))
    return figure, _caption(study, laws)


def _power_laws(study: Study) -> dict[str, dict[str, Fit]]:
    """By input, by architecture: the laws of one input that are straight lines, which a floor would bend."""
    out = {}
    for fits in study.fits.values():
        law = next((fit.law for fit in fits.values()), None)
        if law is not None and len(law.inputs) == 1 and len(law.names) == 2:
            out[law.inputs[0]] = fits
    return out


def _line(axis: Axes, study: Study, fit: Fit, x: str, name: str, *, colour: str) -> None:
    used, held = study.runs.loc[fit.rows or []], study.of(name, HELD_OUT)
    line = pd.DataFrame({x: span([*used[x], *held[x]], 60)})
    loss, inside = fit.predict(line), (line[x] <= used[x].max()).to_numpy()
    low, high = holdout.interval(fit, line, kind="mean").T
    axis.fill_between(line[x], low, high, color=colour, alpha=0.12, linewidth=0)
    axis.plot(line[x], np.where(inside, loss, np.nan), color=colour, label=study.label(name, fit.law.name))
    axis.plot(line[x], np.where(inside, np.nan, loss), color=colour, linestyle=(0, (3, 2)), linewidth=1.1)


def _points(axis: Axes, study: Study, fit: Fit | None, x: str, name: str, colour: str, marker: str) -> None:
    used = study.runs.loc[(fit.rows if fit is not None else None) or []]
    held = study.of(name, HELD_OUT)
    rest = study.of(name).drop(index=[*used.index, *held.index])
    axis.scatter(rest[x], rest.loss, s=8, marker=marker, color=colour, alpha=0.3, linewidth=0)
    axis.scatter(used[x], used.loss, s=20, marker=marker, color=colour, linewidth=0, zorder=3)
    axis.scatter(
        held[x], held.loss, s=18, marker=marker, facecolor="white", edgecolor=colour, linewidth=0.8, zorder=2
    )


def _caption(study: Study, laws: dict[str, dict[str, Fit]]) -> str:
    told = [
        f"{said(name)}: {', '.join(exponent(fits[name]) for fits in laws.values() if name in fits)}"
        for name in study.architectures
    ]
    return (
        "L(x) = (x_c / x)^a is a straight line here. It is fitted to the best runs at each x "
        "within this study's budgets, those no other run beats with at most as much x (solid points), so "
        "that L(N) here is at limited D, not Kaplan's converged L(N). Faint: the other "
        "runs; open: the held-out rungs; dashes: extrapolation. Without a floor E such a line falls "
        "for ever, and the points bend away from it. "
        "Exponents: " + "; ".join(told) + "."
    )


def exponent(fit: Fit) -> str:
    """The exponent with its interval; a law of one input names it last."""
    name = fit.law.names[-1]
    bounds = fit.interval95.get(name)
    return f"{name} = {fit.params[name]:.3f}" + (
        "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
    )
