"""Everything a fit has to say for itself: verdict, optimum, its record as a forecaster, doubts, origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis import fits
from analysis.forecasts import Audit, audit, choose
from analysis.law import Fit, Law, plain
from analysis.optima.approaches import METHODS, approach, complete
from analysis.optima.conventions import conventions as conventions_of
from analysis.optima.conventions import said
from analysis.optima.disagreements import disagreement
from analysis.optima.optimum import Optimum
from analysis.tables.columns import check_positive
from analysis.tables.replicates import SeedNoise, seed_noise

AXES = ("C", "N", "D")
BEYOND = (1, 10, 100)  # the budgets to plan for: the largest run's, and two decades more
PARAMETRIC = "approach3"
SAME_COST = 0.02  # rounding of FLOPs in a table


@dataclass(frozen=True)
class Auto:
    """A choice of laws in place of one: the best forecaster of the table's own larger runs is taken."""

    candidates: Mapping[str, Law]


@dataclass(frozen=True)
class Account:
    """One table, one law."""

    table: pd.DataFrame
    law: Law
    fit: Fit | None
    """None where the table cannot carry the law, though it can another approach: `refused` says why."""
    refused: str | None
    audit: Audit | None
    """None when it was not asked for."""
    losers: dict[str, Any]
    """Of laws to choose from, those not taken, with their audit or why they could not take part."""
    optimum: dict[str, Any] | Optimum | None
    """None for a law that is not one of N and D."""
    noise: SeedNoise | None
    """From repeated seeds, where the table has them."""
    origin: dict[str, Any] = field(default_factory=dict)
    approaches: dict[str, Any] | None = None
    """All three readings of the optimum and whether they disagree, where that was asked for."""
    conventions: dict[str, Any] | None = None
    """The exponents under every way to count N and C that the table carries, where that was asked for."""

    def to_json(self) -> dict[str, Any]:
        if self.fit is None:
            out: dict[str, Any] = {"law": self.law.name, "status": f"not fitted: {self.refused}"}
        else:
            out = self.fit.to_json() | {"aicc": plain(fits.aicc(self.fit))}
        if self.audit is not None:
            out["audit"] = self.audit.to_json()
        if self.losers:
            out["losers"] = self.losers
        if self.optimum is not None:
            out["optimum"] = plain(
                self.optimum.to_json() if isinstance(self.optimum, Optimum) else self.optimum
            )
        for name in ("approaches", "conventions"):
            if (one := getattr(self, name)) is not None:
                out[name] = one
        out["seed_noise"] = None if self.noise is None else self.noise.to_json()
        return out | plain(self.origin)


def account(
    table: pd.DataFrame,
    law: Law | Auto,
    *,
    method: str | None,
    budgets: Sequence[float] | None,
    flops: float,
    curve: str,
    isoflop_width: float,
    audited: bool,
    approaches: bool,
    conventions: bool,
    **knobs: Any,
) -> Account:
    """Fit a law to the table, or the best of several, and ask it everything.

    method: approach1, approach2 or approach3, by which the compute optimum is read; None: approach 3, where
    the law is one of N and D. budgets: FLOPs to give the optimum at; None: the table's largest C, and 10 and
    100 times that. flops: C = flops N D. curve, isoflop_width: of approach 2. audited: hold out and forecast
    the table's larger rows. approaches: read the optimum in all three ways and test whether they disagree.
    conventions: fit under every N and C that the table carries. knobs: those of `analysis.fits.fit`.
    Raises ValueError in one line.
    """
    if not flops > 0:
        raise ValueError(f"flops={flops} is not positive")
    if budgets is not None and not all(C > 0 for C in budgets):
        raise ValueError(f"budgets={list(budgets)}: FLOPs are positive numbers")
    other = method not in (None, PARAMETRIC)
    losers: dict[str, Any] = {}
    found, fit, refused = None, None, None
    try:
        if isinstance(law, Auto):
            law, found, losers = _chosen(table, law, knobs)
        elif audited:
            found = audit(table, law, axes=AXES, **knobs)
        fit = fits.fit(table, law, **knobs)
    except ValueError as error:
        if not other or isinstance(law, Auto):
            raise
        refused = str(error)
    rows = table if fit is None else table.loc[fit.used]
    rows.attrs = dict(table.attrs)
    surface = fit if fit is not None and _of_size_and_data(fit) else None
    counting = {"flops": flops, "curve": curve, "width": isoflop_width}
    asked = counting | {"bootstrap": knobs["bootstrap"], "seed": knobs["seed"], "fit": surface}
    if other:
        assert method is not None
        at = list(budgets) if budgets else _budgets(complete(rows, flops)[0])
        optimum = approach(rows, method, budgets=at, **asked)
    else:
        assert fit is not None
        optimum = _closed_form(rows, fit, method, budgets, flops)
    return Account(
        table,
        law,
        fit,
        refused,
        found,
        losers,
        optimum,
        seed_noise(rows),
        {key: table.attrs.get(key) for key in ("source", "filled", "sha256")}
        | {key: knobs.get(key) for key in ("weights", "noise", "cluster")},
        _all_three(rows, asked) if approaches else None,
        _counted(rows, law if fit else None, method or PARAMETRIC, counting, knobs) if conventions else None,
    )


