"""From a table and a law to a Fit: multistart, certificate, verdict, intervals. Knows no formula."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.law import Fit, Law, Table
from analysis.solver.certificate import GRADIENT, certify, slope, verdict
from analysis.solver.criteria import criterion as criterion_named
from analysis.solver.minimise import Minimum
from analysis.solver.problem import Problem
from analysis.solver.profile import profile as profile_of
from analysis.solver.resample import ASYMPTOTIC_FROM, CORNERED, METHODS, calmed, chosen
from analysis.solver.sandwich import sandwich
from analysis.solver.scatter import scatter

# 25 starts on 240 rows take about 100 steps, on a dozen rows 300. Tables with N and D in a fixed ratio make a
# curved valley that takes thousands: only starts within NEAR of the best go on into it.
MAX_STEPS = 300
MAX_STEPS_LAST = 5000
NEAR = 0.1

# More rows than these find the same minima from a share of them; all of them then decide.
ENOUGH = 2000


def problem(
    law: Law,
    table: Table,
    *,
    delta: float,
    criterion: str = "huber_log",
    weights: str | None = None,
    noise: str | None = None,
    cluster: str | None = None,
    fixed: Mapping[str, float] | None = None,
    **_: Any,
) -> Problem:
    """What `solve` makes small for the same knobs; those that come after the minimum are ignored."""
    named = criterion_named(criterion, delta)
    return Problem.of(law, table, named, weights=weights, noise=noise, cluster=cluster, fixed=fixed)


def solve(
    law: Law,
    table: Table,
    *,
    delta: float,
    bootstrap: int,
    seed: int,
    interval: str = "auto",
    profile: bool = False,
    starts: np.ndarray | None = None,
    **knobs: Any,
) -> Fit:
    """Fit `law` to the rows of `table` (its inputs and `loss`) by the sum of a robust loss of residuals.

    delta: where Huber's loss turns linear. bootstrap: resamples behind stderr, interval95 and samples; 0
    leaves those empty. interval: how they are drawn, see `analysis.solver.resample`. profile: add each
    parameter's profile to the certificate. starts: (S, P) published parameters to start from besides the
    law's own. knobs: criterion (see `analysis.solver.criteria`); weights, noise, cluster: names of columns
    that hold each row's weight in the sum, the standard deviation of its log loss up to a common factor, and
    the run it belongs to; fixed: published parameters that are not fitted. Raises ValueError when the table
    lacks a column, holds a value that has no logarithm, or has fewer rows than the law has parameters, plus
    one.
    """
    if unknown := set(knobs) - set(inspect.signature(problem).parameters):
        raise ValueError(f"unknown knob {sorted(unknown)[0]!r}")
    asked = problem(law, table, delta=delta, **knobs)
    method = chosen(interval, asked)
    if bootstrap < 0:
        raise ValueError(f"bootstrap={bootstrap} is negative")
    first = law.guess(asked.x, asked.y)
    if starts is not None:
        first = np.concatenate([first, asked.centred(law.vector(starts).reshape(-1, len(law.names)))])
    asked, found = _settle(asked, first)
    best = _best(asked, found)
    theta = found.theta[best]
    residuals = asked.y - law.log_loss(theta[None], asked.x)[0][0]
    certificate = certify(asked, found, best)
    # With thousands of rows a profile is the parabola that the standard error describes.
    if profile and not certificate["unidentified"] and len(residuals) < ASYMPTOTIC_FROM:
        spread = sandwich(asked, theta, residuals)
        objective = float(found.objective[best])
        certificate["profile"] = profile_of(asked, theta, objective, spread, level=0.95)
    draws, stderr, interval95 = None, {}, {}
    resampling: dict = {"method": None, "resamples": 0}
    few = asked.cluster is not None and asked.units <= asked.free.sum()
    if bootstrap and not few:
        drawn = METHODS[method](asked, theta, residuals, bootstrap, seed)
        raw, kept = asked.published(drawn.theta), drawn.theta
        if method in CORNERED:
            kept = calmed(asked, theta, kept, residuals)
        draws = asked.published(kept)
        stderr, interval95 = _uncertainty(law, raw, draws, certificate["unidentified"])
        failed = int((slope(asked, drawn) > GRADIENT).sum())
        resampling = {"method": method, "resamples": bootstrap, "unconverged": failed}
        if asked.cluster is not None:
            resampling["clusters"] = asked.units
    return Fit(
        law=law,
        params=_named(law, asked.published(theta)),
        stderr=stderr,
        interval95=interval95,
        objective=float(found.objective[best]),
        n=len(residuals),
        status=_status(verdict(certificate, asked), asked.units if few else None),
        certificate=certificate,
        delta=delta,
        scatter=scatter(
            asked.x[:, : len(law.inputs)] + asked.x_unit[: len(law.inputs)],
            residuals / asked.rows.noise,
            len(residuals) - asked.freedom,
            asked.freedom if asked.cluster is None else max(asked.units - 1, 1),  # see Components.drawn
        ),
        criterion=knobs.get("criterion", "huber_log"),
        fixed=dict(knobs.get("fixed") or {}),
        noise=_noise(table, knobs.get("noise")),
        residuals=residuals[np.argsort(asked.order)],
        samples=draws,
        resampling=resampling,
        seed=seed,
    )


def _status(verdict: str, too_few: int | None) -> str:
    if too_few is None:
        return verdict
    told = f"no intervals: {too_few} runs are too few to resample for so many parameters"
    return told if verdict == "converged" else f"{verdict}; {told}"


def _noise(table: Table, column: str | None) -> dict[str, Any] | None:
    if column is None:
        return None
    return {"column": column, "unit": float(np.exp(np.log(np.asarray(table[column], float)).mean()))}


def _named(law: Law, values: np.ndarray) -> dict[str, float]:
    return dict(zip(law.names, map(float, values), strict=True))


def _uncertainty(
    law: Law, raw: np.ndarray, draws: np.ndarray, unidentified: list[str]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Standard errors of the resamples as they came, as papers quote them, and 95 % percentile intervals of
    the draws kept; NaN for what the table does not determine at all."""
    lost = [name in unidentified for name in law.names]
    raw, draws = (np.where(lost, np.nan, values) for values in (raw, draws))
    with np.errstate(invalid="ignore"):  # a resample that put a factor at infinity has no finite spread
        stderr = raw.std(axis=0, ddof=1) if len(raw) > 1 else np.full(len(law.names), np.nan)
        ends = np.quantile(draws, [0.025, 0.975], axis=0).T
    pairs = {name: (float(lo), float(hi)) for name, (lo, hi) in zip(law.names, ends, strict=True)}
    return _named(law, stderr), pairs


