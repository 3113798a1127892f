"""A page on a study that is still running: one file that loads itself anew while it is written anew."""

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from analysis.plots import live
from analysis.plots.live import Curve
from analysis.plots.style import look, svg
from analysis.report.html import Num, Raw, join, sci, sig, table, tag, whole
from analysis.report.page import frame
from scalelaw.run import METRICS, intact
from scalelaw.status import BAD, STATES, Seen, Sight, span

CSS = """
.live { color: var(--soft); margin: -12px 0 18px; }
.states { display: flex; height: 14px; border-radius: 7px; overflow: hidden; background: var(--line);
  margin: 18px 0 6px; }
.bar { display: inline-block; width: 90px; height: 7px; border-radius: 4px; background: var(--line);
  overflow: hidden; margin-right: 8px; vertical-align: 1px; }
.bar i { display: block; height: 100%; }
.key span { margin-right: 18px; font-size: 13.5px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 6px; }
.bar + span { display: inline-block; min-width: 105px; }
.tile em { color: #b3261e; font-style: normal; }
"""
COLOURS = {"finished": "#0b6b3a", "running": "#0072b2", "waiting": "#9aa0a6"} | dict.fromkeys(BAD, "#b3261e")
COLOURS |= {"stalled": "#b06f00", "interrupted": "#b06f00"}


def page(sight: Sight, *, title: str, refresh: float | None) -> str:
    """The page as HTML; no link leaves it. refresh: seconds between a browser's loads; None: only one."""
    at = datetime.fromtimestamp(sight.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    again = f"loads itself again every {refresh:g} s" if refresh else "not being updated any more"
    curves = [curve for run in sight.runs if (curve := _curve(run))]
    body = join(
        [
            tag("h1", title),
            tag("p", f"As of {at}, {again}.", class_="live"),
            _tiles(sight),
            _states(sight),
            _figure(curves),
            tag("section", tag("h2", "Runs"), _runs(sight)),
            _sweeps(sight),
        ]
    )
    meta = Raw(f'<meta http-equiv="refresh" content="{refresh:g}">') if refresh else Raw("")
    return frame(title, body, meta, tag("style", Raw(CSS)))


def _tiles(sight: Sight) -> Raw:
    counts = sight.counts
    bad = sum(counts[state] for state in BAD)
    spent, plans = sum(run.flops for run in sight.runs), [run.whole for run in sight.runs]
    known = sum(plan for plan in plans if plan is not None)
    of = join(["of ", sci(known, 2), "" if None not in plans else " known of"])
    tiles = [
        ("Runs finished", f"{counts['finished']} of {len(sight.runs)}", f"{counts['waiting']} waiting"),
        ("Running", str(counts["running"]), f"{sight.rate:,.0f} tokens/s" if sight.rate else "–"),
        ("Left", "–" if sight.left is None else f"about {span(sight.left)}", "at the pace of what runs now"),
        ("Training FLOPs", sci(spent, 2), of),
        ("In a bad way", tag("em", str(bad)) if bad else "none", _worst(sight)),
    ]
    shown = (
        tag("div", tag("b", value), tag("span", name), tag("small", note), class_="tile")
        for name, value, note in tiles
    )
    return tag("div", *shown, class_="tiles")


def _worst(sight: Sight) -> str:
    return ", ".join(f"{sight.counts[s]} {s}" for s in BAD if sight.counts[s]) or "–"


def _states(sight: Sight) -> Raw:
    """One bar of all runs, by state; running ones count as done for the part that is."""
    order = ("finished", *(state for state in STATES if state not in ("finished", "waiting")), "waiting")
    parts = [(state, sight.counts[state]) for state in order if sight.counts[state]]
    bar = (
        tag("i", style=f"width:{100 * count / len(sight.runs):.2f}%;background:{COLOURS[state]}")
        for state, count in parts
    )
    key = (
        tag("span", tag("i", style=f"background:{COLOURS[state]}"), f"{count} {state}")
        for state, count in parts
    )
    return join([tag("div", *bar, class_="states"), tag("div", *key, class_="key")])


def _figure(curves: list[Curve]) -> Raw:
    if not curves:
        return tag("p", "No run has been evaluated yet.", class_="intro")
    with look():
        drawn = Raw(svg(live.draw(curves), "live"))
    told = (
        f"Validation loss of {len(curves)} runs so far, coloured by their non-embedding parameters N. "
        "A curve falls further when its run's rate decays, at its end."
    )
    return tag("section", tag("h2", "Loss so far"), tag("figure", drawn, tag("figcaption", told)))


def _runs(sight: Sight) -> Raw:
    head = ["run", "state", "N", "progress", "loss", "tokens/s", "left", "why"]
    rows = [
        [
            tag("b", run.name) if run.state == "running" else run.name,
            tag("span", run.state, style=f"color:{COLOURS[run.state]}"),
            whole(run.N),
            _progress(run),
            sig(run.loss),
            whole(run.rate),
            Num("–", None) if run.left is None else Num(span(run.left), run.left),
            run.reason or "",
        ]
        for run in sight.runs
    ]
    note = "Loss: the validation loss of a run that has ended, the last training loss of any other."
    return join([tag("p", note), table(head, rows, class_="sortable")])


def _progress(run: Seen) -> Raw:
    if not run.step or not run.steps:
        return Num("–", 0.0)
    share = run.step / run.steps
    fill = tag("i", style=f"width:{100 * share:.1f}%;background:{COLOURS[run.state]}")
    told = tag("span", whole(run.step), " of ", whole(run.steps))
    return Num(tag("span", fill, class_="bar") + told, share)


def _sweeps(sight: Sight) -> Raw:
    told = [
        tag("div", tag("dt", key.capitalize()), tag("dd", str(sweep[key])))
        for sweep in sight.sweeps
        for key in ("command", "commit", "started")
        if sweep.get(key)
    ]
    return tag("dl", *told) if told else Raw("")


def _curve(run: Seen) -> Curve | None:
    try:
        status = (run.directory / METRICS).stat()
    except OSError:
        return None
    seen = _evaluations(str(run.directory), status.st_mtime_ns, status.st_size)
    if seen is None:
        return None
    tokens, flops, loss = seen
    # Before its first sign of life in progress.json a run's N is not known, but for what 6 N D says of it.
    N = run.N or float(f"{flops[-1] / tokens[-1] / 6:.2g}")
    return Curve(run.architecture or "architecture not known", N, run.state, tokens, flops, loss)


@lru_cache(maxsize=4096)
def _evaluations(directory: str, changed: int, size: int) -> np.ndarray | None:
    """(3, n) tokens, flops and loss; what has not changed since the last look is not read again."""
    try:
        rows = intact(Path(directory))[0]
    except OSError:
        return None
    keys = ("tokens", "flops", "loss")
    seen = [[row.get(key) for key in keys] for row in rows if row.get("loss") is not None]
    points = np.array(seen, float).reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)]
    return points.T if len(points) else None
