"""Fisher information of a fitted law: what runs tell of its parameters, and of a number they determine.

Shapes: S parameter vectors at which the law is linearised, n runs, I inputs, P parameters (the free ones).
Information is in units of the noise of one run: a run with gradient x of its log loss adds x x'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.designing.targets import Target
from analysis.law import Fit
from analysis.solver.criteria import criterion as criterion_named

# Information that exact arithmetic would call zero, relative to what there is of other directions: products
# of gradients are known to about 1e-16, and a direction told 1e-12 as well as the best is told by nothing.
SINGULAR = 1e-12


def information(gradients: np.ndarray, counts: np.ndarray | float = 1.0) -> np.ndarray:
    """(S, P, P) from gradients (S, n, P) of log losses, each run counts (n,) times."""
    weighted = gradients * np.broadcast_to(counts, gradients.shape[1:2])[:, None]
    return np.swapaxes(gradients, 1, 2) @ weighted


def variance(told: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(S,) g' M^-1 g of information M (S, P, P) and gradient g (S, P); infinite where M leaves g open."""
    size = np.sqrt(np.einsum("spp->sp", told))
    size = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(told / (size[:, :, None] * size[:, None, :]))
    along = np.einsum("spq,sp->sq", vectors, target / size) ** 2
    idle = values <= SINGULAR * values.max(axis=1, keepdims=True)
    lost = (along * idle).sum(axis=1) > SINGULAR * along.sum(axis=1)
    return np.where(lost, np.inf, (along / np.where(idle, np.inf, values)).sum(axis=1))


def inefficiency(criterion: Any, scale: float) -> float:
    """Variance of an M-estimate over that of least squares, for normal residuals with sd `scale`.

    E[psi^2] scale^2 / E[psi r]^2 (Huber 1964, section 4; E[psi'] = E[psi r] / scale^2 under the normal, which
    holds for kinks too): 1 for least squares, pi / 2 for least absolute deviations.
    criterion: anything with slope(r), the derivative psi.
    """
    # Nothing lies beyond nine sigma; the step resolves the kink of a delta of a thousandth of the scale.
    z = np.linspace(-9, 9, 200_001)
    weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    psi = criterion.slope(z * scale)
    return float((weight * psi**2).sum() / (weight * psi * z).sum() ** 2)


@dataclass(frozen=True)
class View:
    """The law around its fitted parameters, over the runs there are and those that could be."""

    goal: Target
    had: np.ndarray
    """(n, I) log inputs of the runs that exist, and their precisions (n,)."""
    precision: np.ndarray
    could: np.ndarray
    """(K, I) log inputs of the candidates."""
    x_unit: np.ndarray
    free: np.ndarray
    """(P,) mask of the parameters that are fitted."""
    inefficiency: float

    @classmethod
    def of(
        cls, fit: Fit, runs: pd.DataFrame | None, candidates: pd.DataFrame, goal: Target, knobs: Mapping
    ) -> View:
        law = fit.law
        had, precision = np.empty((0, len(law.inputs))), np.empty(0)
        if runs is not None:
            rows = _fitted(fit, runs)
            had, precision = law.logs(rows), _precision(rows, knobs.get("weights"), knobs.get("noise"))
        criterion = criterion_named(fit.criterion, fit.delta).scaled_to(fit.residuals)
        # Raw residuals are in nats: a share of the loss as it typically is.
        scale = fit.scale * (float(np.median(fit.predict(candidates))) if criterion.raw else 1.0)
        could = law.logs(candidates)
        x_unit = np.concatenate([had, could]).mean(axis=0)
        free = np.array([name not in fit.fixed for name in law.names])
        return cls(goal, had, precision, could, x_unit, free, inefficiency(criterion, scale))

    def gradients(self, params: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(S, n, free) of log loss at published (S, P) and log inputs (n, I)."""
        return self.goal.law.log_loss(self._theta(params), x - self.x_unit)[1][..., self.free]

    def known(self, params: np.ndarray) -> np.ndarray:
        """(S, free, free) information of the runs that exist, at published (S, P)."""
        return information(self.gradients(params, self.had), self.precision)

    def target(self, params: np.ndarray) -> np.ndarray:
        """(S, free) gradient of the target at published (S, P)."""
        return self.goal.gradient(self._theta(params), self.x_unit)[:, self.free]

    def _theta(self, params: np.ndarray) -> np.ndarray:
        law = self.goal.law
        return law.rescale(law.working(params), self.x_unit, 0.0)


def _fitted(fit: Fit, runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that the fit was made from."""
    if lacking := sorted(set(fit.used) - set(runs.index)):
        raise ValueError(f"runs: no row {lacking[0]}, which the fit was made from: not its table")
    rows = runs.loc[fit.used] if fit.used else runs
    if len(rows) != fit.n:
        raise ValueError(f"runs: {len(rows)} rows, and the fit was made from {fit.n}: not its table")
    return rows


def _precision(rows: pd.DataFrame, weights: str | None, noise: str | None) -> np.ndarray:
    """(n,) what each row counts for: weight over the square of noise, as far as columns say either."""
    w, u = (np.ones(len(rows)) if name is None else rows[name].to_numpy(float) for name in (weights, noise))
    return w / w.mean() / (u / np.exp(np.log(u).mean())) ** 2
