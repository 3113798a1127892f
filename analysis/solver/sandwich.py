"""What the curvature of the criterion and the scatter of its gradient say of a fit's uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.solver.problem import Problem


@dataclass(frozen=True)
class Sandwich:
    """(P, P) matrices in centred working coordinates, zero for what is fixed, at a bound or idle."""

    bread: np.ndarray
    """Inverse curvature of the criterion: how far its minimum gives way."""
    covariance: np.ndarray
    """bread @ (sum of outer products of the units' gradients) @ bread (Huber 1967; Liang & Zeger 1986)."""
    freedom: int
    """Units less parameters, at least 1."""


# Directions with less curvature than this share of the largest, in coordinates of unit curvature, are not
# determined; what a pseudo-inverse would make of them is noise.
EMPTY = 1e-12


def sandwich(problem: Problem, theta: np.ndarray, residuals: np.ndarray) -> Sandwich:
    """At the minimum `theta` (P,) with centred log residuals (n,).

    A robust criterion is flat or straight nearly everywhere, so its curvature is taken over differences as
    wide as a kernel over the residuals (Powell 1991), at which it is that of the expected criterion.
    """
    rows, criterion = problem.rows, problem.criterion
    f, J = problem.law.log_loss(theta[None], problem.x)
    lever = np.exp(f[0] + rows.y_unit) if criterion.raw else np.ones(len(f[0]))
    lever = lever / rows.noise
    r = lever * np.expm1(residuals) if criterion.raw else lever * residuals
    spread = np.median(np.abs(r)) * 1.4826
    # Silverman's width, and never below what a Huber loss rounds off itself.
    h = max(0.9 * spread * len(r) ** -0.2, 1e-12)
    stiff = (criterion.slope(r + h) - criterion.slope(r - h)) / (2 * h) * lever**2 * rows.weights
    score = (rows.weights * criterion.slope(r) * lever)[:, None] * J[0]
    low, high = problem.bounds.T
    idle = (theta <= low) | (theta >= high) | ~J[0].any(axis=0)
    curvature = (J[0] * stiff[:, None]).T @ J[0]
    bread = _inverse(curvature, ~idle)
    if problem.cluster is not None:
        score = np.stack([np.bincount(problem.cluster, column) for column in score.T], axis=1)
    units, free = problem.units, int((~idle).sum())
    # Small-sample factor as for least squares, n / (n - P), with units in the place of rows.
    inner = score.T @ score * units / max(units - free, 1)
    return Sandwich(bread, bread @ inner @ bread, max(units - free, 1))


def _inverse(curvature: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Pseudo-inverse over the coordinates used, in coordinates of unit curvature."""
    size = np.sqrt(np.maximum(np.diag(curvature), np.finfo(float).tiny))
    scaled = np.where(np.outer(used, used), curvature / np.outer(size, size), 0.0)
    return np.linalg.pinv(scaled, rcond=EMPTY, hermitian=True) / np.outer(size, size)
