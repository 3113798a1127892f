"""What can be said of a minimum: is it one, is it the only one, and what does the table leave open."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.solver.minimise import Minimum
from analysis.solver.problem import Problem
from analysis.solver.profile import open_ended

# Gradient of the summed objective, in centred coordinates. Rounding leaves about 1e-14.
GRADIENT = 1e-8

# Two minima are one when no row's predicted log loss differs by more than this.
SAME_CURVE = 1e-5
# And no parameter by more than this share: with D in proportion to N the two terms of a law can change places
# without a trace in the losses.
SAME_PARAMS = 0.02

# Columns of the gradient, scaled to unit length: below this singular value a direction of the parameters
# changes no prediction that double precision can see.
SINGULAR = 1e-6

# A minimum whose objective is within this share of the best is a rival: half a per cent is what separates
# the minima that published fits of one table have been found in.
RIVAL = 5e-3


def certify(problem: Problem, found: Minimum, best: int) -> dict[str, Any]:
    """The certificate of the best of several minima (S of them), as plain JSON values."""
    theta = found.theta[best]
    J = problem.law.log_loss(theta[None], problem.x)[1][0][:, problem.free]
    names = [name for name, free in zip(problem.law.names, problem.free, strict=True) if free]
    unidentified = _unidentified(names, J)
    return {
        "gradient_norm": float(slope(problem, found)[best]),
        "condition_number": _condition(J),
        "bounds_hit": _bounds_hit(problem, theta),
        "minima": _minima(problem, found, apart=not unidentified),
        "unidentified": unidentified,
        "starts": len(found.theta),
        "steps": found.steps,
    }


def slope(problem: Problem, found: Minimum) -> np.ndarray:
    """(S,) largest component of each gradient, in the unit of r^2 / 2."""
    return np.abs(found.gradient).max(axis=1) / problem.criterion.steepness


def _condition(J: np.ndarray) -> float | None:
    """Condition number of the gradient's columns at unit length (Belsley 1980); None when one is zero."""
    values = _singular(J)[0]
    return float(values[0] / values[-1]) if values[-1] > 0 else None


def _singular(J: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.linalg.norm(J, axis=0)
    _, values, directions = np.linalg.svd(J / np.where(length > 0, length, 1.0), full_matrices=False)
    return values, directions


def _bounds_hit(problem: Problem, theta: np.ndarray) -> list[str]:
    low, high = problem.bounds.T
    hit = problem.free & ((theta <= low) | (theta >= high))
    return [name for name, at in zip(problem.law.names, hit, strict=True) if at]


def _unidentified(names: list[str], J: np.ndarray) -> list[str]:
    """Parameters that take part in a direction along which no prediction changes."""
    # A column of no length, next to what a parameter can do, is a parameter that does nothing.
    values, directions = _singular(np.where(np.abs(J).max(axis=0) < SINGULAR, 0.0, J))
    idle = np.abs(directions[values < SINGULAR])
    return [name for p, name in enumerate(names) if (idle[:, p] > 0.05).any()]


def _minima(problem: Problem, found: Minimum, *, apart: bool) -> list[dict[str, Any]]:
    """Distinct minima that starts converged to, best first, each with its gap to the best.

    apart: minima of one curve but other parameters are two; not so where a whole valley of them is known.
    """
    settled = slope(problem, found) <= GRADIENT
    best, rounding = found.objective.min(), len(problem.y) * np.finfo(float).eps ** 2
    curves, out = [], []
    for i in np.argsort(found.objective, kind="stable"):
        if not np.isfinite(found.objective[i]):
            break
        curve = problem.law.log_loss(found.theta[i : i + 1], problem.x)[0][0]
        published = problem.published(found.theta[i])
        same = [
            k
            for k, (seen, params) in enumerate(curves)
            if np.abs(curve - seen).max() < SAME_CURVE
            and (not apart or np.allclose(published, params, rtol=SAME_PARAMS))
        ]
        if same:
            out[same[0]]["starts"] += 1
        elif settled[i]:
            curves.append((curve, published))
            out.append(
                {
                    "objective": float(found.objective[i]),
                    "gap": float((found.objective[i] - best) / max(best, rounding)),
                    "starts": 1,
                    "params": dict(zip(problem.law.names, map(float, published), strict=True)),
                }
            )
    return out


def verdict(certificate: dict[str, Any], problem: Problem) -> str:
    """The status: `converged`, or what stands in the way of believing the parameters, worst first."""
    told = []
    if certificate["unidentified"]:
        told.append(f"not identified: {', '.join(certificate['unidentified'])} ({_why(problem)})")
    elif certificate["gradient_norm"] > GRADIENT:
        told.append(f"not converged: gradient {certificate['gradient_norm']:.1e} at the best start")
    elif certificate["bounds_hit"]:
        told.append(f"converged at a bound: {', '.join(certificate['bounds_hit'])}")
    if open_ := open_ended(certificate.get("profile", {}), certificate["bounds_hit"]):
        told.append(f"not identified: {', '.join(open_)} (95 % profile interval without an end)")
    rivals = [m for m in certificate["minima"][1:] if m["gap"] < RIVAL]
    if rivals:
        told.append(f"local minima suspected: {len(rivals)} other within {RIVAL:.1%} of the objective")
    return "; ".join(told) or "converged"


def _why(problem: Problem) -> str:
    """What about the table leaves parameters open, in a few words."""
    # A law over groups has columns of membership after its inputs.
    values = {name: len(np.unique(x)) for name, x in zip(problem.law.inputs, problem.x.T, strict=False)}
    constant = [name for name, count in values.items() if count == 1]
    if constant:
        return f"all {' and '.join(constant)} equal"
    if any(count == 2 for count in values.values()):
        return f"only two values of {' and '.join(name for name, count in values.items() if count == 2)}"
    return "the losses do not tell them apart"
