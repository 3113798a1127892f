"""Architectures side by side: the fitted constants with their intervals, and what they buy."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullLocator

from analysis.law import Fit
from analysis.plots import frontier_line
from analysis.plots.style import MARKERS, PALETTE, canvas, counts, flops, losses, said, titles
from analysis.report.caution import caution
from analysis.report.study import SURFACE, Study, span

TITLE = "Architectures side by side"
SYMBOLS = {"alpha": "α", "beta": "β"}
WIDE = 4  # a log axis over less than this has no room for its labels
FAR = 1e3  # from here on, labels as counts (1, 10, 100) would touch
SCALED = ("A", "B")  # prefactors, known only to a factor: their axis is logarithmic


def draw(study: Study) -> tuple[Figure, str] | None:
    fits = study.fits.get(SURFACE, {})
    if not fits:
        return None
    names = sorted(fits)
    figure, axes = canvas(1, 1, height=5.6)
    axes[0, 0].remove()
    halves: Any = figure.subfigures(2, 1, height_ratios=[0.24 + 0.14 * len(names), 1.25])
    upper, lower = halves
    values = constants(fits[names[0]])
    forest = upper.subplots(1, len(values), sharey=True)
    for axis, symbol in zip(forest, values, strict=True):
        _forest(axis, [constants(fits[name])[symbol] for name in names], symbol)
    forest[0].set_yticks(range(len(names)), [study.label(name).replace(" (", "\n(") for name in names])
    forest[0].set_ylim(len(names) - 0.5, -0.5)
    pair = lower.subplots(1, 2)
    for name, colour in zip(names, PALETTE, strict=False):
        line = study.frontier(name, span(study.finished.C, 80))
        frontier_line.draw(pair[0], line, "C", "loss", color=colour, label=study.label(name))
        frontier_line.draw(pair[1], line, "C", "N", color=colour, label=study.label(name))
    for axis in pair:
        flops(axis, "x", study.finished.C)
        axis.set_xlabel("C, training FLOPs")
    every = [study.frontier(name, span(study.finished.C, 12)) for name in names]
    losses(pair[0], "y", np.concatenate([line.loss for line in every]))
    counts(pair[1], "y", np.concatenate([line.N for line in every]))
    pair[0].set_ylabel("Loss at the frontier, nats per token")
    pair[1].set_ylabel(r"$N_{opt}$, parameters")
    titles(pair, ["frontier loss", "compute-optimal size"])
    pair[0].legend(loc="upper right")
    return figure, f"{_caption(fits, names)} {caution(study)}".strip()


def constants(fit: Fit) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """Each fitted constant, and the exponent a = beta / (alpha + beta), with its 95 % interval if any."""
    out = {name: (value, fit.interval95.get(name)) for name, value in fit.params.items()}
    alpha, beta = fit.params.get("alpha"), fit.params.get("beta")
    if alpha is not None and beta is not None:
        drawn = None
        if fit.samples is not None:
            names = list(fit.law.names)
            s_alpha, s_beta = (fit.samples[:, names.index(n)] for n in ("alpha", "beta"))
            drawn = tuple(np.quantile(s_beta / (s_alpha + s_beta), [0.025, 0.975]))
        out["a"] = (beta / (alpha + beta), drawn)
    return out


def _forest(axis: Axes, rows: list, symbol: str) -> None:
    for k, (value, bounds) in enumerate(rows):
        if bounds is not None:
            axis.plot(bounds, [k, k], color=PALETTE[k % len(PALETTE)], linewidth=1.6, solid_capstyle="butt")
        axis.plot(value, k, marker=MARKERS[k % len(MARKERS)], color=PALETTE[k % len(PALETTE)])
    axis.set_title(SYMBOLS.get(symbol, symbol), loc="center")
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    every = [v for value, bounds in rows for v in (value, *(bounds or ()))]
    if symbol in SCALED and max(every) > WIDE * min(every) > 0:
        counts(axis, "x", every)
        if max(every) > FAR * min(every):  # a badly known prefactor: three powers of ten have room
            axis.xaxis.set_major_locator(LogLocator(numticks=3))
            axis.xaxis.set_major_formatter(LogFormatterMathtext())
        else:
            axis.xaxis.set_major_locator(LogLocator(numticks=4))
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.margins(x=0.12)
        axis.locator_params(axis="x", nbins=3)


def _caption(fits: dict[str, Fit], names: list[str]) -> str:
    text = (
        "Above: the constants of L = E + A/N^α + B/D^β and a = β/(α+β), the exponent of N_opt in C, "
        "with 95 % bootstrap intervals. Intervals that overlap mean that these runs do not tell the "
        "architectures apart in that constant; E, A and B are strongly correlated, so the frontiers "
        "below say more."
    )
    exponents = [(name, constants(fits[name]).get("a")) for name in names]
    told = [f"{a[0]:.2f}{_bounds(a[1])} ({said(name)})" for name, a in exponents if a is not None]
    return text + (" a = " + ", ".join(told) + "." if told else "")


def _bounds(bounds) -> str:
    return "" if bounds is None else f" [{bounds[0]:.2f}, {bounds[1]:.2f}]"
