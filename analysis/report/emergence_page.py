"""The page of a table of abilities: verdicts, figures of what jumps, forecasts, change points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.emergence.forecasts import BASELINES
from analysis.emergence.halfway import Halfway
from analysis.plots import thresholds
from analysis.plots.style import look, svg
from analysis.plots.thresholds import Found
from analysis.report import html
from analysis.report.html import Raw, bounds, join, sig, tag
from analysis.report.page import frame

DRAWN = 24  # tasks that get a figure: those that look most emergent
GRADE = {"emergent": "good", "undecided": "warn"}


def page(
    found: Sequence[Found],
    halves: Sequence[Halfway | None],
    again: Sequence[Mapping[str, Any]],
    forecasts: Sequence[Mapping[str, Any]],
    training: Sequence[Mapping[str, Any]],
    *,
    title: str,
    made: Mapping[str, Any],
) -> str:
    """One self-contained HTML page; same findings, same bytes."""
    pairs = sorted(zip(found, halves, strict=True), key=lambda pair: -pair[0][2].score)
    ranked = [one for one, _ in pairs]
    tasks = list(dict.fromkeys(j.task for _, _, j in ranked))
    body = [
        tag("h1", f"Thresholds in {title}"),
        tag("p", html.prose(_summary(found))),
        _verdicts(pairs),
        tag("h2", "Figures"),
        *(_figure([one for one in found if one[2].task == task], k) for k, task in enumerate(tasks[:DRAWN])),
    ]
    if len(tasks) > DRAWN:
        rest = f"{len(tasks) - DRAWN} tasks that rank lower are in the table only"
        body.append(tag("p", f"{rest}; emergence.json has the reasons."))
    if again:
        body += [tag("h2", "In other runs"), tag("p", AGAIN), _again(again)]
    if forecasts:
        body += [tag("h2", "Forecasts of the largest 4x"), tag("p", FORECASTS), _forecasts(forecasts)]
    if training:
        body += [tag("h2", "Along training"), _training(training)]
    body.append(tag("h2", "Where it comes from"))
    body.append(tag("p", tag("code", str(made.get("command"))), f", commit {made.get('commit')}"))
    return frame(f"Thresholds in {title}", join(body))


FORECASTS = (
    "Mean absolute error of the score at the sizes held out. A method wins where it is nearer than both "
    "baselines, the last score and a line in the logit. The hold-outs are the top 4x, shown, the 4x below it "
    "and so on, each forecast from what lies below."
)


AGAIN = (
    "The same curves in a second table, from other runs, where they rise in both or have a threshold in "
    "either. Decades: log10 of the second place over the first."
)


def _again(again: Sequence[Mapping[str, Any]]) -> Raw:
    head = ["task", "metric", "verdict", "again"]
    head += ["threshold", "again", "decades", "half-way at", "again", "decades"]
    rows = []
    for one in again:
        verdicts = [one[key].replace("_", " ") for key in ("verdict", "verdict_again")]
        rows.append(
            [one["task"], one["metric"], *verdicts, *_place(one["threshold"]), *_place(one["halfway"])]
        )
    return html.table(head, rows)


def _place(one: Mapping[str, Any]) -> list[object]:
    return [sig(one["first"], 3), sig(one["again"], 3), sig(one["decades"], 2)]


def _summary(found: Sequence[Found]) -> str:
    counts = {
        name: sum(j.verdict == name for _, _, j in found)
        for name in dict.fromkeys(j.verdict for _, _, j in found)
    }
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    left = sum(len(curve.left_out) for curve, _, _ in found)
    return (
        f"{len(found)} curves: {told}. p-values are corrected for that number (Benjamini and Hochberg 1995). "
        f"{left} rows could not be used."
    )


def _verdicts(pairs: Sequence[tuple[Found, Halfway | None]]) -> Raw:
    rows = []
    for (_, _, j), half in pairs:
        verdict = tag("span", j.verdict.replace("_", " "), class_=GRADE.get(j.verdict, ""))
        where = [sig(j.threshold, 3), bounds(j.interval95, 3)]
        where += [sig(half and half.at, 3), bounds(half and half.interval95, 3)]
        rows.append([j.task, j.metric, verdict, sig(j.score, 3), sig(j.p_value, 2), *where, j.mirage or "–"])
    axis = pairs[0][0][0].axis
    head = ["task", "metric", "verdict", "score", "p", f"threshold, {axis}", "95 % interval"]
    head += [f"half-way, {axis}", "95 % interval"]
    return html.table([*head, "jump on other metrics"], rows, class_="sortable")


def _figure(found: Sequence[Found], k: int) -> Raw:
    with look():
        figure, caption = thresholds.draw(found)
        drawn = Raw(svg(figure, f"task-{k}"))
    return join([tag("h3", found[0][2].task), tag("figure", drawn, tag("figcaption", html.prose(caption)))])


def _forecasts(forecasts: Sequence[Mapping[str, Any]]) -> Raw:
    methods = list(dict.fromkeys(one["method"] for one in forecasts))
    cells: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for one in forecasts:
        cells.setdefault((one["task"], one["metric"]), {})[one["method"]] = one
    rows = [[*name, *(_error(its.get(method)) for method in methods)] for name, its in cells.items()]
    for label, key in (("wins", "wins"), ("wins over all hold-outs", "wins_over_all")):
        rows.append([label, "", *(_won(cells.values(), method, key) for method in methods)])
    return html.table(["task", "metric", *methods], rows)


def _won(cells: Iterable[Mapping[str, Mapping[str, Any]]], method: str, key: str) -> str:
    if method in BASELINES:
        return "baseline"
    won = [its[method][key] for its in cells if method in its and its[method][key] is not None]
    return f"{sum(won)} of {len(won)}"


def _error(one: Mapping[str, Any] | None) -> object:
    if one is None:
        return sig(None)
    shown = sig(one["error"], 2)
    return tag("b", shown) if one["wins"] else shown


def _training(training: Sequence[Mapping[str, Any]]) -> Raw:
    rows = []
    for one in training:
        left = one.get("onset")
        between = f"{left[0]:g} to {left[1]:g}" if left else one.get("refused", "–")
        breaks = ", ".join(f"{step:g}" for step in one.get("change_points", []))
        rows.append([one["model"], one["task"], one["metric"], between, breaks or "–"])
    return html.table(["model", "task", "metric", "leaves its floor between steps", "change points"], rows)
