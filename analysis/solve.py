"""From a table and a law to a Fit: multistart, certificate, verdict, intervals. Knows no formula."""

from __future__ import annotations

import numpy as np

from analysis.law import Fit, Law, Table
from analysis.minimise import Huber, Minimum, minimise
from analysis.resample import METHODS, Problem, chosen

# 25 starts on 240 rows take about 100 steps, on a dozen rows 300. Tables with N and D in a fixed ratio make a
# curved valley that takes thousands: only starts within NEAR of the best go on into it.
MAX_STEPS = 300
MAX_STEPS_LAST = 5000
NEAR = 0.1

# Gradient of the summed objective, in centred coordinates. Rounding leaves about 1e-14.
GRADIENT = 1e-8

# Two minima are one when no row's predicted log loss differs by more than this.
SAME_CURVE = 1e-7

# Columns of the gradient, scaled to unit length: below this singular value a direction of the parameters
# changes no prediction that double precision can see.
SINGULAR = 1e-6

# A minimum whose objective is within this share of the best is a rival: half a per cent is what separates
# the minima that published fits of one table have been found in.
RIVAL = 5e-3


def solve(
    law: Law,
    table: Table,
    *,
    delta: float,
    bootstrap: int,
    seed: int,
    interval: str = "auto",
    starts: np.ndarray | None = None,
) -> Fit:
    """Fit `law` to the rows of `table` (its inputs and `loss`) by the sum of Huber(delta) of log residuals.

    bootstrap: resamples behind stderr, interval95 and samples; 0 leaves those empty. interval: how they are
    drawn, auto, pairs or residual: see `analysis.resample`. starts: (S, P) published parameters to start from
    besides the law's own.
    Raises ValueError when the table lacks a column, holds a value that has no logarithm, or has fewer rows
    than the law has parameters, plus one.
    """
    problem = Problem.of(law, table, Huber(_positive("delta", delta)))
    method = chosen(interval, len(problem.y))
    if bootstrap < 0:
        raise ValueError(f"bootstrap={bootstrap} is negative")
    first = law.guess(problem.x, problem.y)
    if starts is not None:
        first = np.concatenate([first, problem.centred(law.vector(starts).reshape(-1, len(law.names)))])
    found = _settle(problem, first)
    best = int(np.argmin(found.objective))
    theta = found.theta[best]
    f, J = law.log_loss(theta[None], problem.x)
    residuals = problem.y - f[0]
    certificate = {
        "gradient_norm": float(np.abs(found.gradient[best]).max()),
        "condition_number": _condition(J[0]),
        "bounds_hit": _bounds_hit(law, theta),
        "minima": _minima(law, problem, found.theta, found.objective, found.gradient),
        "unidentified": _unidentified(law, J[0]),
        "starts": len(first),
        "steps": found.steps,
    }
    freedom = len(residuals) - len(law.names)
    draws, stderr, interval95 = None, {}, {}
    resampling: dict = {"method": None, "resamples": 0}
    if bootstrap:
        drawn = METHODS[method](problem, theta, residuals, bootstrap, np.random.default_rng(seed))
        draws = problem.published(drawn.theta)
        stderr, interval95 = _uncertainty(law, draws, certificate["unidentified"])
        failed = int((np.abs(drawn.gradient).max(axis=1) > GRADIENT).sum())
        resampling = {"method": method, "resamples": bootstrap, "unconverged": failed}
    params = problem.published(theta)
    return Fit(
        law=law,
        params=_named(law, params),
        stderr=stderr,
        interval95=interval95,
        objective=float(found.objective[best]),
        n=len(residuals),
        status=_verdict(certificate, problem),
        certificate=certificate,
        delta=delta,
        scale=float(np.sqrt((residuals**2).sum() / freedom)),
        residuals=residuals[np.argsort(problem.order)],
        samples=draws,
        resampling=resampling,
        seed=seed,
    )


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name}={value} is not positive")
    return float(value)


def _named(law: Law, values: np.ndarray) -> dict[str, float]:
    return dict(zip(law.names, map(float, values), strict=True))


