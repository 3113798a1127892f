"""How far points scatter about a curve: binomial in the items, and what models differ by beside their
size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

# Points from which the scatter is allowed to differ between floor and rise; fewer know one number.
MANY = 25
EDGE = 0.003  # scores are kept this far from 0 and 1 where a variance is asked of them
LEAST = 1e-5  # variance below which no score is known: 0.3 %
FITTED = 4.0  # parameters of the pilot: offset, rise, place, width


@dataclass(frozen=True)
class Noise:
    """Variance of a point at the level p of its curve: p (1 - p) / n + c0 + c1 p (1 - p) + c2 g(p), where g
    is 0 at the curve's floor and 1 at its top: families differ where a task is learned, not below."""

    c: np.ndarray
    low: float
    high: float
    items: np.ndarray | None
    bounded: bool

    def variance(self, p: np.ndarray) -> np.ndarray:
        return _binomial(p, self.items, self.bounded) + self._basis(p) @ self.c + LEAST

    def by_items(self, p: np.ndarray) -> bool:
        """Whether most of the variance at the levels p is that of n items, of the same difficulty to all."""
        return bool(2 * _binomial(p, self.items, self.bounded).mean() > self.variance(p).mean())

    def _basis(self, p: np.ndarray) -> np.ndarray:
        return _basis(p, self.low, self.high, self.bounded)

    def draw(self, p: np.ndarray, curves: int, random: np.random.Generator) -> np.ndarray:
        """Simulated curves (curves, m) about the levels p (m,): beta where scores are shares, else normal."""
        v = self.variance(p)
        if not self.bounded:
            return p + np.sqrt(v) * random.standard_normal((curves, len(p)))
        p = np.clip(p, EDGE, 1 - EDGE)
        # A share cannot vary by more than p (1 - p).
        size = p * (1 - p) / np.minimum(v, 0.9 * p * (1 - p)) - 1
        return random.beta(p * size, (1 - p) * size, size=(curves, len(p)))


def estimate(y: np.ndarray, p: np.ndarray, items: np.ndarray | None, bounded: bool) -> Noise:
    """From the squared residuals of y about a pilot p, beyond what the items explain."""
    m, low, high = len(y), float(p.min()), float(p.max())
    squared = (y - p) ** 2 * m / max(m - FITTED, 2.0)
    binomial = _binomial(p, items, bounded)
    basis, extra = _basis(p, low, high, bounded), np.maximum(squared - binomial, 0)
    if m < MANY:
        # One number: a multiple of p (1 - p) for shares, of a constant for the rest.
        column = 1 if bounded else 0
        beyond = max(float((squared - binomial).mean()), 0.0)
        c = np.zeros(3)
        c[column] = beyond / basis[:, column].mean()
        return Noise(c, low, high, items, bounded)
    variance, c = np.full(m, squared.mean() + LEAST), np.zeros(3)
    for _ in range(6):  # weights by the variances found last: converged to a per cent or two by then
        c, _ = nnls(basis / variance[:, None], extra / variance)
        variance = binomial + basis @ c + LEAST
    return Noise(c, low, high, items, bounded)


def _binomial(p: np.ndarray, items: np.ndarray | None, bounded: bool) -> np.ndarray:
    if items is None or not bounded:
        return np.zeros_like(p)
    p = np.clip(p, EDGE, 1 - EDGE)
    return p * (1 - p) / items


def _basis(p: np.ndarray, low: float, high: float, bounded: bool) -> np.ndarray:
    risen = np.clip((p - low) / max(high - low, 1e-9), 0, 1)
    inside = np.clip(p, EDGE, 1 - EDGE)
    return np.stack(
        [np.ones_like(p), inside * (1 - inside) if bounded else risen * (1 - risen), risen], axis=-1
    )
