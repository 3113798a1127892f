"""Damped Newton for many starts or resamples at once: a robust criterion of residuals within bounds.

Shapes: S problems side by side, n rows, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.law import Law
from analysis.solver.criteria import Criterion


@dataclass(frozen=True)
class Minimum:
    """theta (S, P), objective (S,), projected gradient (S, P), and the steps it took."""

    theta: np.ndarray
    objective: np.ndarray
    gradient: np.ndarray
    steps: int


# The objective is summed in double precision: differences below this share of it are rounding.
ROUNDING = 1e-14
# A gradient this small, in coordinates scaled to unit curvature, moves no parameter in its ninth digit.
FLAT = 1e-11
DAMPING = (1e-9, 1e12)


@dataclass
class _State:
    theta: np.ndarray
    r: np.ndarray
    J: np.ndarray
    lever: np.ndarray
    """(S, n) -dr / d(log L): what a change of log L moves a residual by."""
    objective: np.ndarray


# Residuals and gradients of this many rows, all problems together, stay in a core's cache.
CHUNK = 60_000


@dataclass(frozen=True)
class Rows:
    """What is fitted: centred log inputs x (n, I), log losses y and weights, (n,) or (S, n), and by how much
    each row's residual is divided before the criterion sees it, (n,)."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    noise: np.ndarray
    y_unit: float
    """The log loss that y is counted from: raw residuals are exp(y_unit) (exp(y) - exp(f)) nats."""

    def only(self, part: slice | np.ndarray) -> Rows:
        """The problems `part` of those that y and weights hold side by side."""
        return Rows(self.x, self.y[part], self.weights[part], self.noise, self.y_unit)