def _settle(asked: Problem, first: np.ndarray) -> tuple[Problem, Minimum]:
    """All starts for a while, then those that may win until they stand still, at the criterion's scale."""
    if len(asked.y) > ENOUGH:
        first = _from_a_share(asked, first)
    found = _race(asked, first)
    for _ in range(
        50
    ):  # a scale of the criterion's own and the parameters settle each other, halving at least
        best = found.theta[int(np.argmin(found.objective))]
        residuals = asked.y - asked.law.log_loss(best[None], asked.x)[0][0]
        scaled = asked.criterion.scaled_to(residuals / asked.rows.noise)
        if scaled == asked.criterion:
            break
        asked = dataclasses.replace(asked, criterion=scaled)
        found = _race(asked, found.theta)
    return asked, found


def _best(asked: Problem, found: Minimum) -> int:
    """The start with the least objective; of those that are equal to rounding, the one most at rest."""
    least = found.objective.min()
    equal = found.objective <= least + 1e-12 * abs(least)
    return int(np.argmin(np.where(equal, slope(asked, found), np.inf)))


def _race(asked: Problem, first: np.ndarray) -> Minimum:
    found = asked.solve(first, max_steps=MAX_STEPS)
    restless = slope(asked, found) > GRADIENT
    restless &= found.objective <= (1 + NEAR) * found.objective.min()
    if restless.any():
        more = asked.solve(found.theta[restless], max_steps=MAX_STEPS_LAST)
        for whole, part in (
            (found.theta, more.theta),
            (found.objective, more.objective),
            (found.gradient, more.gradient),
        ):
            whole[restless] = part
    return found


def _from_a_share(asked: Problem, first: np.ndarray) -> np.ndarray:
    """The distinct minima of a share of the rows, evenly spread along their order, as starts for all rows."""
    kept = np.linspace(0, len(asked.y) - 1, ENOUGH).astype(int)
    rows = dataclasses.replace(
        asked.rows,
        x=asked.x[kept],
        y=asked.y[kept],
        weights=asked.rows.weights[kept],
        noise=asked.rows.noise[kept],
    )
    found = _race(dataclasses.replace(asked, rows=rows), first)
    order = np.argsort(found.objective)
    curves, distinct = [], []
    for i in order:
        curve = asked.law.log_loss(found.theta[i : i + 1], rows.x)[0][0]
        if np.isfinite(curve).all() and all(np.abs(curve - seen).max() > 1e-4 for seen in curves):
            curves.append(curve)
            distinct.append(i)
    return found.theta[distinct]
