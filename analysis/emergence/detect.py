"""Is there a threshold? Ramps with a floor against everything smooth, by likelihood ratio, calibrated.

The statistic is m log(S_smooth / S_abrupt), the weighted residual sums of squares of the best smooth shape
and of the best ramp (`shapes`). Its distribution under smoothness is drawn: curves simulated around the best
smooth shape with the scatter that was found (`noise`), put through the same search. A p-value so made pays
for the search over places and widths, at 8 points as at 500.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.emergence import noise, shapes
from analysis.emergence.curves import Curve
from analysis.emergence.noise import MANY, Noise
from analysis.emergence.shapes import Ramps

ONSETS = 40  # places on the grid: 0.1 decades apart in a range of four
WIDTHS = 8
FEWEST = 6  # points; with five, ramp and scatter take four parameters
# Squares that both sides of a ratio get for free, in units of the noise: a fit through every point of a short
# curve is no infinite evidence.
PRIOR = 0.5
HUBER = 1.345  # 95 % as good as least squares where the scatter is normal
PASSES = 3  # of the pilot's weights
# For the score: of sharper rises than these it is told how much sharper they are. A straight line's takes
# 0.8.
EYE = 0.7
TAIL = 0.9  # beyond this quantile the simulated statistics are continued as an exponential


@dataclass(frozen=True)
class Detection:
    """What was found on one curve. Levels are in the curve's own units."""

    statistic: float
    p_value: float
    """Of the statistic under the best smooth shape."""
    p_trend: float
    """Of the rise, of whatever shape, under a constant."""
    score: float
    """How emergent the curve looks: the log ratio a point against shapes an eye calls smooth, times the
    rise."""
    effect: float
    """log(S_smooth / S_abrupt) with no model discounted: 0.5 says that the ramp leaves 0.6 of the
    variance."""
    by_items: bool
    """Whether the size of the test sets explains most of the scatter."""
    onset: float
    """log10 of x where the best ramp begins."""
    width: float
    """Decades that it rises over."""
    base: float
    rise: float
    level: float
    """Mean score, weighted: that of a flat curve."""
    ramp: np.ndarray
    """The best ramp at the curve's points."""
    smooth: np.ndarray
    """The best smooth shape there."""
    noise: Noise
    """In units of `unit`."""
    unit: float

    @property
    def closest(self) -> np.ndarray:
        """The better of the two."""
        return self.ramp if self.statistic > 0 else self.smooth


@dataclass(frozen=True)
class Fits:
    """A curve ready to be searched: u, shapes at its points, weights, noise."""

    u: np.ndarray
    smooth: np.ndarray
    ramps: Ramps
    abrupt: np.ndarray
    weight: np.ndarray
    """1 / variance, less for points far from the pilot (Huber)."""
    even: np.ndarray
    """1 / variance."""
    noise: Noise


def prepare(curve: Curve, y: np.ndarray, *, share: float) -> Fits:
    """Shapes, and the scatter about a pilot: the best of all shapes, by weights of its own scatter."""
    u = (curve.x - curve.x[0]) / (curve.x[-1] - curve.x[0] or 1.0)
    ramps = shapes.abrupt(u, ONSETS, WIDTHS)
    smooth, abrupt = shapes.smooth(u, share), ramps(u)
    both, weight = np.concatenate([smooth, abrupt]), np.ones(len(u))
    for _ in range(PASSES):
        g = both[shapes.squares(y[None], both, weight)[0][0].argmin()]
        a, b = shapes.fitted(y, g, weight)
        found = noise.estimate(y, a + b * g, curve.items, curve.bounded)
        even = 1 / found.variance(a + b * g)
        weight = even * _huber(np.abs(y - a - b * g) * np.sqrt(even))
    return Fits(u, smooth, ramps, abrupt, weight, even, found)


def _huber(z: np.ndarray) -> np.ndarray:
    """Weights for standardised residuals; of a short curve every point counts, its jump may be one of
    them."""
    return np.minimum(1, HUBER / np.maximum(z, HUBER)) if len(z) >= MANY else np.ones_like(z)


