"""IsoFLOP curves: loss against N at equal compute, and the optimum's growth by approaches 2 and 3."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.optima.frontier import surface
from analysis.plots import frontier_line
from analysis.plots.style import FAINT, INK, canvas, counts, flops, losses, power, said, titles
from analysis.report.holdout import FITTED
from analysis.report.study import Study, span
from analysis.tables.runs import SLACK

TITLE = "IsoFLOP curves"
MOST = 6  # more curves than this in a panel cannot be told apart
APART = 2.0  # nor can two whose FLOPs differ by less than this factor


def draw(study: Study) -> tuple[Figure, str] | None:
    names = [name for name in study.architectures if study.surface(name) is not None]
    if not names:
        return None
    figure, axes = canvas(2, len(names), height=5.9, sharey="row", height_ratios=[1.25, 1])
    for column, name in enumerate(names):
        _profiles(axes[0, column], study, name)
        _optima(axes[1, column], study, name)
        counts(axes[0, column], "x", study.finished.N)
        losses(axes[0, column], "y", study.finished.loss)
        flops(axes[1, column], "x", study.finished.C)
        axes[0, column].set_xlabel("N, parameters")
        axes[1, column].set_xlabel("C, training FLOPs")
    lines = [study.frontier(name, span(study.finished.C, 12)).N.dropna() for name in names]
    for axis in axes[1]:
        counts(axis, "y", np.concatenate([study.finished.N, *lines]))
    axes[0, 0].set_ylabel("Final loss, nats per token")
    axes[1, 0].set_ylabel(r"$N_{opt}$, parameters")
    titles(axes.ravel(), [*map(study.label, names), *(rf"$N_{{opt}}$, {said(name)}" for name in names)])
    figure.legend(
        handles=[
            Line2D([], [], color=FAINT, marker="o", linestyle="", label="final loss (open: held out)"),
            Line2D([], [], color=FAINT, label="fitted surface at this C"),
            Line2D(
                [], [], color=FAINT, marker="D", markerfacecolor="white", linestyle="", label="its minimum"
            ),
            Line2D(
                [], [], color=FAINT, linestyle=(0, (1, 1.2)), label="parabola through three sizes or more"
            ),
        ],
        loc="outside upper right",
        ncols=4,
    )
    return figure, _caption(study, names)


def _shown(study: Study, name: str) -> list[dict]:
    """The profiles with the most sizes that can be told apart, by rising C."""
    chosen: list[dict] = []
    for profile in sorted(study.isoflop[name]["profiles"], key=lambda p: -p["sizes"]):
        apart = all(abs(np.log(profile["C"] / other["C"])) > np.log(APART) for other in chosen)
        if apart and len(chosen) < MOST:
            chosen.append(profile)
    return sorted(chosen, key=lambda p: p["C"])


def _profiles(axis: Axes, study: Study, name: str) -> None:
    fit, cost, its = study.surface(name), study.costs[name], study.of(name)
    assert fit is not None
    shown = _shown(study, name)
    tints = colormaps["plasma"](np.linspace(0.05, 0.8, max(len(shown), 2)))
    N = span(study.finished.N, 120)
    for tint, profile in zip(tints, shown, strict=False):
        C = profile["C"]
        line = surface(N, C, cost)
        line["loss"] = fit.predict(line)
        axis.plot(line.N, line.loss, color=tint, linewidth=1.1)
        # Fitted runs of the group; held-out ones that cost the same, to compare with its parabola.
        near = np.where(its.role == FITTED, profile["spread"] * 1.001, max(profile["spread"], SLACK))
        group = its[np.abs(np.log(its.C / C)) < np.log(near)]
        face = [tint if role == FITTED else "white" for role in group.role]
        axis.scatter(group.N, group.loss, s=17, facecolor=face, edgecolor=[tint], linewidth=0.8, zorder=3)
        if profile["parabola"] is not None:
            x = np.log(span(group.N[group.role == FITTED], 60))
            axis.plot(
                np.exp(x),
                np.polynomial.polynomial.polyval(x, profile["parabola"]),
                color=tint,
                linestyle=(0, (1, 1.2)),
            )
        best = study.frontier(name, np.array([C])).iloc[0]
        if N[0] <= best.N <= N[-1]:
            axis.scatter(best.N, best.loss, s=26, marker="D", facecolor="white", edgecolor=tint, zorder=4)
        end = line.iloc[-1]
        if end.loss > study.finished.loss.max():
            continue
        axis.annotate(
            power(C),
            (end.N, end.loss),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            color=tint,
        )


def _optima(axis: Axes, study: Study, name: str) -> None:
    line = study.frontier(name, span(study.finished.C, 60))
    frontier_line.draw(axis, line, "C", "N", color=INK, label="fitted surface")
    seen = study.of(name, FITTED).N
    axis.axhspan(seen.min(), seen.max(), color="#f3f3f3", zorder=0, linewidth=0)
    found = [p for p in study.isoflop[name]["profiles"] if p["N_opt"] is not None]
    if found:
        axis.plot(
            [p["C"] for p in found],
            [p["N_opt"] for p in found],
            linestyle="",
            marker="D",
            markerfacecolor="white",
            color="#7b2d8b",
            label="parabolas",
        )
    else:
        axis.text(
            0.97,
            0.05,
            "no parabola with a\nbracketed minimum",
            transform=axis.transAxes,
            ha="right",
            color=FAINT,
        )
    axis.legend(loc="upper left")


def slope(study: Study, name: str) -> float:
    """d log N_opt / d log C of the fitted surface over the runs' range, in counted FLOPs."""
    ends = study.frontier(name, span(study.of(name).C, 2))
    return float(np.diff(np.log(ends.N))[0] / np.diff(np.log(ends.C))[0])


def _caption(study: Study, names: list[str]) -> str:
    text = (
        "Above: final losses of runs of about equal compute against their size, the fitted surface at "
        "the same budgets (labelled in FLOPs), and its minimum. Held-out runs (open) "
        "are in no parabola. Below: the compute-optimal size; grey, the sizes fitted."
    )
    for name in names:
        every = study.isoflop[name]["profiles"]
        a = study.isoflop[name]["exponent"]
        bracketed = [p for p in every if p["N_opt"] is not None]
        text += f" {said(name).capitalize()}: N_opt grows like C^{slope(study, name):.2f} on the surface"
        if a["a"] is not None:
            error = "" if a["stderr"] is None else f" ± {a['stderr']:.2f}"
            text += f", C^{a['a']:.2f}{error} by {len(bracketed)} parabolas"
        else:
            text += f"; {len(bracketed)} of {len(every)} groups bracket a minimum"
        biases = [p["bias"] for p in bracketed if p["bias"] is not None]
        if biases:
            worst = max(biases, key=abs)
            text += f" (without noise a parabola would be off by up to {abs(worst):.0%} in N_opt)"
        text += "."
    return text
