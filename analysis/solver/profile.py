"""Profile of the criterion: how much worse the best fit gets with one published parameter held elsewhere.

Where the profile stays flat, the table does not determine the parameter, whatever a standard error says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from analysis.law import Law, jacobian
from analysis.solver.minimise import minimise
from analysis.solver.problem import Problem
from analysis.solver.sandwich import Sandwich

# Multiples of the standard error at which the profile is computed. A parameter whose profile has not risen at
# the last, 50 standard errors away, has no end on that side.
MULTIPLES = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0, 50.0])
MAX_STEPS = 200


class _Turned(Law):
    """A law in coordinates u = rows @ theta + shift, of which one is a published parameter's own.

    Centred coordinates mix a factor with its exponent; this unmixes one of them.
    """

    def __init__(self, law: Law, at: int, rows: np.ndarray, shift: np.ndarray):
        self.law, self.rows, self.shift = law, rows, shift
        self.turn = np.linalg.inv(rows)
        self.own = bool((rows == np.eye(len(rows))).all())
        self.name, self.inputs, self.names = f"{law.name} along {law.names[at]}", law.inputs, law.names

    def into(self, theta: np.ndarray) -> np.ndarray:
        return theta @ self.rows.T + self.shift

    def out_of(self, u: np.ndarray) -> np.ndarray:
        return (u - self.shift) @ self.turn.T

    @property
    def bounds(self) -> np.ndarray:
        return self.law.bounds

    def log_loss(self, theta, x):
        f, J = self.law.log_loss(self.out_of(theta), x)
        return f, J @ self.turn

    def curvature(self, theta, x, weight):
        return self.turn.T @ self.law.curvature(self.out_of(theta), x, weight) @ self.turn

    def working(self, params):
        raise NotImplementedError("only a step of the solver: it is never published")

    published = rescale = guess = tradeoff = working  # pyright: ignore[reportAssignmentType]


def profile(
    problem: Problem, theta: np.ndarray, objective: float, found: Sandwich, *, level: float
) -> dict[str, dict[str, Any]]:
    """For each fitted parameter: its values, the objective's rise over the minimum at each, and its interval.

    The interval ends where the rise reaches what F(1, units - P) allows at `level`, scaled from the criterion
    to the scatter of its gradient (Heritier & Ronchetti 1994; for least squares the usual profile interval).
    An end is None where the profile does not rise that far up to 50 standard errors or the parameter's bound.
    Units like Kaplan's N_c, which are defined by their exponent too, have no profile of their own.
    """
    out = {}
    for p in np.flatnonzero(problem.free):
        turned = _turn(problem, int(p))
        if turned is not None and found.covariance[p, p] > 0:
            out[problem.law.names[p]] = _one(problem, turned, theta, objective, found, int(p), level)
    return out


def _turn(problem: Problem, p: int) -> _Turned | None:
    """Coordinates of which the p-th alone decides the p-th published parameter; None if there are none.

    Rescaling to the units of the table is affine in the coordinates: its p-th row is the one wanted.
    """
    P = len(problem.law.names)

    def in_units(theta: np.ndarray) -> np.ndarray:
        return problem.law.rescale(theta, -problem.x_unit, -problem.rows.y_unit)

    mixed = jacobian(problem.law.published, in_units(np.full((1, P), 0.5)))[0, p]
    if np.count_nonzero(np.abs(mixed) > 1e-12 * np.abs(mixed).max()) > 1:
        return None
    zero = in_units(np.zeros((1, P)))[0, p]
    row = in_units(np.eye(P))[:, p] - zero
    rows = np.eye(P)
    # A coordinate that only changes its unit stays the solver's own, with its bounds.
    own = np.count_nonzero(row) == 1
    if not own:
        rows[p] = row
    shift = np.zeros(P)
    shift[p] = 0.0 if own else zero
    return _Turned(problem.law, p, rows, shift)


def _one(
    problem: Problem,
    turned: _Turned,
    theta: np.ndarray,
    objective: float,
    found: Sandwich,
    p: int,
    level: float,
) -> dict[str, Any]:
    u = turned.into(theta)
    bread = turned.rows @ found.bread @ turned.rows.T
    variance = float((turned.rows @ found.covariance @ turned.rows.T)[p, p])
    low, high = problem.bounds[p] if turned.own else (-np.inf, np.inf)
    steps = np.sqrt(variance) * np.concatenate([-MULTIPLES[::-1], MULTIPLES])
    at = np.unique(np.clip(u[p] + steps, low, high))
    at = at[at != u[p]]
    # The others start where a quadratic criterion would put them.
    starts = u + (at - u[p])[:, None] * (bread[:, p] / bread[p, p])
    out = turned.out_of(starts)[:, p]
    able = (out >= problem.bounds[p, 0]) & (out <= problem.bounds[p, 1])
    at, starts = at[able], starts[able]
    if not len(at):
        return {"value": [], "rise": [], "allowed": None, "interval95": [None, None]}
    bounds = np.repeat(problem.bounds[None], len(at), axis=0)
    bounds[:, p] = at[:, None]
    best = minimise(
        turned, problem.rows, starts, bounds=bounds, criterion=problem.criterion, max_steps=MAX_STEPS
    )
    rise = np.maximum(best.objective - objective, 0.0)
    allowed = 0.5 * float(stats.f.ppf(level, 1, found.freedom)) * variance / bread[p, p]
    below, above = at < u[p], at > u[p]
    ends = (
        _end(u[p], at[below][::-1], rise[below][::-1], allowed),
        _end(u[p], at[above], rise[above], allowed),
    )
    return {
        "value": problem.published(turned.out_of(best.theta))[:, p].tolist(),
        "rise": rise.tolist(),
        "allowed": allowed,
        "interval95": [None if end is None else _value(problem, turned, u, p, end) for end in ends],
    }


def _end(centre: float, at: np.ndarray, rise: np.ndarray, allowed: float) -> float | None:
    """Where the profile first exceeds `allowed` going outwards, linear in the square root of the rise."""
    above = np.flatnonzero(rise > allowed)
    if len(above) == 0:
        return None
    k = int(above[0])
    near, low = (centre, 0.0) if k == 0 else (at[k - 1], np.sqrt(rise[k - 1]))
    return float(near + (at[k] - near) * (np.sqrt(allowed) - low) / (np.sqrt(rise[k]) - low))


def _value(problem: Problem, turned: _Turned, u: np.ndarray, p: int, at: float) -> float | None:
    """The published parameter at u_p = `at`; None where it is beyond a float."""
    moved = u.copy()
    moved[p] = at
    value = float(problem.published(turned.out_of(moved[None]))[0, p])
    return value if np.isfinite(value) else None


def open_ended(profiles: dict[str, dict[str, Any]], at_bound: list[str]) -> list[str]:
    """Parameters whose profile has no upper end, or no lower one though they are not at their bound."""
    return [
        name
        for name, one in profiles.items()
        if one["interval95"][1] is None or (one["interval95"][0] is None and name not in at_bound)
    ]
