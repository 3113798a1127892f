"""The page of a study's measures: what changes with size, in a table and in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.mechanisms.trends import Trend
from analysis.plots import trends
from analysis.plots.style import look, svg
from analysis.report import html
from analysis.report.html import Raw, bounds, join, sig, tag
from analysis.report.page import frame

TITLE = "Measures against size"


def page(
    table: pd.DataFrame,
    found: Sequence[Trend],
    refused: Mapping[str, str],
    further: Mapping[str, Sequence[str]],
    *,
    made: Mapping[str, Any],
) -> str:
    """One self-contained HTML page. further: by title, sentences on what else the runs tell."""
    body = [tag("h1", TITLE), tag("p", html.prose(_summary(found)))]
    body += [_verdicts(found), *_figures(table, found)]
    if refused:
        body += [tag("h2", "Not determined"), _list(f"{name}: {why}" for name, why in refused.items())]
    for title, said in further.items():
        body += [tag("h2", title), _list(said)]
    body += [tag("h2", "Where it comes from")]
    body += [tag("p", tag("code", str(made.get("command"))), f", commit {made.get('commit')}")]
    return frame(TITLE, join(body))


def _summary(found: Sequence[Trend]) -> str:
    shown = sum(one.verdict != "no trend shown" for one in found)
    return (
        f"{len(found)} slopes on log N, {shown} of which leave 0 out of their 95 % interval; without any "
        f"trend about {0.05 * len(found):.1f} would. Bands are what the slopes of the interval sweep; "
        "dashed lines show no trend."
    )


def _verdicts(found: Sequence[Trend]) -> Raw:
    head = ["ladder", "figure", "verdict", "slope", "95 % interval", "scale", "sizes", "seeds", "in words"]
    rows = [
        [
            one.group,
            one.figure,
            one.verdict,
            sig(one.slope, 3),
            bounds(one.interval95, 3),
            one.scale,
            str(one.sizes),
            str(one.seeds),
            one.said(),
        ]
        for one in found
    ]
    return html.table(head, rows, class_="sortable")


def _figures(table: pd.DataFrame, found: Sequence[Trend]) -> list[Raw]:
    measures: dict[str, list[str]] = {}
    for figure in dict.fromkeys(table.figure):
        measures.setdefault(figure.split(".")[0], []).append(figure)
    drawn = []
    for measure, figures in measures.items():
        for first in range(0, len(figures), trends.MOST):
            with look():
                figure = trends.draw(table, found, figures[first : first + trends.MOST])
                plate = Raw(svg(figure, f"{measure}-{first}"))
            drawn.append(join([tag("h3", measure), tag("figure", plate)]))
    return drawn


def _list(said: Any) -> Raw:
    return tag("ul", join(tag("li", html.prose(one)) for one in said))
