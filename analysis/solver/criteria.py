"""What a fit makes small: robust losses of the residuals of log L, or of L itself.

Every criterion is a sum over rows, so that its minimum does not depend on how many rows there are, and so
that a tolerance on the gradient means the same for every table. Residuals r are (S, n).
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


class Criterion(ABC):
    """rho(r) with its first two derivatives, for the residuals of log L (`raw` False) or of L in nats."""

    raw: bool = False

    @abstractmethod
    def value(self, r: np.ndarray) -> np.ndarray:
        """rho(r)."""

    @abstractmethod
    def slope(self, r: np.ndarray) -> np.ndarray:
        """rho'(r)."""

    @abstractmethod
    def stiffness(self, r: np.ndarray) -> np.ndarray:
        """rho''(r)."""

    @abstractmethod
    def weight(self, r: np.ndarray) -> np.ndarray:
        """rho'(r) / r, the weight of iterated least squares."""

    @property
    def steepness(self) -> float:
        """rho''(0): what turns a gradient into that of r^2 / 2, whose size a tolerance can mean."""
        return float(self.weight(np.zeros(1))[0])

    def eased(self) -> tuple[Criterion, ...]:
        """Easier criteria to pass through first, for one whose corners would stop a solver far away."""
        return ()

    def scaled_to(self, r: np.ndarray) -> Criterion:
        """The same criterion at the scale of these residuals (n,), where it has a scale of its own."""
        return self


@dataclass(frozen=True)
class Huber(Criterion):
    """Huber's loss (1964): r^2 / 2 up to `delta`, then linear. At delta below the noise it is close to least
    absolute deviations, which is what Hoffmann et al. 2022 use (delta = 1e-3 on log residuals)."""

    delta: float
    raw: bool = False

    def value(self, r: np.ndarray) -> np.ndarray:
        c = np.clip(r, -self.delta, self.delta)
        return c * (r - 0.5 * c)

    def slope(self, r: np.ndarray) -> np.ndarray:
        return np.clip(r, -self.delta, self.delta)

    def stiffness(self, r: np.ndarray) -> np.ndarray:
        """1 inside, 0 outside."""
        return (np.abs(r) <= self.delta).astype(float)

    def weight(self, r: np.ndarray) -> np.ndarray:
        return self.delta / np.maximum(np.abs(r), self.delta)


@dataclass(frozen=True)
class Squares(Criterion):
    """r^2 / 2: least squares, the maximum-likelihood choice for normal scatter."""

    raw: bool = False

    def value(self, r: np.ndarray) -> np.ndarray:
        return 0.5 * r * r

    def slope(self, r: np.ndarray) -> np.ndarray:
        return r

    def stiffness(self, r: np.ndarray) -> np.ndarray:
        return np.ones_like(r)

    def weight(self, r: np.ndarray) -> np.ndarray:
        return np.ones_like(r)


# Where |r| is rounded off into a parabola. A thousandth of a per cent of the loss is below any scatter of
# training, and far enough above rounding for the gradient to be checked.
CORNER = 1e-5


@dataclass(frozen=True)
class Absolute(Criterion):
    """|r|, its corner rounded within CORNER: least absolute deviations, the limit of Huber's loss / delta."""

    corner: float = CORNER
    raw: bool = False

    @property
    def _huber(self) -> Huber:
        return Huber(self.corner)

    def value(self, r: np.ndarray) -> np.ndarray:
        return self._huber.value(r) / self.corner

    def slope(self, r: np.ndarray) -> np.ndarray:
        return self._huber.slope(r) / self.corner

    def stiffness(self, r: np.ndarray) -> np.ndarray:
        return self._huber.stiffness(r) / self.corner

    def weight(self, r: np.ndarray) -> np.ndarray:
        return self._huber.weight(r) / self.corner

    def eased(self) -> tuple[Criterion, ...]:
        return (Absolute(100 * self.corner), Absolute(10 * self.corner))


TINY = 1e-12  # relative to a loss, residuals are rounding below it
SETTLED = 1e-12


@dataclass(frozen=True)
class StudentT(Criterion):
    """-log density of Student's t with `freedom` degrees of freedom (Lange et al. 1989), up to a constant and
    in units of r^2: times scale^2.

    Far residuals lose their pull altogether, where Huber's keep it. The scale is the maximum-likelihood one
    for the residuals it was last scaled to.
    """

    freedom: float
    scale: float = 1.0
    raw: bool = False

    def value(self, r: np.ndarray) -> np.ndarray:
        return 0.5 * (self.freedom + 1) * self.scale**2 * np.log1p((r / self.scale) ** 2 / self.freedom)

    def slope(self, r: np.ndarray) -> np.ndarray:
        return r * self.weight(r)

    def stiffness(self, r: np.ndarray) -> np.ndarray:
        square = (r / self.scale) ** 2
        return (self.freedom + 1) * (self.freedom - square) / (self.freedom + square) ** 2

    def weight(self, r: np.ndarray) -> np.ndarray:
        return (self.freedom + 1) / (self.freedom + (r / self.scale) ** 2)

    def scaled_to(self, r: np.ndarray) -> StudentT:
        scale = max(float(np.median(np.abs(r))), TINY)
        for _ in range(200):  # EM at least halves the error at each step
            weight = (self.freedom + 1) / (self.freedom + (r / scale) ** 2)
            scale, before = max(math.sqrt(float((weight * r * r).mean())), TINY), scale
            if abs(scale / before - 1) < SETTLED:
                break
        return self if abs(scale / self.scale - 1) < 10 * SETTLED else dataclasses.replace(self, scale=scale)


# Four degrees of freedom: the usual compromise (Lange et al. 1989), 0.94 as efficient as least squares on
# normal scatter and indifferent to a row that is far off.
FREEDOM = 4.0


def criterion(name: str, delta: float) -> Criterion:
    """The criterion of that name: huber_log, huber_raw, lad, lad_raw, mse, mse_raw or student_t.

    delta: where Huber's two turn linear, in log loss or in nats. Raises ValueError for an unknown name or a
    delta that is not positive.
    """
    if not (delta > 0 and math.isfinite(delta)):
        raise ValueError(f"delta={delta} is not positive")
    known: dict[str, Criterion] = {
        "huber_log": Huber(delta),
        "huber_raw": Huber(delta, raw=True),
        "lad": Absolute(),
        "lad_raw": Absolute(raw=True),
        "mse": Squares(),
        "mse_raw": Squares(raw=True),
        "student_t": StudentT(FREEDOM),
    }
    if name not in known:
        raise ValueError(f"criterion={name!r} is none of {', '.join(known)}")
    return known[name]