def _all_three(rows: pd.DataFrame, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Approaches 1 to 3 on the same rows, why one could not be had, and the test of their disagreement."""
    out: dict[str, Any] = {}
    read = []
    for method in METHODS:
        try:
            one = approach(rows, method, budgets=_budgets(complete(rows, asked["flops"])[0]), **asked)
        except ValueError as error:
            out[method] = {"status": f"not read: {error}"}
            continue
        out[method] = one.to_json()
        read.append(one)
    try:
        tested = disagreement(read, bootstrap=asked["bootstrap"], seed=asked["seed"])
    except ValueError as error:
        tested = {"verdict": f"not tested: {error}"}
    return out | {"disagreement": tested}


def _counted(
    rows: pd.DataFrame, law: Law | None, method: str, counting: Mapping[str, Any], knobs: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        found = conventions_of(rows, law, method=method, **counting, **{**knobs, "profile": False})
    except ValueError as error:
        return {"said": f"not compared: {error}", "each": []}
    return {"said": said(found), "each": [one.to_json() for one in found]}


def _chosen(table: pd.DataFrame, laws: Auto, knobs: Mapping[str, Any]) -> tuple[Law, Audit, dict[str, Any]]:
    name, audits, refused = choose(table, laws.candidates, axes=AXES, **knobs)
    losers = {other: one.to_json() for other, one in audits.items() if other != name}
    losers |= {other: {"law": other, "status": f"not a candidate: {why}"} for other, why in refused.items()}
    law = laws.candidates[name]
    return law, audit(table, law, axes=AXES, **knobs), losers


def _of_size_and_data(fit: Fit) -> bool:
    return fit.law.tradeoff(fit.vector) is not None


def _budgets(rows: pd.DataFrame) -> list[float]:
    return [k * float(check_positive(rows, "C").max()) for k in BEYOND]


def _closed_form(
    rows: pd.DataFrame, fit: Fit, method: str | None, budgets: Sequence[float] | None, flops: float
) -> dict[str, Any] | None:
    """Approach 3 (Hoffmann et al. 2022, eq. 4). None for a law that is not of N and D, unless asked for."""
    if not _of_size_and_data(fit):
        if method is None:
            return None
        raise ValueError(f"method={method}: the law {fit.law.name} is not one of N and D")
    at = list(budgets) if budgets else _budgets(rows)
    told = {"C": at, "flops": flops, "method": PARAMETRIC}
    cost = float((rows.C / (rows.N * rows.D)).median())
    if abs(cost / flops - 1) > SAME_COST:
        told["status"] = f"under C = {flops:g} N D, though the table's own C is {cost:.3g} N D in the median"
    return fit.optimum(at, flops=flops) | told
