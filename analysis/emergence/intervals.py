"""Where the threshold is, and how well that is known: the onsets that a likelihood ratio cannot exclude.

The ratio is m log(S(t) / S_min), the best ramp with its onset at t against the best of all. How large it gets
where t is the truth is drawn: curves simulated around the best ramp, searched again. Between two sizes it is
flat, and the interval holds the whole gap; chi-square quantiles would not be right there.
"""

from __future__ import annotations

import numpy as np

from analysis.emergence import shapes
from analysis.emergence.curves import Curve
from analysis.emergence.detect import PRIOR, prepare
from analysis.emergence.noise import FITTED

# Places on the grid of onsets, and widths of each. With half as many of both, intervals of 60 precise points
# hold the truth 85 % of the time.
FINE = (200, 40)
AT_ONCE = 100  # simulated curves fitted together: 8,000 shapes of each
LEVEL = 0.95


def threshold(curve: Curve, *, share: float, bootstrap: int, seed: int) -> tuple[float, float, float]:
    """log10 of x: the onset, and the ends of its 95 % interval. bootstrap: simulated curves behind it."""
    unit = 1.0 if curve.bounded else float(np.ptp(curve.y)) or 1.0
    fits = prepare(curve, curve.y / unit, share=share)
    ramps = shapes.abrupt(fits.u, *FINE)
    G, (places, first) = ramps(fits.u), np.unique(ramps.onset, return_index=True)

    def ratios(Y: np.ndarray) -> np.ndarray:
        """(B, places): m log(S(t) / S_min)."""
        parts = np.split(Y, range(AT_ONCE, len(Y), AT_ONCE))
        S = [np.minimum.reduceat(shapes.squares(part, G, fits.weight)[0], first, axis=1) for part in parts]
        S = np.concatenate(S) + PRIOR
        return len(fits.u) * np.log(S / S.min(axis=1, keepdims=True))

    observed = ratios(curve.y[None] / unit)[0]
    best = int(observed.argmin())
    k = np.flatnonzero(ramps.onset == places[best])
    k = k[shapes.squares(curve.y[None] / unit, G[k], fits.weight)[0][0].argmin()]
    a, b = shapes.fitted(curve.y / unit, G[k], fits.weight)
    drawn = fits.noise.draw(a + b * G[k], bootstrap, np.random.default_rng(seed))
    # As F is to chi-square: the scatter itself was estimated, beside four parameters.
    freedom = len(fits.u) / max(len(fits.u) - FITTED, 2.0)
    bound = freedom * float(np.quantile(ratios(drawn)[:, best], LEVEL))
    inside = places[observed <= max(bound, 0.0)]
    step = places[1] - places[0] if len(places) > 1 else 0.0
    low, high = max(inside.min() - step / 2, 0.0), min(inside.max() + step / 2, 1.0)
    flat = places[observed <= observed.min() + 1e-9]  # a gap in which every onset fits as well
    span = curve.x[-1] - curve.x[0]
    return tuple(float(curve.x[0] + span * at) for at in (flat.mean(), low, high))  # pyright: ignore
