"""One look for every figure: colours, axes of counts and FLOPs, SVG with stable bytes."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterMathtext,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

WIDTH = 9.6  # inches: at the page's 1160 px a 9-point label shows as 15 px; at 6.8 in of paper as 6.4 pt

# Okabe and Ito's palette, told apart under every common colour blindness; markers repeat the distinction.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, FAINT = "#222222", "#8a8a8a"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures are the same on every machine
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.minor.size": 2,
    "ytick.minor.size": 2,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.8,
    "mathtext.default": "regular",
    "svg.fonttype": "path",  # the same glyphs in every browser and on paper
    "svg.hashsalt": "scalelaw",
    "figure.facecolor": "white",
}


@dataclass(frozen=True)
class Plate:
    """A figure as the page shows it."""

    name: str
    title: str
    svg: str
    caption: str


def canvas(rows: int, columns: int, *, height: float, **kwargs) -> tuple[Figure, np.ndarray]:
    """A figure of the page's width and its axes, always (rows, columns). Use inside `look()`."""
    figure = Figure(figsize=(WIDTH, height))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.05)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def look():
    """The context every figure is drawn and saved in."""
    return matplotlib.rc_context(STYLE)


def svg(figure: Figure, name: str) -> str:
    """The figure as an inline <svg>, its ids made unique to `name` so that figures can share a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    # The page's CSS sizes it; the viewBox keeps the proportions.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1).strip()


def said(architecture: str) -> str:
    return architecture.replace("_", " ")


def short(value: float) -> str:
    """A count as it is spoken: 13.8k, 593k, 1.2M."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def power(value: float) -> str:
    """FLOPs as 2.5 x 10^11, for text with mathtext."""
    exponent = int(np.floor(np.log10(value)))
    return rf"${value / 10**exponent:.1f}\times10^{{{exponent}}}$"


def counts(axes: Axes, which: str, values: Iterable[float]) -> None:
    """A log axis ("x" or "y") of parameters or tokens, labelled 20k, 100k, 1M, over the range of `values`."""
    decades = _span(axes, which, values, pad=0.06)
    axis = getattr(axes, f"{which}axis")
    subs = (1, 2, 5) if decades < 2.2 else (1, 3) if decades < 3.5 else (1,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=100))
    axis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
    axis.set_minor_formatter(NullFormatter())


def flops(axes: Axes, which: str, values: Iterable[float]) -> None:
    """A log axis of FLOPs, labelled by powers of ten."""
    decades = _span(axes, which, values, pad=0.04)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=20))
    axis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=100))
    axis.set_major_formatter(LogFormatterMathtext())
    few = LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(2, 0.5))
    axis.set_minor_formatter(few if decades < 1.2 else NullFormatter())


def losses(axes: Axes, which: str, values: Iterable[float], *, ticks: int = 7) -> None:
    """A log axis of losses, a fraction of a decade wide: round numbers at even steps."""
    _span(axes, which, values, pad=0.05)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.4g}"))


def _span(axes: Axes, which: str, values: Iterable[float], *, pad: float) -> float:
    """Set a log scale over the finite values, padded by a share of their span; return it in decades."""
    finite = np.asarray([v for v in values if np.isfinite(v) and v > 0], float)
    low, high = (finite.min(), finite.max()) if len(finite) else (1.0, 10.0)
    margin = max((high / low) ** pad, 1.01)
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low / margin, high * margin)
    return float(np.log10(high / low * margin**2))


def sizes(values: Iterable[float]) -> tuple[Colormap, BoundaryNorm]:
    """A colour for each rung, dark for small and light for large, even in rank."""
    rungs = np.unique(np.asarray(list(values), float))
    # Viridis without its pale end, which fades on white.
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.82, len(rungs)))
    edges = np.sqrt(rungs[1:] * rungs[:-1])
    bounds = np.concatenate([[rungs[0] / 2], edges, [rungs[-1] * 2]])
    return ListedColormap(colours), BoundaryNorm(bounds, len(rungs))


def size_key(figure: Figure, axes, values: Iterable[float], label: str = "N, parameters") -> None:
    """A colour bar with one labelled block a rung (every other one where they are many)."""
    rungs = np.unique(np.asarray(list(values), float))
    colours, _ = sizes(rungs)
    # A bar as thick in a tall figure as in a flat one.
    aspect = 8.5 * figure.get_figheight() * np.size(axes) / len(figure.axes)
    blocks = BoundaryNorm(np.arange(len(rungs) + 1) - 0.5, len(rungs))
    bar = figure.colorbar(ScalarMappable(blocks, colours), ax=axes, pad=0.01, fraction=0.03, aspect=aspect)
    step = max(1, len(rungs) // 12)
    shown = np.arange(0, len(rungs), step)
    bar.set_ticks(shown.tolist(), labels=[short(rungs[k]) for k in shown])
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.set_label(label)


def outer_labels(axes: np.ndarray, x: str, y: str) -> None:
    """Axis labels on the outer panels only."""
    for axis in axes[-1]:
        axis.set_xlabel(x)
    for axis in axes[:, 0]:
        axis.set_ylabel(y)


def titles(axes: Iterable[Axes], names: Iterable[str]) -> None:
    """Letter the panels a, b, c, as captions refer to them."""
    for letter, axis, name in zip("abcdefghijkl", axes, names, strict=False):
        # A doubt about the fit has a line of its own: beside the name it would reach into the next panel.
        axis.set_title(f"{letter}   {name}".replace(" (", "\n      ("))
