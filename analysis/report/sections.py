"""The tables of the page: the test on held-out rungs, the fits, the optima, the runs."""

from typing import Any

import numpy as np
import pandas as pd

from analysis import fits as fitting
from analysis.law import Fit
from analysis.plots.side_by_side import constants
from analysis.plots.style import said, short
from analysis.report import html
from analysis.report.holdout import FITTED, HELD_OUT, LEFT_OUT, reach
from analysis.report.html import Num, Raw, bounds, join, percent, sci, sig, tag, whole
from analysis.report.results import NO_RECORD, decades
from analysis.report.study import SURFACE, Study, each


def held_out(study: Study) -> Raw:
    rows = study.predictions
    held = rows.loc[rows.role == HELD_OUT] if len(rows) else rows
    if held.empty:
        return tag("p", "No rung was held out, or no surface could be fitted: nothing tests the fit here.")
    known = held.inside.dropna()
    told = (
        f"The largest rungs were kept from the fit. Their {len(held)} runs are predicted with a mean "
        f"absolute error of {held.relative_error.abs().mean():.2%}"
    )
    told += (
        f"; {int(known.sum())} of {len(known)} measured losses lie in the 95 % interval for a new run."
        if len(known)
        else "."
    )
    beyond = [
        f"{said(str(a)).capitalize()}: {reach(study.of(str(a), FITTED), its)}."
        for a, its in held.groupby("architecture")
    ]
    told += f" What is extrapolated: {' '.join(beyond)}"
    head = ["architecture", "N", "D", "C", "measured", "predicted", "95 % interval", "error", "inside"]
    body = [
        [
            said(row.architecture),
            whole(row.N),
            whole(row.D),
            sci(row.C),
            sig(row.loss),
            sig(row.predicted),
            bounds([row.lo95, row.hi95]),
            percent(row.relative_error),
            _yes(row.inside),
        ]
        for row in each(held)
    ]
    return join([tag("p", told), html.table(head, body)])


def _yes(inside: Any) -> Raw | str:
    if inside is None or pd.isna(inside):
        return "–"
    return tag("span", "yes", class_="good") if inside else tag("span", "no", class_="bad")


def fits(study: Study) -> Raw:
    """One table a law, so that its constants are columns."""
    return join(_law(study, name) for name in study.fits)


def _law(study: Study, law: str) -> Raw:
    fits, refused = study.fits[law], study.refused[law]
    if not fits and not refused:
        return Raw("")
    names = list(constants(next(iter(fits.values())))) if fits else []
    head = ["architecture", *map(html.prose, names), "runs", "scatter", "verdict"]
    rows = []
    for architecture, fit in sorted(fits.items()):
        values = constants(fit)
        cells = [_constant(*values[n]) for n in names]
        rows.append(
            [said(architecture), *cells, whole(fit.n), _scatter(fit), verdict(study, law, architecture)]
        )
    for architecture, why in sorted(refused.items()):
        rows.append(
            [
                said(architecture),
                *["–"] * len(names),
                "–",
                "–",
                tag("span", f"not fitted: {why}", class_="bad"),
            ]
        )
    return join(
        [
            tag("h3", law.replace("_", " "), " ", tag("small", html.prose(_formula(fits)))),
            html.table(head, rows),
        ]
    )


def _formula(fits: dict[str, Fit]) -> str:
    for fit in fits.values():
        first = (type(fit.law).__doc__ or "").split("\n")[0].strip()
        return first.split(":")[0].rstrip(".")
    return ""


def _constant(value: float, pair) -> Num:
    interval = "" if pair is None else f"<br><small>{bounds(pair, 3)}</small>"
    return Num(f"{sig(value, 4)}{interval}", value)


def _scatter(fit: Fit) -> Num:
    return Num(f"{100 * fit.scale:.2f}&thinsp;%", fit.scale)


