"""The broken neural scaling law of Caballero et al. 2023 (arXiv:2210.14891): power laws joined smoothly."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from analysis.law import LARGEST, Law, complex_step_curvature

# The steepest change of slope that the paper shows is 5.7 (4-digit addition, figure 4).
STEEPEST_BREAK = 20.0

# Six decades away from the middle of a table a break is out of sight.
FARTHEST = np.log(1e6)

# A break of sharpness f is spread over a factor of about exp(f) to either side: below 1 % it is a corner to
# any table, above 10 a straight line. The paper's lie between 0.05 and 1.4.
SHARPNESS = (np.log(0.01), np.log(10.0))

# Starts: breaks at these shares of the table's range of log x, floors at these shares of the smallest loss.
START_PLACES = (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)
START_FLOORS = (0.0, 0.5, 0.9, 0.99)
START_SHARPNESS = (0.05, 0.3, 1.0)
STARTS = 60  # of these, the nearest to the losses


class Broken(Law):
    """L(x) = a + b x^-c_0 prod_i (1 + (x / d_i)^(1 / f_i))^(-c_i f_i) (eq. 1), over one input.

    Break i, at x = d_i, adds c_i to the slope of log (L - a); the smaller f_i, the sharper. Slopes may be of
    either sign: the law describes a loss that rises, too. breaks: how many, 0 leaving a saturating power law.
    input: the column x. along: that input to fit only the runs which no other run with as much or less of it
    beats, as for other laws of one input; None to fit every row.

    Working coordinates (a, log b, c_0) and (c_i, log d_i, log f_i) for each break.
    Raises ValueError for a number of breaks that is not one, or an `along` that is not the input.
    """

    floor = "a"

    def __init__(self, *, breaks: int, input: str, along: str | None) -> None:
        if not (isinstance(breaks, int) and breaks >= 0):
            raise ValueError(f"breaks={breaks!r} is not a number of breaks")
        if along not in (None, input):
            raise ValueError(f"along={along!r}: the law's only input is {input}")
        self.breaks = breaks
        self.name = f"broken_{input}"
        self.inputs = (input,)
        self.along = along
        each = [f"{kind}_{i}" for i in range(1, breaks + 1) for kind in "cdf"]
        self.names = ("a", "b", "c_0", *each)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor takes, to make the same law again."""
        return {"breaks": self.breaks, "input": self.inputs[0], "along": self.along}

    @property
    def bounds(self) -> np.ndarray:
        # b is what the first segment alone would reach at the table's middle, which may be far from any loss.
        slope, factor = (-STEEPEST_BREAK, STEEPEST_BREAK), (-np.log(LARGEST), np.log(LARGEST))
        each = [slope, (-FARTHEST, FARTHEST), SHARPNESS] * self.breaks
        return np.array([(0.0, np.inf), factor, slope, *each])

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_x = x[:, 0]
        a, log_b, c0 = (theta[:, p, None] for p in range(3))
        log_term = log_b - c0 * log_x
        by = [np.ones_like(log_term), np.broadcast_to(-log_x, log_term.shape)]
        for i in range(self.breaks):
            c, log_d, log_f = (theta[:, 3 + 3 * i + p, None] for p in range(3))
            f = np.exp(log_f)
            bend, passed = _softplus((log_x - log_d) / f)
            log_term = log_term - c * f * bend
            by += [-f * bend, c * passed, -c * (f * bend - passed * (log_x - log_d))]
        term = np.exp(log_term)
        loss = a + term
        share = (term / loss)[..., None] * np.stack(by, axis=-1)
        return np.log(loss), np.concatenate([1 / loss[..., None], share], axis=-1)

    def curvature(self, theta: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return complex_step_curvature(self, theta, x, weight)

    @property
    def _logs(self) -> list[int]:
        """Which working coordinates are logarithms of the published: b, and each d and f."""
        return [p for p, name in enumerate(self.names) if name[0] in "bdf"]

    def working(self, params: np.ndarray) -> np.ndarray:
        theta = np.array(params, dtype=np.result_type(params, float))
        theta[..., self._logs] = np.log(theta[..., self._logs])
        return theta

    def published(self, theta: np.ndarray) -> np.ndarray:
        params = np.array(theta, dtype=np.result_type(theta, float))
        with np.errstate(over="ignore"):
            params[..., self._logs] = np.exp(params[..., self._logs])
        return params

    def rescale(self, theta: np.ndarray, x_unit: np.ndarray, y_unit: float) -> np.ndarray:
        out = np.array(theta)
        out[..., 0] *= np.exp(-y_unit)
        out[..., 1] -= theta[..., 2] * x_unit[0] + y_unit
        out[..., 4::3] -= x_unit[0]
        return out

    def guess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # With the floor, the places and the sharpness given, log (L - a) is linear in log b and the slopes.
        log_x, least = x[:, 0], np.exp(y.min())
        places = itertools.combinations(log_x.min() + np.ptp(log_x) * np.array(START_PLACES), self.breaks)
        starts = []
        for log_d, share, f in itertools.product(places, START_FLOORS, START_SHARPNESS):
            bends = [-f * _softplus((log_x - d) / f)[0] for d in log_d]
            columns = np.stack([np.ones(len(x)), -log_x, *bends], axis=-1)
            log_b, c0, *c = np.linalg.lstsq(columns, np.log(np.exp(y) - share * least), rcond=1e-10)[0]
            each = [(slope, d, np.log(f)) for slope, d in zip(c, log_d, strict=True)]
            starts.append([share * least, log_b, c0, *itertools.chain(*each)])
        found = np.unique(starts, axis=0)  # without breaks, sharpness makes no difference
        miss = np.abs(self.log_loss(found, x)[0] - y).sum(axis=1)
        return found[np.argsort(miss, kind="stable")[:STARTS]]

    def tradeoff(self, params: np.ndarray) -> None:
        return None


def _softplus(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(1 + e^z) and its derivative, without overflow, for complex steps too."""
    up = np.real(z) > 0
    small = np.exp(np.where(up, -z, z))
    return np.where(up, z, 0.0) + np.log1p(small), np.where(up, 1.0, small) / (1 + small)
