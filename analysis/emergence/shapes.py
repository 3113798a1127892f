"""Shapes that a curve can have, as functions g(u) up to scale and offset: y = a + b g(u), b >= 0.

u: x over the range of the data, 0 at the smallest size and 1 at the largest. Shapes come as arrays (K, m): K
of them at m points. With place and width on a grid, a and b are a weighted least-squares problem in closed
form, so that thousands of simulated curves are fitted in one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A sigmoid rises from 10 to 90 % within this many of its scale parameters: 2 log 9.
TEN_TO_NINETY = 2 * np.log(9)
DENSE = np.linspace(0, 1, 201)
# A curve that has made a tenth of its rise within this share of the range shows no floor.
NO_FLOOR = 0.1
# Room below the threshold: three sizes and this share of the range; fewer cannot show a floor.
ROOM, SIZES_BELOW = 0.15, 3


@dataclass(frozen=True)
class Ramps:
    """Hinges with a plateau: 0 up to `onset`, then linear over `width`, then 1. A width that reaches the end
    of the range has no plateau; width 0 is a step."""

    onset: np.ndarray
    width: np.ndarray

    def __call__(self, u: np.ndarray) -> np.ndarray:
        return np.clip((u - self.onset[:, None]) / self.width[:, None], 0, 1)


STEP = 1e-3  # width of a ramp that is a step, in shares of the range


def abrupt(u: np.ndarray, onsets: int, widths: int) -> Ramps:
    """Ramps whose onset leaves room for a floor below it, and data above it: so many places, and widths
    each."""
    places = np.linspace(*bounds(u), onsets)
    pairs = [(t, w) for t in places for w in np.unique([STEP, *np.linspace(0, max(1 - t, STEP), widths)[1:]])]
    onset, width = np.array(pairs).T
    return Ramps(onset, width)


def bounds(u: np.ndarray) -> tuple[float, float]:
    """Lowest and highest onset that the sizes can show. Raises ValueError where there is none."""
    sizes = np.unique(u)
    if len(sizes) < SIZES_BELOW + 1:
        raise ValueError(f"{len(sizes)} sizes are too few to show a floor and a rise")
    low = max(sizes[SIZES_BELOW - 1], ROOM)
    # Of many points a few per cent have to lie above, so that one outlier at the end makes no threshold.
    high = max(min(sizes[-2], float(np.quantile(u, 0.97))), low)
    return float(low), float(high)


def smooth(u: np.ndarray, share: float) -> np.ndarray:
    """Everything that is called smooth: rises that take more than `share` of the range from 10 to 90 % of
    what is seen of them, and rises that begin at once.

    Lines, sigmoids, saturating power laws in the error (exponentials in u), and hinges of either sort that
    the rule admits.
    """
    sigmoids = [(c, w / TEN_TO_NINETY) for c in np.linspace(-1, 2, 25) for w in np.geomspace(share / 2, 6, 9)]
    early = [(t, w) for t in np.linspace(0, 0.3, 7) for w in (0.2, 0.35, 0.5, 0.75, 1 - t)]
    ramps = Ramps(*np.array(early).T)

    def shapes(at: np.ndarray) -> np.ndarray:
        rising = [1 / (1 + np.exp(-(at - c) / s)) for c, s in sigmoids]
        power = [-np.exp(-a * at) for a in np.geomspace(0.5, 12, 10)]
        return np.concatenate([[at], rising, power, ramps(at)])

    return shapes(u)[_is_smooth(shapes(DENSE), share)]


def _is_smooth(dense: np.ndarray, share: float) -> np.ndarray:
    risen = (dense - dense[:, :1]) / (dense[:, -1:] - dense[:, :1])
    begin, end = (DENSE[(risen < part).sum(axis=1).clip(max=len(DENSE) - 1)] for part in (0.1, 0.9))
    return (end - begin >= share) | (begin <= NO_FLOOR)


def squares(Y: np.ndarray, G: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of squares of the best a + b g to curves Y (B, m), for shapes G (K, m): (B, K), and b."""
    total = weight.sum()
    Y = Y - (Y @ weight)[:, None] / total
    G = G - (G @ weight)[:, None] / total
    gg, yy, yg = (G**2) @ weight, (Y**2) @ weight, (Y * weight) @ G.T
    b = np.maximum(np.divide(yg, gg, out=np.zeros_like(yg), where=gg > 1e-9), 0)
    return yy[:, None] - b * (2 * yg - b * gg), b


def fitted(y: np.ndarray, g: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Offset a and rise b of the best a + b g to one curve."""
    _, b = squares(y[None], g[None], weight)
    rise = float(b[0, 0])
    return float(np.average(y - rise * g, weights=weight)), rise
