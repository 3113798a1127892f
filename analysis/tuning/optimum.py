"""The best value of one knob, a learning rate or a batch: a parabola in its log, through runs that tried
it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

LEAST = 3  # values a parabola takes
BRACKETED = "bracketed"


@dataclass(frozen=True)
class Optimum:
    """Where the loss is lowest over one knob.

    value: of the parabola through the best value tried and its two neighbours in (log value, loss), or the
    best value tried where that has no neighbour to one side. loss: the parabola's minimum, nats per token.
    status: "bracketed", or why the optimum is not. stderr: of log value, from the noise of single runs; None
    where that is not known. tried: the lowest and the highest value. curvature: the parabola's coefficient
    of the squared natural log, nats; None where the optimum is not bracketed. means: every value tried that
    did not diverge, with its mean loss.
    """

    value: float
    loss: float
    status: str
    tried: tuple[float, float]
    stderr: float | None = None
    curvature: float | None = None
    means: tuple[tuple[float, float], ...] = ()

    @property
    def bracketed(self) -> bool:
        return self.status == BRACKETED

    @property
    def beyond(self) -> bool:
        """Whether the best value is the lowest or the highest that was tried."""
        return self.status.startswith("at the ")

    def above(self, value: float) -> float | None:
        """Nats that another value costs: by the parabola where it was fitted, by straight lines between the
        means further off. None beyond the values tried, and of an optimum that is not bracketed."""
        if self.curvature is None or not self.means[0][0] <= value <= self.means[-1][0]:
            return None
        values, losses = np.array(self.means).T
        best = int(np.argmin(losses))
        if values[best - 1] <= value <= values[best + 1]:
            return float(self.curvature * np.log(value / self.value) ** 2)
        return float(np.interp(np.log(value), np.log(values), losses)) - self.loss

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"tried": list(self.tried)}


def optimum(
    values: Iterable[float],
    losses: Iterable[float],
    *,
    what: str = "learning rate",
    noise: float | None = None,
) -> Optimum:
    """The optimum from (n,) values of a knob and (n,) losses; runs of one value, as of several seeds, are
    averaged.

    A loss of +inf is that of a run that diverged. noise: the standard deviation of the log loss of one run,
    as `analysis.tables.replicates.seed_noise` measures it. Raises ValueError, naming `what`, for fewer than
    three distinct values, a value that is not positive, a loss that is no number, or none that is finite.
    """
    x, y = (np.asarray(list(several), dtype=float) for several in (values, losses))
    levels, level = np.unique(x, return_inverse=True)
    if len(levels) < LEAST:
        raise ValueError(f"an optimum needs runs of at least {LEAST} {what}s, not {levels.tolist()}")
    if not (np.isfinite(x).all() and (x > 0).all()) or np.isnan(y).any():
        raise ValueError(f"every {what} must be positive and its losses numbers")
    mean = np.bincount(level, y) / np.bincount(level)
    best = int(np.argmin(mean))
    if not np.isfinite(mean[best]):
        raise ValueError(f"every {what} tried diverged")
    tried, plain = (float(levels[0]), float(levels[-1])), (float(levels[best]), float(mean[best]))
    means = tuple(
        (float(at), float(loss)) for at, loss in zip(levels, mean, strict=True) if np.isfinite(loss)
    )
    if best in (0, len(levels) - 1):
        end = "lowest" if best == 0 else "highest"
        return Optimum(*plain, f"at the {end} {what} tried", tried, means=means)
    if not np.isfinite(mean[best - 1 : best + 2]).all():
        return Optimum(*plain, f"next to a {what} that diverged", tried, means=means)
    near = np.abs(level - best) <= 1
    return replace(_vertex(x[near], y[near], float(levels[best]), tried, noise), means=means)


def _vertex(
    x: np.ndarray, y: np.ndarray, best: float, tried: tuple[float, float], noise: float | None
) -> Optimum:
    """Least squares through three values whose middle one, `best`, is lower than the first and not higher
    than the last, so that the parabola opens upwards and its vertex lies between them."""
    # Three values alone: over more octaves the loss is no parabola, it rises faster where training breaks.
    V = np.vander(np.log(x / best), LEAST, increasing=True)
    c, b, a = np.linalg.lstsq(V, y, rcond=None)[0]
    shift, loss = -b / (2 * a), float(c - b * b / (4 * a))
    stderr = None
    if noise is not None:
        slope = np.array([0.0, -1 / (2 * a), b / (2 * a * a)])  # of the shift, in the coefficients
        stderr = float(noise * loss * np.sqrt(slope @ np.linalg.inv(V.T @ V) @ slope))
    return Optimum(float(best * np.exp(shift)), loss, BRACKETED, tried, stderr, float(a))
