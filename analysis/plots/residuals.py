"""Residuals: where the law is off, and whether it is off by more in one place than in another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.account import Account
from analysis.plots.rows import Rows, label, scaled
from analysis.plots.style import FAINT, INK, MARKERS, PALETTE, canvas, losses, titles

TITLE = "What the law leaves over"
NORMAL = 1.96  # 95 % of normal scatter
COLUMNS = {1: 1, 2: 2, 3: 3, 4: 4}  # of so many panels; of more, three
# A panel reaches this many robust standard deviations and no further: one broken run would flatten the rest.
REACH = 8.0
LABELLED = 6  # outlying rows that are called by their number


@dataclass(frozen=True)
class Panel:
    """What the residuals are drawn against."""

    title: str
    input: str | None
    """None: the predicted loss."""
    values: np.ndarray
    steps: tuple[list[float], list[float]] | None = None
    """Where this is the direction along which the scatter differs: the quarters' inner edges, and the scatter
    in each."""


def draw(account: Account) -> tuple[Figure, str] | None:
    """A panel for the predicted loss and for each input; None where nothing was fitted. Inside `look()`."""
    if account.fit is None:
        return None
    rows = Rows.of(account)
    panels, limit = _panels(rows), _limit(rows)
    columns = COLUMNS.get(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure, axes = canvas(lines, columns, height=0.6 + 2.5 * lines, sharey=True)
    flat = axes.ravel()
    for axis, panel in zip(flat, panels, strict=False):
        if panel.input is None:
            losses(axis, "x", rows.predicted[rows.shown])
            axis.set_xlabel("Predicted loss, nats per token")
        else:
            scaled(axis, "x", panel.input, panel.values)
        _band(axis, rows.fit.scatter.pooled, panel.steps)
        _points(axis, rows, panel.values, limit)
    _numbers(flat[0], rows, limit)
    flat[0].set_ylim(-100 * limit, 100 * limit)
    for axis in flat[len(panels) :]:
        axis.remove()
    for axis in axes[:, 0]:
        axis.set_ylabel("log L − log L̂, %")
    titles(flat, [panel.title for panel in panels])
    handles, names = flat[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside upper right", ncols=5)
    return figure, _caption(rows, limit, panels)


def _panels(rows: Rows) -> list[Panel]:
    law, scatter = rows.fit.law, rows.fit.scatter
    logs = law.logs(rows.table)[:, : len(law.inputs)]
    out = [Panel("predicted loss", None, rows.predicted)]
    out += [Panel(label(x).split(",")[0], x, np.exp(logs[:, k])) for k, x in enumerate(law.inputs)]
    if scatter.along is None or scatter.edges is None or scatter.quarters is None:
        return out
    direction = np.array(scatter.directions[scatter.along])
    steps = (np.exp(scatter.edges).tolist(), scatter.quarters)
    first, *second = np.flatnonzero(direction)
    if not second:
        out[1 + first] = replace(out[1 + first], steps=steps)
        return out
    one, other = law.inputs[first], law.inputs[second[0]]
    if direction[second[0]] > 0:
        return [*out, Panel(f"{one} · {other}", f"{one} · {other}", np.exp(logs @ direction), steps)]
    if (one, other) == ("N", "D"):  # tokens per parameter are what people speak of
        steps = ([1 / edge for edge in steps[0][::-1]], steps[1][::-1])
        return [*out, Panel("D / N", "D / N", np.exp(-logs @ direction), steps)]
    return [*out, Panel(f"{one} / {other}", f"{one} / {other}", np.exp(logs @ direction), steps)]


def _limit(rows: Rows) -> float:
    """How far up and down the panels reach, in log loss."""
    size = np.abs(rows.fit.residuals)
    typical = float(np.median(size)) / 0.6745  # of normal scatter, the standard deviation
    band = NORMAL * float(rows.spread.max())
    limit = max(min(float(size.max()), max(REACH * typical, 1.5 * band)), band)
    return 1.12 * limit if limit > 0 else 1e-3


def _band(axis: Axes, pooled: float, steps: tuple[list[float], list[float]] | None) -> None:
    ends = axis.get_xlim()
    inner, each = steps or ([], [pooled])
    edges = np.repeat([ends[0], *inner, ends[1]], 2)[1:-1]
    width = 100 * NORMAL * np.repeat(each, 2)
    axis.fill_between(edges, -width, width, color=FAINT, alpha=0.18, linewidth=0)
    axis.axhline(0, color=INK, linewidth=0.8, zorder=1)


def _points(axis: Axes, rows: Rows, x: np.ndarray, limit: float) -> None:
    at = rows.shown
    y = rows.fit.residuals
    axis.scatter(x[at], _within(y[at], limit), s=12, color=PALETTE[0], linewidth=0, zorder=3)
    drawn = np.isin(np.arange(len(y)), at)
    for (kind, mask), marker, colour in zip(rows.flagged.items(), MARKERS[1:], PALETTE[2:], strict=False):
        its = mask & drawn
        axis.scatter(
            x[its],
            _within(y[its], limit),
            s=34,
            marker=marker,
            facecolor="none",
            edgecolor=colour,
            linewidth=0.9,
            zorder=4,
            label=f"doubted: {kind}",
        )
    its = rows.outlying & drawn
    if its.any():
        axis.scatter(
            x[its],
            _within(y[its], limit),
            s=52,
            facecolor="none",
            edgecolor=PALETTE[1],
            zorder=5,
            label="further off than scatter",
        )


def _within(y: np.ndarray, limit: float) -> np.ndarray:
    """In per cent; what lies beyond the panel stands at its edge."""
    return 100 * np.clip(y, -0.93 * limit, 0.93 * limit)


def _numbers(axis: Axes, rows: Rows, limit: float) -> None:
    """The furthest rows by their number in the source."""
    y = rows.fit.residuals
    worst = np.flatnonzero(rows.outlying & np.isin(np.arange(len(y)), rows.shown))
    middle = np.sqrt(np.prod(axis.get_xlim()))
    for k in worst[np.argsort(-np.abs(y[worst]), kind="stable")][:LABELLED]:
        right = rows.predicted[k] > middle
        axis.annotate(
            f"row {rows.table.index[k]}",
            (rows.predicted[k], _within(y[k : k + 1], limit)[0]),
            xytext=(-7 if right else 7, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=7,
        )


def _caption(rows: Rows, limit: float, panels: list[Panel]) -> str:
    scatter = rows.fit.scatter
    told = f"Residuals of the {rows.fit.n} rows; grey, 95 % of new runs at the "
    if scatter.along is None or scatter.quarters is None:
        told += f"scatter of {scatter.pooled:.2%}, which is not seen to differ along the table."
    else:
        name = next(panel.title for panel in panels if panel.steps)
        told += (
            f"pooled scatter of {scatter.pooled:.2%}, and against {name} at that of each quarter of rows: "
            f"{', '.join(f'{q:.2%}' for q in scatter.quarters)} (equal with p = {scatter.p_value:.1g})."
        )
    worst = rows.outlying
    if worst.any():
        count = int(worst.sum())
        more = "" if count <= LABELLED else f", the furthest {LABELLED} by their row"
        told += (
            f" {count} {'row lies' if count == 1 else 'rows lie'} further off than scatter explains{more}."
        )
    beyond = int((np.abs(rows.fit.residuals) > limit).sum())
    if beyond:
        told += f" {beyond} beyond the panel {'stands' if beyond == 1 else 'stand'} at its edge."
    return told + rows.thinned
