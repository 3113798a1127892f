"""From a table and a law to a Fit: multistart, certificate, verdict, intervals. Knows no formula."""

from __future__ import annotations

import numpy as np

from analysis.law import Fit, Law, Table
from analysis.minimise import Huber, minimise
from analysis.resample import METHODS, Problem

MAX_STEPS = 500  # 25 starts on 240 rows take about 100; beyond this a start is not going anywhere

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
    interval: str = "pairs",
    starts: np.ndarray | None = None,
) -> Fit:
    """Fit `law` to the rows of `table` (its inputs and `loss`) by the sum of Huber(delta) of log residuals.

    bootstrap: resamples behind stderr, interval95 and samples; 0 leaves those empty. interval: how they are
    drawn, see analysis.resample. starts: (S, P) published parameters to start from besides the law's own.
    Raises ValueError when the table lacks a column, holds a value that has no logarithm, or has fewer rows
    than the law has parameters, plus one.
    """
    problem = Problem.of(law, table, Huber(_positive("delta", delta)))
    if interval not in METHODS:
        raise ValueError(f"interval={interval!r} is none of {', '.join(sorted(METHODS))}")
    first = law.guess(problem.x, problem.y)
    if starts is not None:
        first = np.concatenate([first, problem.centred(law.vector(starts).reshape(-1, len(law.names)))])
    found = minimise(
        law, problem.x, problem.y, first, loss=problem.loss, weights=np.ones(1), max_steps=MAX_STEPS
    )
    best = int(np.argmin(found.objective))
    theta = found.theta[best]
    f, J = law.log_loss(theta[None], problem.x)
    residuals = problem.y - f[0]
    certificate = {
        "gradient_norm": float(np.abs(found.gradient[best]).max()),
        "condition_number": _condition(J[0]),
        "bounds_hit": _bounds_hit(law, theta),
        "minima": _minima(law, problem, found.theta, found.objective, found.gradient),
        "starts": len(first),
        "steps": found.steps,
    }
    unidentified = _unidentified(law, problem, J[0])
    freedom = len(residuals) - len(law.names)
    draws = None
    resampling: dict = {"method": None, "resamples": 0}
    if bootstrap:
        drawn = METHODS[interval](problem, theta, residuals, bootstrap, np.random.default_rng(seed))
        draws = problem.published(drawn.theta)
        failed = int((np.abs(drawn.gradient).max(axis=1) > GRADIENT).sum())
        resampling = {"method": interval, "resamples": bootstrap, "unconverged": failed}
    certificate["unidentified"] = unidentified
    params = problem.published(theta)
    return Fit(
        law=law,
        params=_named(law, params),
        stderr={} if draws is None else _named(law, _spread(draws)),
        interval95={} if draws is None else _intervals(law, draws),
        objective=float(found.objective[best]),
        n=len(residuals),
        status=_verdict(certificate, problem),
        certificate=certificate,
        delta=delta,
        scale=float(np.sqrt((residuals**2).sum() / freedom)),
        residuals=residuals,
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


def _spread(draws: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a resample that put a factor at infinity has no finite spread
        return draws.std(axis=0, ddof=1) if len(draws) > 1 else np.full(draws.shape[1], np.nan)


def _intervals(law: Law, draws: np.ndarray) -> dict[str, tuple[float, float]]:
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {name: (float(lo), float(hi)) for name, lo, hi in zip(law.names, low, high, strict=True)}


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


def _unidentified(law: Law, problem: Problem, J: np.ndarray) -> list[str]:
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
    curves, out = [], []
    for i in np.argsort(objective, kind="stable"):
        curve = law.log_loss(theta[i : i + 1], problem.x)[0][0]
        same = [k for k, seen in enumerate(curves) if np.abs(curve - seen).max() < SAME_CURVE]
        if same:
            out[same[0]]["starts"] += 1
        elif settled[i]:
            curves.append(curve)
            best = objective.min()
            out.append(
                {
                    "objective": float(objective[i]),
                    "gap": float(objective[i] / best - 1) if best > 0 else 0.0,
                    "starts": 1,
                    "params": _named(law, problem.published(theta[i])),
                }
            )
    return out


def _verdict(certificate: dict, problem: Problem) -> str:
    """The status: `converged`, or a sentence saying why not."""
    if certificate["unidentified"]:
        constant = [name for name, x in zip(problem.law.inputs, problem.x.T, strict=True) if np.ptp(x) == 0]
        why = f"all {' and '.join(constant)} equal" if constant else "no row tells them apart"
        return f"not identified: {', '.join(certificate['unidentified'])} ({why})"
    if certificate["gradient_norm"] > GRADIENT:
        return f"not converged: gradient {certificate['gradient_norm']:.1e} at the best start"
    if certificate["bounds_hit"]:
        return f"converged at a bound: {', '.join(certificate['bounds_hit'])}"
    rivals = [m for m in certificate["minima"][1:] if m["gap"] < RIVAL]
    if rivals:
        return f"local minima suspected: {len(rivals)} other within {RIVAL:.1%} of the objective"
    return "converged"
