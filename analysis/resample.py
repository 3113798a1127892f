"""How a fit's uncertainty is drawn: resamples of the table, each fitted again from the optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.law import Law, Table, complaint, unusable
from analysis.minimise import Huber, Minimum, minimise

MAX_STEPS = 500  # all but resamples with hardly more distinct rows than parameters take 50


@dataclass(frozen=True)
class Problem:
    """A table in the coordinates of the solver: centred logarithms, by which the law's units are known."""

    law: Law
    x: np.ndarray
    y: np.ndarray
    x_unit: np.ndarray
    y_unit: float
    order: np.ndarray
    """(n,) row of the table that each row here came from."""
    loss: Huber

    @classmethod
    def of(cls, law: Law, table: Table, loss: Huber) -> Problem:
        """Raises ValueError for a table that the law cannot be fitted to."""
        if "loss" not in table:
            raise ValueError("column loss: missing")
        losses = np.asarray(table["loss"], dtype=float)
        need = len(law.names) + 1
        if len(losses) < need:
            raise ValueError(
                f"{len(losses)} rows for the {need - 1} parameters of {law.name}: it takes {need}"
            )
        if (bad := unusable(losses)).any():
            raise ValueError(f"column loss, row {bad.argmax() + 1}: {complaint(losses[bad][0])}")
        x, y = law.logs(table), np.log(losses)
        # Resampling draws by position: in sorted order the same rows give the same draws, however they came.
        order = np.lexsort((y, *x.T))
        x, y = x[order], y[order]
        x_unit, y_unit = x.mean(axis=0), float(y.mean())
        # A column of one value is centred to exactly 0, whatever the mean's last digit.
        x_unit = np.where(np.ptp(x, axis=0) == 0, x[0], x_unit)
        return cls(law, x - x_unit, y - y_unit, x_unit, y_unit, order, loss)

    def published(self, theta: np.ndarray) -> np.ndarray:
        return self.law.published(self.law.rescale(theta, -self.x_unit, -self.y_unit))

    def centred(self, params: np.ndarray) -> np.ndarray:
        return self.law.rescale(self.law.working(params), self.x_unit, self.y_unit)

    def refit(self, theta: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Minimum:
        """Minimise from `theta` (P,) for many losses or weights (R, n) at once."""
        R = max(len(np.atleast_2d(y)), len(np.atleast_2d(weights)))
        starts = np.repeat(theta[None], R, axis=0)
        return minimise(self.law, self.x, y, starts, loss=self.loss, weights=weights, max_steps=MAX_STEPS)


def pairs(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, rng) -> Minimum:
    """Rows drawn with replacement, as counts of each (Efron 1979): nothing is assumed of the scatter, but
    intervals come out too wide below some hundred rows, where a draw may leave out a whole size."""
    n = len(residuals)
    return problem.refit(theta, problem.y, rng.multinomial(n, np.full(n, 1 / n), size=R).astype(float))


# Silverman's rule of thumb (1986, eq. 3.31) for the width of a kernel over n points.
SILVERMAN = 0.9


def residual(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, rng) -> Minimum:
    """Losses drawn around the law: the same N and D, the scatter that the residuals have.

    A smoothed residual bootstrap (Silverman & Young 1987), symmetric, at the scale left by n - P degrees of
    freedom. As a fit close to least absolute deviations goes exactly through P rows, the P smallest residuals
    are its doing and not the scatter's, and are not drawn. At a dozen rows the kernel is as wide as the
    scatter and the draws are nearly normal; at hundreds they keep the tails that the residuals have.
    """
    n, P = len(residuals), len(theta)
    kept = residuals[np.argsort(np.abs(residuals), kind="stable")[min(P, n - 2) :]]
    width = SILVERMAN * _spread(kept) * len(kept) ** -0.2
    shape = np.sqrt((kept**2).mean() + width**2)
    scale = np.sqrt((residuals**2).sum() / (n - P)) / shape if shape > 0 else 0.0
    drawn = rng.choice(kept, size=(R, n)) * rng.choice([-1.0, 1.0], size=(R, n))
    drawn += width * rng.standard_normal((R, n))
    return problem.refit(theta, problem.y - residuals + scale * drawn, np.ones(1))


def _spread(values: np.ndarray) -> float:
    """The smaller of standard deviation and interquartile range in normal units (Silverman 1986)."""
    quartile = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349
    return min(float(values.std()), quartile) if quartile > 0 else float(values.std())


# Measured on 80 to 250 tables of each kind, drawn from the Chinchilla surface: residual intervals hold the
# truth 92 to 97 % of the time at 16 to 240 rows, normal or heavy-tailed; pairs 97 to 99 % at 16 rows, and
# 91 to 99 % from about here on. Pairs also hold where the scatter changes along the table, as it does in the
# Chinchilla data, whose residual intervals come out half as wide.
PAIRS_FROM = 60


METHODS = {"pairs": pairs, "residual": residual}


def chosen(method: str, n: int) -> str:
    """The method's name, "auto" resolved for n rows. Raises ValueError for an unknown one."""
    if method == "auto":
        return "pairs" if n >= PAIRS_FROM else "residual"
    if method not in METHODS:
        raise ValueError(f"interval={method!r} is none of auto, {', '.join(sorted(METHODS))}")
    return method