def _uncertainty(
    law: Law, draws: np.ndarray, unidentified: list[str]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Standard errors and 95 % percentile intervals; NaN for what the table does not determine at all."""
    draws = np.where([name in unidentified for name in law.names], np.nan, draws)
    with np.errstate(invalid="ignore"):  # a resample that put a factor at infinity has no finite spread
        stderr = draws.std(axis=0, ddof=1) if len(draws) > 1 else np.full(len(law.names), np.nan)
        ends = np.quantile(draws, [0.025, 0.975], axis=0).T
    pairs = {name: (float(lo), float(hi)) for name, (lo, hi) in zip(law.names, ends, strict=True)}
    return _named(law, stderr), pairs


def _settle(problem: Problem, first: np.ndarray) -> Minimum:
    """All starts for a while, then those that may win until they stand still."""
    common = {"loss": problem.loss, "weights": np.ones(1)}
    found = minimise(problem.law, problem.x, problem.y, first, max_steps=MAX_STEPS, **common)
    restless = np.abs(found.gradient).max(axis=1) > GRADIENT
    restless &= found.objective <= (1 + NEAR) * found.objective.min()
    if restless.any():
        at = found.theta[restless]
        more = minimise(problem.law, problem.x, problem.y, at, max_steps=MAX_STEPS_LAST, **common)
        for whole, part in (
            (found.theta, more.theta),
            (found.objective, more.objective),
            (found.gradient, more.gradient),
        ):
            whole[restless] = part
    return found


def _condition(J: np.ndarray) -> float | None:
    """Condition number of the gradient's columns at unit length (Belsley 1980); None when one is zero."""
    values = _singular(J)[0]
    return float(values[0] / values[-1]) if values[-1] > 0 else None


def _singular(J: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.linalg.norm(J, axis=0)
    _, values, directions = np.linalg.svd(J / np.where(length > 0, length, 1.0), full_matrices=False)
    return values, directions


def _bounds_hit(law: Law, theta: np.ndarray) -> list[str]:
    low, high = law.bounds.T
    return [name for name, hit in zip(law.names, (theta <= low) | (theta >= high), strict=True) if hit]


def _unidentified(law: Law, J: np.ndarray) -> list[str]:
    """Parameters that take part in a direction along which no prediction changes."""
    # A column of no length, next to what a parameter can do, is a parameter that does nothing.
    values, directions = _singular(np.where(np.abs(J).max(axis=0) < SINGULAR, 0.0, J))
    idle = np.abs(directions[values < SINGULAR])
    return [name for p, name in enumerate(law.names) if (idle[:, p] > 0.05).any()]


def _minima(
    law: Law, problem: Problem, theta: np.ndarray, objective: np.ndarray, gradient: np.ndarray
) -> list[dict]:
    """Distinct minima that starts converged to, best first, each with its gap to the best."""
    settled = np.abs(gradient).max(axis=1) <= GRADIENT
    best, rounding = objective.min(), len(problem.y) * np.finfo(float).eps ** 2
    curves, out = [], []
    for i in np.argsort(objective, kind="stable"):
        curve = law.log_loss(theta[i : i + 1], problem.x)[0][0]
        same = [k for k, seen in enumerate(curves) if np.abs(curve - seen).max() < SAME_CURVE]
        if same:
            out[same[0]]["starts"] += 1
        elif settled[i]:
            curves.append(curve)
            out.append(
                {
                    "objective": float(objective[i]),
                    "gap": float((objective[i] - best) / max(best, rounding)),
                    "starts": 1,
                    "params": _named(law, problem.published(theta[i])),
                }
            )
    return out


def _why(problem: Problem) -> str:
    """What about the table leaves parameters open, in a few words."""
    values = {name: len(np.unique(x)) for name, x in zip(problem.law.inputs, problem.x.T, strict=True)}
    constant = [name for name, count in values.items() if count == 1]
    if constant:
        return f"all {' and '.join(constant)} equal"
    if any(count == 2 for count in values.values()):
        return f"only two values of {' and '.join(name for name, count in values.items() if count == 2)}"
    return "the losses do not tell them apart"


def _verdict(certificate: dict, problem: Problem) -> str:
    """The status: `converged`, or a sentence saying why not."""
    if certificate["unidentified"]:
        return f"not identified: {', '.join(certificate['unidentified'])} ({_why(problem)})"
    if certificate["gradient_norm"] > GRADIENT:
        return f"not converged: gradient {certificate['gradient_norm']:.1e} at the best start"
    if certificate["bounds_hit"]:
        return f"converged at a bound: {', '.join(certificate['bounds_hit'])}"
    rivals = [m for m in certificate["minima"][1:] if m["gap"] < RIVAL]
    if rivals:
        return f"local minima suspected: {len(rivals)} other within {RIVAL:.1%} of the objective"
    return "converged"
