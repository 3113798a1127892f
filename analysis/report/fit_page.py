"""The page of a fit: what was found, whether to believe it, how it forecasts. One self-contained file."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pandas as pd

from analysis import fits
from analysis.account import Account
from analysis.plots import audit, fitted, optimum, profiles, residuals
from analysis.plots.rows import label
from analysis.plots.style import look, short, svg
from analysis.report import fit_asked, fit_optimum, html
from analysis.report import fit_sections as sections
from analysis.report.fit_words import BAD, advice, grade, record
from analysis.report.html import Raw, join, sig, tag, whole
from analysis.report.page import frame
from analysis.report.symbols import markup, sentence

INPUTS = 4  # whose ranges are told in a row of tiles
BY = "architecture"  # the column of forecasts that says which part's they are


def page(
    accounts: Mapping[str | None, Account],
    *,
    title: str,
    forecasts: pd.DataFrame | None = None,
    refused: Mapping[str, str] | None = None,
    made: Mapping[str, Any] | None = None,
) -> str:
    """The account of a table, or of each of its parts by their names, as HTML: same fit, same bytes.

    forecasts: the points of `analysis.forecasts.forecast`, with a column `architecture` where there are
    several accounts. refused: parts that could not be fitted, and why. made: how the page came about, such as
    the command, the commit and the machine.
    """
    several = len(accounts) + len(refused or {}) > 1
    body = [
        tag("h1", title),
        _overview(accounts, refused or {}) if several else "",
        *(
            _account(name, one, _its(forecasts, name, several), k)
            for k, (name, one) in enumerate(accounts.items())
        ),
        _origin(next(iter(accounts.values())), made or {}),
    ]
    return frame(title, join(body))


def _overview(accounts: Mapping[str | None, Account], refused: Mapping[str, str]) -> Raw:
    """A row for each part of the table."""
    rows = []
    for k, (name, one) in enumerate(accounts.items()):
        link = tag("a", name, href=f"#part-{k}")
        if one.fit is None:
            rows.append([link, one.law.name, sections.none(), "", _refused(one.refused)])
            continue
        values = join((join([markup(x), " ", sig(v)]) for x, v in one.fit.params.items()), ", ")
        verdict = tag("span", sentence(fits.verdict(one.fit), one.law.names), class_=grade(one.fit))
        rows.append([link, one.law.name, whole(one.fit.n), values, verdict])
    rows += [[name, "", sections.none(), "", _refused(why)] for name, why in refused.items()]
    return html.table(["part of the table", "law", "rows", "parameters", "verdict"], rows)


def _refused(why: str | None) -> Raw:
    return tag("span", html.prose(f"not fitted: {why}"), class_=BAD)


def _its(forecasts: pd.DataFrame | None, name: str | None, several: bool) -> pd.DataFrame | None:
    if forecasts is None or name is None or BY not in forecasts:
        return forecasts
    its = forecasts.loc[forecasts[BY] == name]
    return its.drop(columns=BY) if several else its


def _account(name: str | None, account: Account, forecasts: pd.DataFrame | None, k: int) -> Raw:
    formula = sections.formula(account.law)
    heading = join([f"{name}: " if name else "", account.law.name, tag("small", formula)], " ")
    parts = [tag("h2", heading), _verdict(account), _tiles(account)]
    fit = account.fit
    if fit is not None:
        parts += _part("Parameters", sections.parameters(fit))
        parts += _figure(account, profiles, k)
        parts += _part("Certificate", sections.certificate(fit), _listed(sections.summary(fit)))
        parts += _part("Minima found", sections.minima(fit))
    parts += _figure(account, fitted, k)
    parts += _figure(account, residuals, k)
    parts += _part("Left out, and doubted", fit_asked.left_out(account))
    parts += _figure(account, audit, k, fit_asked.audit(account))
    parts += _part("Laws to choose from", fit_asked.losers(account))
    parts += _figure(account, optimum, k, fit_optimum.optimum(account))
    parts += _part("The same optimum by all approaches", fit_optimum.approaches(account))
    parts += _part("However N and C are counted", fit_optimum.conventions(account))
    if forecasts is not None and len(forecasts):
        parts += _part("Forecasts of runs not made", fit_asked.forecasts(forecasts, account.law.inputs))
    return tag("section", join(parts), id=f"part-{k}")


def _part(title: str, *content: object) -> list[Raw]:
    """A heading and what is under it; nothing where that is nothing."""
    return [tag("h3", title), join(content)] if any(content) else []


def _figure(account: Account, module: ModuleType, k: int, *content: object) -> list[Raw]:
    """A figure of the account with its caption, and what goes under its heading besides."""
    with look():
        made = module.draw(account)
        name = f"{module.__name__.rsplit('.', 1)[-1]}-{k}"
        drawn = (
            ()
            if made is None
            else (Raw(svg(made[0], name)), tag("figcaption", sentence(made[1], account.law.names)))
        )
    return _part(module.TITLE, *([tag("figure", *drawn)] if drawn else []), *content)


def _verdict(account: Account) -> Raw:
    fit = account.fit
    if fit is None:
        return tag("p", tag("b", html.prose(f"Not fitted: {account.refused}."), class_=BAD))
    first = fits.verdict(fit)
    said = [tag("b", sentence(f"{first[:1].upper()}{first[1:]}.", fit.law.names), class_=grade(fit))]
    said += [sentence(said_, fit.law.names) for said_ in advice(fit)]
    said.append(html.prose(record(account.audit)))
    if account.noise is not None:
        low, high = account.noise.interval95
        noise = f"Repeated seeds scatter by {account.noise.sigma:.2%} ({low:.2%} to {high:.2%})."
        said.append(html.prose(noise))
    return tag("p", join(said, " "))


def _tiles(account: Account) -> Raw:
    fit = account.fit
    table = account.table if fit is None else account.table.loc[fit.used]
    tiles: list[tuple[object, object, str]] = [("Rows", whole(len(table)), f"of {len(account.table):,}")]
    names = list(dict.fromkeys((*account.law.inputs, "C")))
    for name in [name for name in names if name in table][:INPUTS]:
        values = pd.Series(table[name]).astype(float)
        tiles.append((html.prose(label(name)), _range(values, name), f"{values.nunique():,} values"))
    if fit is not None:
        tiles.append(("Scatter", sections.share(fit.scale), "around the law"))
    if account.audit is not None and account.audit.cuts:
        tiles.append(("Forecast error", sections.share(account.audit.score), "of larger runs"))
    return tag(
        "div",
        *(tag("div", tag("b", v), tag("span", x), tag("small", note), class_="tile") for x, v, note in tiles),
        class_="tiles",
    )


def _range(values: pd.Series, name: str) -> Raw:
    ends = float(values.min()), float(values.max())
    return join((html.sci(v, 2) if name == "C" else short(v) for v in ends), " – ")


def _listed(items: Any) -> Raw:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in items))


def _origin(account: Account, made: Mapping[str, Any]) -> Raw:
    """Where the table and the page come from."""
    known = {"Source": account.origin.get("source"), "SHA-256": account.origin.get("sha256")}
    known["Filled in"] = account.origin.get("filled")
    known |= {name.capitalize(): value for name, value in made.items()}
    items = [(name, _told(value)) for name, value in known.items() if value is not None]
    return tag("section", tag("h2", "Where it comes from"), _listed(items)) if items else Raw("")


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(item)}" for key, item in value.items() if item is not None)
    return str(value)