def minimise(
    law: Law, rows: Rows, starts: np.ndarray, *, bounds: np.ndarray, criterion: Criterion, max_steps: int
) -> Minimum:
    """Minimise sum_i weights_i rho(r_i(theta)) from each start (S, P), within bounds (P, 2) or (S, P, 2).

    A coordinate whose two bounds are equal is held there. Newton's matrix is exact, its eigenvalues made
    positive (Dauphin et al. 2014) and damped in the metric of iterated least squares, which bounds the
    robust loss from above: far away the steps are Levenberg's and Marquardt's, near the minimum Newton's.
    """
    S, n = len(starts), len(rows.x)
    bounds = np.broadcast_to(bounds, (*starts.shape, 2))
    side_by_side = Rows(
        rows.x,
        np.broadcast_to(rows.y, (S, n)),
        np.broadcast_to(rows.weights, (S, n)),
        rows.noise,
        rows.y_unit,
    )
    theta = starts
    for stage in (*criterion.eased(), criterion):
        parts = [
            _together(law, side_by_side.only(at), theta[at], bounds[at], stage, max_steps)
            for at in (slice(k, k + max(1, CHUNK // n)) for k in range(0, S, max(1, CHUNK // n)))
        ]
        found = Minimum(
            theta=np.concatenate([part.theta for part in parts]),
            objective=np.concatenate([part.objective for part in parts]),
            gradient=np.concatenate([part.gradient for part in parts]),
            steps=max(part.steps for part in parts),
        )
        theta = found.theta
    return found


def _together(
    law: Law, rows: Rows, starts: np.ndarray, bounds: np.ndarray, loss: Criterion, max_steps: int
) -> Minimum:
    """`minimise` for problems that fit into the cache side by side."""
    low, high = bounds[..., 0], bounds[..., 1]
    S = len(starts)
    theta = np.clip(starts, low, high)
    objective, gradient = np.empty(S), np.zeros_like(theta)
    damping = np.ones(S)
    live = np.arange(S)
    unit = np.exp(rows.y_unit) / rows.noise if loss.raw else 1 / rows.noise

    def evaluate(theta: np.ndarray, at: np.ndarray) -> _State:
        with np.errstate(all="ignore"):  # a trial step may leave the range of floats; it is then refused
            f, J = law.log_loss(theta, rows.x)
            if loss.raw:
                lever = unit * np.exp(f)
                r = unit * np.exp(rows.y[at]) - lever
            else:
                lever = np.broadcast_to(unit, f.shape)
                r = (rows.y[at] - f) * unit
            value = (rows.weights[at] * loss.value(r)).sum(axis=1)
        return _State(theta, r, J, lever, np.where(np.isfinite(value), value, np.inf))

    state = evaluate(theta, live)
    usable = np.isfinite(state.objective)
    objective[:] = state.objective
    live, state = live[usable], _take(state, usable)
    step_count = 0
    while len(live) and step_count < max_steps:
        step_count += 1
        w = rows.weights[live]
        slope = w * loss.slope(state.r) * state.lever
        grad = -(slope[:, None, :] @ state.J)[:, 0]
        blocked = _blocked(state.theta, grad, low[live], high[live])
        grad = np.where(blocked, 0.0, grad)
        Jt = np.swapaxes(state.J, 1, 2)
        pull = w * loss.weight(state.r) * state.lever**2
        metric = np.einsum("snp,sn,snp->sp", state.J, pull, state.J, optimize=False)
        stiff = w * loss.stiffness(state.r) * state.lever**2
        if loss.raw:  # L itself curves where log L does not
            stiff = stiff - slope
        hessian = (Jt * stiff[:, None]) @ state.J - law.curvature(state.theta, rows.x, slope)
        size = np.sqrt(np.maximum(metric, 1e-300))
        scaled = grad / size
        flat = np.abs(scaled).max(axis=1) <= FLAT * np.sqrt(np.maximum(np.abs(state.objective), 1e-300))
        step = _step(hessian, scaled, size, blocked, damping[live])
        step = np.where(blocked, 0.0, step)  # rounding's 1e-18 off its bound a coordinate is not blocked
        trial = evaluate(np.clip(state.theta + step, low[live], high[live]), live)
        gain = state.objective - trial.objective
        slack = ROUNDING * np.abs(state.objective)
        better = gain > 0
        # Within rounding of the minimum the objective is blind: the gradient decides.
        close = ~better & (gain >= -slack)
        if close.any():
            trial_slope = w * loss.slope(trial.r) * trial.lever
            trial_grad = np.where(blocked, 0.0, -(trial_slope[:, None, :] @ trial.J)[:, 0])
            better |= close & (np.abs(trial_grad / size).max(axis=1) < 0.5 * np.abs(scaled).max(axis=1))
        # Damp by how much of the promised gain was kept (More 1978).
        moved = trial.theta - state.theta
        promised = -(grad * moved).sum(axis=1) - 0.5 * np.einsum("sp,spq,sq->s", moved, hessian, moved)
        with np.errstate(all="ignore"):
            kept = gain / np.maximum(promised, 1e-300)
        factor = np.where(better, np.where(kept > 0.75, 0.1, np.where(kept > 0.25, 0.5, 2.0)), 5.0)
        damping[live] = np.clip(damping[live] * factor, *DAMPING)
        theta[live], objective[live], gradient[live] = state.theta, state.objective, grad
        stuck = damping[live] >= DAMPING[1]
        go = ~(flat | stuck)
        state.theta = np.where(better[:, None], trial.theta, state.theta)
        state.r = np.where(better[:, None], trial.r, state.r)
        state.J = np.where(better[:, None, None], trial.J, state.J)
        state.lever = np.where(better[:, None], trial.lever, state.lever)
        state.objective = np.where(better, trial.objective, state.objective)
        if not go.all():
            live, state = live[go], _take(state, go)
    return Minimum(theta, objective, gradient, step_count)


def _blocked(theta: np.ndarray, grad: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Coordinates (S, P) that stand at a bound and are pushed against it, or are held."""
    return ((theta <= low) & (grad > 0)) | ((theta >= high) & (grad < 0)) | (low >= high)


def _take(state: _State, mask: np.ndarray) -> _State:
    return _State(state.theta[mask], state.r[mask], state.J[mask], state.lever[mask], state.objective[mask])


def _step(
    hessian: np.ndarray, scaled: np.ndarray, size: np.ndarray, blocked: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """-(|H| + damping * metric)^-1 gradient, in coordinates of unit metric; blocked ones stand still."""
    H = hessian / (size[:, :, None] * size[:, None, :])
    free = ~blocked
    H = np.where(free[:, :, None] & free[:, None, :], H, 0.0)
    H[:, np.arange(H.shape[1]), np.arange(H.shape[1])] += blocked
    values, vectors = np.linalg.eigh(H)
    values = np.maximum(np.abs(values), 1e-14) + damping[:, None]
    along = np.einsum("sij,si->sj", vectors, scaled)
    return -np.einsum("sij,sj->si", vectors, along / values) / size
