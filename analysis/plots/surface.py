"""The fitted surface L(N, D): cut along D for each size, and from above."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import frontier_line
from analysis.plots.style import INK, canvas, counts, losses, said, size_key, sizes, titles
from analysis.report.holdout import FITTED, HELD_OUT
from analysis.report.study import Study, span

TITLE = "Fitted surfaces"
LEVELS = 9


def draw(study: Study) -> tuple[Figure, str] | None:
    names = [name for name in study.architectures if study.surface(name) is not None]
    if not names:
        return None
    figure, axes = canvas(2, len(names), height=6.1, sharey="row")
    for column, name in enumerate(names):
        _cuts(axes[0, column], study, name)
        _above(axes[1, column], study, name)
        counts(axes[0, column], "x", study.finished.D)
        losses(axes[0, column], "y", study.finished.loss)
        axes[1, column].set_xlabel("D, training tokens")
    axes[0, 0].set_ylabel("Final loss, nats per token")
    axes[1, 0].set_ylabel("N, parameters")
    titles(axes.ravel(), [*map(study.label, names), *map(study.label, names)])
    size_key(figure, axes[0], study.finished.N)
    return figure, _caption(study, names)


def _cuts(axis: Axes, study: Study, name: str) -> None:
    fit, its = study.surface(name), study.of(name)
    assert fit is not None
    colours, rank = sizes(study.finished.N)
    D = span(study.finished.D, 80)
    for N in np.unique(its.N):
        rung = its.loc[its.N == N]
        colour = colours(rank(N))
        held = (rung.role == HELD_OUT).all()
        reach = (D >= rung.D.min() / 1.5) & (D <= rung.D.max() * 1.5)
        line = pd.DataFrame({"N": N, "D": D[reach]})
        line["C"] = study.costs[name].per_token(line.N.to_numpy()) * line.D
        axis.plot(
            line.D, fit.predict(line), color=colour, linewidth=1.1, linestyle=(0, (4, 1.5)) if held else "-"
        )
        axis.scatter(
            rung.D,
            rung.loss,
            s=18,
            facecolor="white" if held else colour,
            edgecolor=colour,
            linewidth=0.9,
            zorder=3,
        )


def _above(axis: Axes, study: Study, name: str) -> None:
    fit, its = study.surface(name), study.of(name)
    assert fit is not None
    counts(axis, "x", study.finished.D)
    counts(axis, "y", study.finished.N)
    D, N = np.geomspace(*axis.get_xlim(), 90), np.geomspace(*axis.get_ylim(), 90)
    grid = pd.DataFrame({"N": np.repeat(N, len(D)), "D": np.tile(D, len(N))})
    grid["C"] = study.costs[name].per_token(grid.N.to_numpy()) * grid.D
    loss = fit.predict(grid).reshape(len(N), len(D))
    levels = np.geomspace(study.finished.loss.min(), study.finished.loss.max(), LEVELS)
    axis.contourf(D, N, loss, levels=levels, cmap="Blues_r", extend="both", alpha=0.4)
    lines = axis.contour(D, N, loss, levels=levels, colors="#4a6f96", linewidths=0.6)
    # Labels stand in one row, in the middle of the widest gap between two rungs, clear of the points.
    rungs = np.log(np.unique(its.N))
    gap = np.diff(rungs).argmax() if len(rungs) > 1 else 0
    between = int(np.abs(np.log(N) - rungs[gap : gap + 2].mean()).argmin())
    at = [np.interp(-level, -loss[between], np.log(D), left=np.nan, right=np.nan) for level in levels]
    places = [(np.exp(x), N[between]) for x in at if np.isfinite(x)]
    axis.clabel(lines, fontsize=7, fmt=lambda v: f"{v:.2f}", manual=places, colors="#1d3f63")
    C = span(its.C, 60)
    frontier_line.draw(axis, study.frontier(name, C), "D", "N", color=INK)
    for role, face in ((FITTED, INK), (HELD_OUT, "white")):
        part = its[its.role == role]
        axis.scatter(part.D, part.N, s=14, facecolor=face, edgecolor=INK, linewidth=0.8, zorder=3)
    axis.grid(False)


def _caption(study: Study, names: list[str]) -> str:
    text = (
        "Above: L(N, D) along D for each size, with the measured final losses; open points and dashed "
        "lines were not fitted. Below: the same surface from above, contours of equal loss, the runs "
        "as points, and the efficient frontier in black (dashed: outside the fitted range)."
    )
    return (
        text
        + " Residuals of the fitted runs, root mean square: "
        + ", ".join(f"{_rms(study, name):.2%} ({said(name)})" for name in names)
        + "."
    )


def _rms(study: Study, name: str) -> float:
    rows = study.predictions
    error = rows.relative_error[(rows.architecture == name) & (rows.role == FITTED)]
    return float(np.sqrt((error**2).mean()))
