"""A fit as a terminal shows it: parameters, verdict, what was left out, how its forecasts went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis import fits
from analysis.account import Account
from analysis.forecasts import Audit
from analysis.law import Fit
from analysis.optima.optimum import Optimum


def tell(console: Console, found: Account, name: str | None) -> None:
    """Print one account; `name` is that of its part of the table, if it has parts."""
    if found.fit is not None:
        console.print(_parameters(found.fit, name or found.fit.law.name))
    for line in sentences(found):
        console.print(line, soft_wrap=True)


def sentences(found: Account) -> Iterator[str]:
    """What the table of parameters does not hold, a line each."""
    if found.fit is None:
        yield f"{found.law.name} not fitted: {found.refused}"
    else:
        yield from _certificate(found.fit)
    if found.audit is not None:
        yield from _audit(found.audit)
    for name, loser in found.losers.items():
        told = loser.get("status") or f"mean forecast error {loser['score']:.2%}, AICc {loser['aicc']:.1f}"
        yield f"not taken: {name}: {told}"
    if found.optimum is not None:
        yield _optimum(found.optimum)
    if found.approaches is not None:
        yield f"approaches 1 to 3: {found.approaches['disagreement']['verdict']}"
    if found.conventions is not None:
        yield f"conventions: {found.conventions['said']}"
    if found.noise is not None:
        low, high = found.noise.interval95
        yield f"repeated seeds scatter by {found.noise.sigma:.2%} [{low:.2%}, {high:.2%}]"


def _parameters(fit: Fit, title: str) -> Table:
    profiles = fit.certificate.get("profile", {})
    head = ["parameter", "value", "stderr", "95 % interval", *(["95 % profile"] if profiles else [])]
    grid = Table(*head, title=f"{title}: {fits.verdict(fit)}")
    for key, value in fit.params.items():
        if key in fit.fixed:
            grid.add_row(key, f"{value:.6g}", "given")
            continue
        sigma = f"{fit.stderr[key]:.3g}" if fit.stderr else "-"
        pair = fit.interval95.get(key)
        row = [key, f"{value:.6g}", sigma, f"{pair[0]:.5g} .. {pair[1]:.5g}" if pair else "-"]
        if profiles:
            row.append(_ends(profiles[key]["interval95"]) if key in profiles else "-")
        grid.add_row(*row)
    return grid


def _ends(pair: list[float | None]) -> str:
    low, high = ("open" if end is None else f"{end:.5g}" for end in pair)
    return f"{low} .. {high}"


def _certificate(fit: Fit) -> Iterator[str]:
    certificate = fit.certificate
    condition = certificate["condition_number"]
    yield (
        f"objective {fit.objective:.10g} over {fit.n} rows, gradient {certificate['gradient_norm']:.1e}, "
        f"condition {'infinite' if condition is None else format(condition, '.3g')}, scatter {fit.scale:.2%}"
    )
    minima = certificate["minima"]
    if len(minima) > 1:
        for minimum in minima[: 1 + 4]:
            values = ", ".join(f"{name} {value:.5g}" for name, value in minimum["params"].items())
            yield f"minimum {minimum['objective']:.8g} (+{minimum['gap']:.3%}): {values}"
    else:
        yield f"one minimum from {certificate['starts']} starts"
    if fit.scatter.along is not None and fit.scatter.quarters is not None:
        low, high = min(fit.scatter.quarters), max(fit.scatter.quarters)
        yield (
            f"scatter differs along the table, {low:.2%} to {high:.2%} (p = {fit.scatter.p_value:.1g}): "
            "intervals for a new run go by its place, and beyond the table by the widest"
        )
    if fit.resampling["resamples"]:
        units = fit.resampling.get("clusters")
        yield (
            f"intervals: {fit.resampling['method']}, {fit.resampling['resamples']} resamples"
            + (f" of {units} runs" if units else " of rows")
            + (f", {fit.resampling['unconverged']} unconverged" if fit.resampling["unconverged"] else "")
        )
    for item in fit.dropped:
        yield f"left out {item['count']}: {item['why']}"
    for flag in fit.flags:
        yield f"doubtful {len(flag['rows'])} ({flag['kind']}): {flag['why']}"


def _audit(found: Audit) -> Iterator[str]:
    if found.cuts:
        yield (
            f"forecasts of the table's own larger rows, {len(found.errors)} over {len(found.cuts)} cuts: "
            f"mean error {found.score:.2%}, {found.inside:.0%} inside the 95 % interval for a new run"
        )
        for axis in dict.fromkeys(cut.axis for cut in found.cuts):
            its = [cut for cut in found.cuts if cut.axis == axis]
            yield f"  larger {axis}: " + ", ".join(
                f"x{cut.reach:.3g} {cut.error:.2%} ({cut.inside:.0%} of {cut.held_out})" for cut in its
            )
    if found.note:
        yield f"audit: {found.note}"


def _optimum(found: dict[str, Any] | Optimum) -> str:
    got = found.to_json() if isinstance(found, Optimum) else found
    pairs = got.get("interval95") or {}

    def shown(name: str) -> str:
        value, pair = got.get(name), pairs.get(name)
        if value is None:
            return f"{name} -"
        between = "" if not pair else f" [{_short(pair[0])}, {_short(pair[1])}]"
        return f"{name} {value:.4g}{between}"

    status = f": {got['status']}" if got.get("status") else ""
    return f"compute optimum by {got['method']}{status}: N_opt ~ C^a, {shown('a')}, {shown('b')}"


def _short(value: float | None) -> str:
    return "open" if value is None else f"{value:.4g}"
