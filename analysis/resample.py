"""How a fit's uncertainty is drawn: resamples of the table, each fitted again from the optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.law import Law, Table
from analysis.minimise import Huber, Minimum, minimise

# Resamples side by side: residuals and gradients of 256 x 240 rows stay in a core's cache.
CHUNK = 256
MAX_STEPS = 200


@dataclass(frozen=True)
class Problem:
    """A table in the coordinates of the solver: centred logarithms, by which the law's units are known."""

    law: Law
    x: np.ndarray
    y: np.ndarray
    x_unit: np.ndarray
    y_unit: float
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
        bad = ~(np.isfinite(losses) & (losses > 0))
        if bad.any():
            raise ValueError(f"column loss, row {bad.argmax() + 1}: {losses[bad][0]:g} is not positive")
        x, y = law.logs(table), np.log(losses)
        x_unit, y_unit = x.mean(axis=0), float(y.mean())
        # A column of one value is centred to exactly 0, whatever the mean's last digit.
        x_unit = np.where(np.ptp(x, axis=0) == 0, x[0], x_unit)
        return cls(law, x - x_unit, y - y_unit, x_unit, y_unit, loss)

    def published(self, theta: np.ndarray) -> np.ndarray:
        return self.law.published(self.law.rescale(theta, -self.x_unit, -self.y_unit))

    def centred(self, params: np.ndarray) -> np.ndarray:
        return self.law.rescale(self.law.working(params), self.x_unit, self.y_unit)

    def refit(self, theta: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Minimum:
        """Minimise from `theta` (P,) for many losses or weights (R, n) at once."""
        R = max(len(np.atleast_2d(y)), len(np.atleast_2d(weights)))
        y, weights = (np.broadcast_to(v, (R, len(self.x))) for v in (y, weights))
        parts = [
            minimise(
                self.law,
                self.x,
                y[at : at + CHUNK],
                np.repeat(theta[None], len(y[at : at + CHUNK]), axis=0),
                loss=self.loss,
                weights=weights[at : at + CHUNK],
                max_steps=MAX_STEPS,
            )
            for at in range(0, R, CHUNK)
        ]
        return Minimum(
            *(np.concatenate([getattr(p, k) for p in parts]) for k in ("theta", "objective", "gradient")),
            max(p.steps for p in parts),
        )


def pairs(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, rng) -> Minimum:
    """Rows drawn with replacement, as counts of each (Efron 1979)."""
    n = len(residuals)
    return problem.refit(theta, problem.y, rng.multinomial(n, np.full(n, 1 / n), size=R).astype(float))


METHODS = {"pairs": pairs}