def verdict(study: Study, law: str, architecture: str) -> Raw:
    """What to make of a fit: its status, and whether its optimum is an extrapolation."""
    fit = study.fits[law][architecture]
    told = fitting.verdict(fit)
    sure = "good" if told == fitting.CONVERGED else "warn" if fit.status == fitting.CONVERGED else "bad"
    parts = [tag("span", told, class_=sure)]
    if law == SURFACE and study.extrapolates(architecture):
        parts.append(tag("span", "optimum extrapolated at part of these budgets", class_="warn"))
    return join(parts, "<br>")


def optima(study: Study) -> Raw:
    """N_opt and D_opt at decades of C: in counted FLOPs, and in the closed form under C = 6 N D."""
    C = decades(study)
    rows = []
    for name, fit in sorted(study.fits.get(SURFACE, {}).items()):
        line = study.frontier(name, C)
        closed = fit.optimum(C)
        pairs = closed.get("interval95", {})
        for k, row in enumerate(each(line)):
            rows.append(
                [
                    sci(row.C, 1),
                    said(name),
                    whole(_round(row.N)),
                    whole(_round(row.D)),
                    sig(row.D / row.N, 3),
                    sig(row.loss),
                    bounds([row.lo95, row.hi95]),
                    "fitted range" if row.inside else tag("span", "extrapolated", class_="warn"),
                    whole(_round(closed["N_opt"][k])),
                    _wide(pairs.get("N_opt"), k),
                    whole(_round(closed["D_opt"][k])),
                    _wide(pairs.get("D_opt"), k),
                ]
            )
    rows.sort(key=lambda row: row[0].value)
    head = [
        "C",
        "architecture",
        "N_opt",
        "D_opt",
        "D/N",
        "loss",
        "95 %",
        "",
        "N_opt (6ND)",
        "95 %",
        "D_opt (6ND)",
        "95 %",
    ]
    note = (
        "The best split of a budget. First by the FLOPs as executed (attention and output head "
        "included, which is most of the cost of small models), then by the usual C = 6ND in closed "
        "form, with intervals."
    )
    return join([tag("p", note), html.table(map(html.prose, head), rows)]) if rows else Raw("")


def _wide(pairs, k: int) -> Num:
    if pairs is None:
        return Num("–", None)
    low, high = pairs[k]
    if not np.isfinite([low, high]).all():
        return Num("unbounded", None)
    return Num(f"[{short(low)}, {short(high)}]", low)


def _round(value: float) -> float | None:
    """Three significant digits: an optimum is not known better."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def unfinished(study: Study) -> Raw:
    left = study.runs.loc[study.runs.role == LEFT_OUT]
    if left.empty and not study.unrecorded:
        return Raw("")
    rows = [
        [row.name, said(row.architecture), whole(row.N), row.status, row.reason or "–"] for row in each(left)
    ]
    rows += [[name, "–", "–", NO_RECORD, why] for name, why in study.unrecorded.items()]
    return join(
        [
            tag(
                "p",
                f"{len(rows)} of {len(study.runs) + len(study.unrecorded)} runs; none of them is in any fit.",
            ),
            html.table(["run", "architecture", "N", "status", "reason"], rows),
        ]
    )


def runs(study: Study) -> Raw:
    columns = {
        "architecture": lambda r: said(r.architecture),
        "depth": lambda r: whole(r.depth),
        "width": lambda r: whole(r.width),
        "N": lambda r: whole(r.N),
        "N_total": lambda r: whole(r.N_total),
        "D": lambda r: whole(r.D),
        "D_target": lambda r: whole(r.D_target),
        "C": lambda r: sci(r.C),
        "rate": lambda r: sig(r.learning_rate, 3),
        "loss": lambda r: sig(r.loss),
        "bits/byte": lambda r: sig(r.bits_per_byte),
        "own loss": lambda r: sig(r.loss_objective),
        "use": lambda r: r.role if r.status == "finished" else f"{r.role}: {r.status}",
        "run": lambda r: tag("code", r.run),
    }
    rows = [[cell(r) for cell in columns.values()] for r in each(study.runs)]
    note = "Click a column to sort by it. Rate: peak learning rate. Own loss: on the run's own objective."
    return join([tag("p", note), html.table(map(html.prose, columns), rows, class_="sortable")])
