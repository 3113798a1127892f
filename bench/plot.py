"""Tokens per second over the width: every contestant in its best setting."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.plots.style import FAINT, MARKERS, PALETTE, canvas, counts, look, svg, titles
from bench.contestants import CONTESTANTS

FAMILIES = {"decoder": "Decoders", "encoder-decoder": "Encoder-decoders"}


def best(row: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Of each contestant that is there the fastest setting at this size, as (setting, figures)."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, figures in row["contestants"].items():
        contestant = CONTESTANTS[name]
        if "absent" in figures:
            continue
        known = found.get(contestant.who)
        if known is None or figures["tokens_per_second"] > known[1]["tokens_per_second"]:
            found[contestant.who] = (contestant.setting, figures)
    return found


def family(who: str) -> str:
    return next(c.family for c in CONTESTANTS.values() if c.who == who)


def draw(rows: Sequence[Mapping[str, Any]]) -> str:
    """An SVG of the comparisons of all sizes: a panel for each family."""
    with look():
        figure, axes = canvas(1, len(FAMILIES), height=3.9, sharey=True)
        for axis, kind in zip(axes[0], FAMILIES, strict=True):
            _panel(axis, rows, kind)
        titles(axes[0], FAMILIES.values())
        axes[0, 0].set_ylabel("Tokens per second, one thread")
        return svg(figure, "speed")


def _panel(axis: Axes, rows: Sequence[Mapping[str, Any]], kind: str) -> None:
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for row in rows:
        for who, (_, figures) in best(row).items():
            if family(who) == kind:
                lines.setdefault(who, []).append((row["size"]["width"], figures))
    peers = (colour for colour in (*PALETTE[1:], FAINT))
    for marker, (who, points) in zip(MARKERS * 2, lines.items(), strict=False):
        mine = who.startswith("scalelaw")
        # Ours are one colour, told apart by their marker and dashes.
        colour = PALETTE[0] if mine else next(peers)
        dashed = mine and who == "scalelaw prefix decoder"
        axis.plot(
            [width for width, _ in points],
            [figures["tokens_per_second"] for _, figures in points],
            color=colour,
            marker=marker,
            linewidth=1.8 if mine else 1.1,
            linestyle="--" if dashed else "-",
            label=who,
            zorder=3 if mine else 2,
        )
    every = [f["tokens_per_second"] for row in rows for _, f in best(row).values()]
    widths = [row["size"]["width"] for row in rows]
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(widths))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}"))
    axis.set_xlabel("d, width of the model")
    counts(axis, "y", every)
    if lines:
        axis.legend()
