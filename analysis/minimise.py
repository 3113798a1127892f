"""Damped Newton for many starts or resamples at once: a robust loss of log residuals within bounds.

Shapes: S problems side by side, n rows, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.law import Law


@dataclass(frozen=True)
class Huber:
    """Huber's loss (1964): r^2 / 2 up to `delta`, then linear. At delta below the noise it is close to least
    absolute deviations, which is what Hoffmann et al. 2022 use (delta = 1e-3 on log residuals)."""

    delta: float

    def value(self, r: np.ndarray) -> np.ndarray:
        c = np.clip(r, -self.delta, self.delta)
        return c * (r - 0.5 * c)

    def slope(self, r: np.ndarray) -> np.ndarray:
        return np.clip(r, -self.delta, self.delta)

    def stiffness(self, r: np.ndarray) -> np.ndarray:
        """Second derivative: 1 inside, 0 outside."""
        return (np.abs(r) <= self.delta).astype(float)

    def weight(self, r: np.ndarray) -> np.ndarray:
        """slope / r, the weight of iterated least squares."""
        return self.delta / np.maximum(np.abs(r), self.delta)


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
    objective: np.ndarray


# Residuals and gradients of this many rows, all problems together, stay in a core's cache.
CHUNK = 60_000


def minimise(
    law: Law,
    x: np.ndarray,
    y: np.ndarray,
    starts: np.ndarray,
    *,
    loss: Huber,
    weights: np.ndarray,
    max_steps: int,
) -> Minimum:
    """Minimise sum_i weights_i loss(y_i - log_loss_i(theta)) from each start (S, P), within law.bounds.

    x: centred log inputs (n, I). y, weights: (n,) or (S, n). Newton's matrix is exact, its eigenvalues made
    positive (Dauphin et al. 2014) and damped in the metric of iterated least squares, which bounds the
    robust loss from above: far away the steps are Levenberg's and Marquardt's, near the minimum Newton's.
    """
    S, n = len(starts), len(x)
    y, weights = np.broadcast_to(y, (S, n)), np.broadcast_to(weights, (S, n))
    size = max(1, CHUNK // n)
    parts = [
        _together(law, x, y[at : at + size], starts[at : at + size], loss, weights[at : at + size], max_steps)
        for at in range(0, S, size)
    ]
    return Minimum(
        theta=np.concatenate([part.theta for part in parts]),
        objective=np.concatenate([part.objective for part in parts]),
        gradient=np.concatenate([part.gradient for part in parts]),
        steps=max(part.steps for part in parts),
    )


def _together(
    law: Law,
    x: np.ndarray,
    y: np.ndarray,
    starts: np.ndarray,
    loss: Huber,
    weights: np.ndarray,
    max_steps: int,
) -> Minimum:
    """`minimise` for problems that fit into the cache side by side: y and weights are (S, n)."""
    low, high = law.bounds.T
    S = len(starts)
    theta = np.clip(starts, low, high)
    objective, gradient = np.empty(S), np.zeros_like(theta)
    damping = np.ones(S)
    live = np.arange(S)

    def evaluate(theta: np.ndarray, rows: np.ndarray) -> _State:
        with np.errstate(all="ignore"):  # a trial step may leave the range of floats; it is then refused
            f, J = law.log_loss(theta, x)
            r = y[rows] - f
            value = (weights[rows] * loss.value(r)).sum(axis=1)
        return _State(theta, r, J, np.where(np.isfinite(value), value, np.inf))

    state = evaluate(theta, live)
    usable = np.isfinite(state.objective)
    objective[:] = state.objective
    live, state = live[usable], _take(state, usable)
    step_count = 0
    while len(live) and step_count < max_steps:
        step_count += 1
        w = weights[live]
        slope = w * loss.slope(state.r)
        grad = -(slope[:, None, :] @ state.J)[:, 0]
        blocked = ((state.theta <= low) & (grad > 0)) | ((state.theta >= high) & (grad < 0))
        grad = np.where(blocked, 0.0, grad)
        Jt = np.swapaxes(state.J, 1, 2)
        metric = np.einsum("snp,sn,snp->sp", state.J, w * loss.weight(state.r), state.J, optimize=False)
        hessian = (Jt * (w * loss.stiffness(state.r))[:, None]) @ state.J
        hessian -= law.curvature(state.theta, x, slope)
        size = np.sqrt(np.maximum(metric, 1e-300))
        scaled = grad / size
        flat = np.abs(scaled).max(axis=1) <= FLAT * np.sqrt(np.maximum(state.objective, 1e-300))
        step = _step(hessian, scaled, size, blocked, damping[live])
        trial = evaluate(np.clip(state.theta + step, low, high), live)
        gain = state.objective - trial.objective
        slack = ROUNDING * np.abs(state.objective)
        better = gain > 0
        # Within rounding of the minimum the objective is blind: the gradient decides.
        close = ~better & (gain >= -slack)
        if close.any():
            trial_slope = w * loss.slope(trial.r)
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
        state.objective = np.where(better, trial.objective, state.objective)
        if not go.all():
            live, state = live[go], _take(state, go)
    return Minimum(theta, objective, gradient, step_count)


def _take(state: _State, mask: np.ndarray) -> _State:
    return _State(state.theta[mask], state.r[mask], state.J[mask], state.objective[mask])


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
