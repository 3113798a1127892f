"""The tables of a fit's page: what the fit was asked, and what was kept from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.account import Account
from analysis.optima.optimum import Optimum
from analysis.report import html
from analysis.report.fit_sections import counted, ends, none, share
from analysis.report.fit_words import WARN
from analysis.report.html import Num, Raw, join, percent, sci, sig, tag, whole
from analysis.report.symbols import sentence

ROWS, POINTS = 12, 200  # told one by one; of more, how many more


def audit(account: Account) -> Raw:
    """Every cut of the audit, and what kept the law from others."""
    found = account.audit
    if found is None:
        return Raw("")
    head = ["larger", "fitted up to", "reach", "fitted", "held out", "error", "bias", "inside", "fit"]
    rows = [
        [
            cut.axis,
            sci(cut.cut) if cut.axis == "C" else counted(cut.cut),
            Num(f"×{cut.reach:.3g}", cut.reach),
            whole(cut.fitted),
            whole(cut.held_out),
            share(cut.error),
            percent(cut.bias),
            share(cut.inside, 0),
            sentence(cut.status, account.law.names),
        ]
        for cut in found.cuts
    ]
    why = "Not in this" if rows else "No forecast was made"
    told = sentence(f"{why}: {found.note or 'nothing to hold out'}.", account.law.names)
    note = tag("p", told, class_="intro") if found.note or not rows else ""
    return join([html.table(head, rows) if rows else "", note])


def losers(account: Account) -> Raw:
    """Of laws to choose from: the one taken, and why not the others."""
    if not account.losers:
        return Raw("")
    known = {} if account.audit is None else {account.law.name: account.audit.to_json()}
    rows: list[list[object]] = []
    for name, one in (known | account.losers).items():
        if "score" not in one:
            rows.append([name, none(), none(), none(), html.prose(one["status"])])
            continue
        told = "taken" if name in known else "not taken"
        score = share(one["score"], 3)
        rows.append([name, whole(one["parameters"]), score, sig(one["aicc"], 5), told])
    note = (
        "Taken is the law with the least mean error of the forecasts above, or, of those within one standard "
        "error of it, the one with the fewest parameters."
    )
    head = ["law", "parameters", "mean forecast error", "AICc", ""]
    return join([tag("p", note), html.table(head, rows)])


def left_out(account: Account) -> Raw:
    """Rows that were dropped or are doubted, and why."""
    fit = account.fit
    dropped = fit.dropped if fit is not None else []
    flags = fit.flags if fit is not None else []
    if isinstance(account.optimum, Optimum) and fit is None:
        dropped = account.optimum.dropped
    rows = [
        ["left out", whole(one["count"]), html.prose(one["why"]), _rows(one.get("rows"))] for one in dropped
    ]
    rows += [
        [
            "doubted, kept",
            whole(len(flag["rows"])),
            html.prose(f"{flag['kind']}: {flag['why']}"),
            _rows(flag["rows"]),
        ]
        for flag in flags
    ]
    if not rows:
        return tag("p", "Nothing was left out, and no row is doubted.")
    return html.table(["", "rows", "why", "which"], rows)


def _rows(rows: list[Any] | None) -> str:
    if not rows:
        return "–"
    told = ", ".join(map(str, rows[:ROWS]))
    return told if len(rows) <= ROWS else f"{told} and {len(rows) - ROWS} more"


def forecasts(points: pd.DataFrame, inputs: Sequence[str]) -> Raw:
    """The table of `analysis.forecasts.forecast`, by the law's inputs."""
    given = [name for name in dict.fromkeys((*inputs, "C")) if name in points]
    rows = []
    for row in points.head(POINTS).to_dict("records"):
        cells: list[object] = [sci(row[x]) if x == "C" else counted(row[x]) for x in given]
        cells.append(sig(row["loss"], 5))
        cells += [ends([row[f"{kind}_lo95"], row[f"{kind}_hi95"]], 5) for kind in ("mean", "run")]
        cells.append(tag("span", "extrapolated", class_=WARN) if row["extrapolates"] else "among the runs")
        rows.append(cells)
    head = [*map(html.prose, given), "loss", "95 %, mean", "95 %, new run", ""]
    more = len(points) - POINTS
    return join([html.table(head, rows), tag("p", f"and {more} more in forecast.csv.") if more > 0 else ""])