def ratio(Y: np.ndarray, smooth: np.ndarray, abrupt: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """log(S_smooth / S_abrupt) of curves Y (B, m): (B,)."""
    best = [shapes.squares(Y, G, weight)[0].min(axis=1) for G in (smooth, abrupt)]
    return np.log((best[0] + PRIOR) / (best[1] + PRIOR))


def trend(Y: np.ndarray, fits: Fits) -> np.ndarray:
    """m log(S_constant / S_best) of curves Y: (B,)."""
    best = [shapes.squares(Y, G, fits.weight)[0].min(axis=1) for G in (fits.smooth, fits.abrupt)]
    constant = ((Y - np.average(Y, axis=1, weights=fits.weight)[:, None]) ** 2) @ fits.weight
    return Y.shape[1] * np.log((constant + PRIOR) / (np.minimum(*best) + PRIOR))


def detect(curve: Curve, *, share: float, bootstrap: int, seed: int) -> Detection:
    """Search one curve. share: as in `shapes.smooth`; bootstrap: simulated curves behind each p-value.

    Raises ValueError for fewer than 6 points or 4 sizes.
    """
    m = len(curve.x)
    if m < FEWEST:
        raise ValueError(f"{m} points are too few")
    # Metrics without a scale of their own are measured in units of their range.
    unit = 1.0 if curve.bounded else float(np.ptp(curve.y)) or 1.0
    y = curve.y / unit
    fits = prepare(curve, y, share=share)
    random = np.random.default_rng(seed)
    (_, smooth), (ramp, sharp) = (_best(y, G, fits.weight) for G in (fits.smooth, fits.abrupt))
    search = fits.smooth, fits.abrupt, fits.weight
    observed = m * float(ratio(y[None], *search)[0])
    drawn = m * ratio(fits.noise.draw(smooth, bootstrap, random), *search)
    level = float(np.average(y, weights=fits.weight))
    constant = trend(fits.noise.draw(np.full(m, level), bootstrap, random), fits)
    base, rise = shapes.fitted(y, fits.abrupt[ramp], fits.weight)
    span = curve.x[-1] - curve.x[0]
    return Detection(
        statistic=observed,
        p_value=tail(observed, drawn),
        p_trend=tail(float(trend(y[None], fits)[0]), constant),
        score=float(ratio(y[None], shapes.smooth(fits.u, EYE), fits.abrupt, fits.weight)[0]) * rise,
        effect=float(ratio(y[None], fits.smooth, fits.abrupt, fits.even)[0]),
        by_items=fits.noise.by_items(sharp),
        onset=float(curve.x[0] + span * fits.ramps.onset[ramp]),
        width=float(span * fits.ramps.width[ramp]),
        base=base * unit,
        rise=rise * unit,
        level=level * unit,
        ramp=sharp * unit,
        smooth=smooth * unit,
        noise=fits.noise,
        unit=unit,
    )


def _best(y: np.ndarray, G: np.ndarray, weight: np.ndarray) -> tuple[int, np.ndarray]:
    """Which of the shapes fits best, and the fitted curve."""
    k = int(shapes.squares(y[None], G, weight)[0][0].argmin())
    a, b = shapes.fitted(y, G[k], weight)
    return k, a + b * G[k]


def tail(observed: float, drawn: np.ndarray) -> float:
    """Share of draws at least as large; beyond their 90 % quantile, by the exponential that fits the rest.

    The extrapolation lets a table of hundreds of tasks be corrected for without a million draws each.
    """
    cut = float(np.quantile(drawn, TAIL))
    if observed <= cut:
        return float((1 + (drawn >= observed).sum()) / (len(drawn) + 1))
    scale = float((drawn[drawn > cut] - cut).mean()) if (drawn > cut).any() else 0.0
    return float((1 - TAIL) * np.exp(-(observed - cut) / scale)) if scale > 0 else 0.0
