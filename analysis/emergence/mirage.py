"""Is the jump made by the metric? The search repeated on metrics that move with every probability.

Schaeffer et al. 2023 (arXiv:2304.15004): per-token probabilities that improve smoothly make exact match over
L tokens, about p^L, jump. So the same search is done on answer-token NLL or Brier where the table has them,
and on p = score^(1 / L) where it tells the answer's length.

survives: the companion has a threshold too, and no improvement below its own. vanishes: it improves
smoothly, and clearly so below the threshold where the score shows nothing. undecided: neither can be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from analysis.emergence.curves import Curve
from analysis.emergence.detect import Detection, detect
from analysis.emergence.noise import FITTED

SURE = 0.01  # level of both tests, each of which decides for one side
HINT = 0.05  # a threshold in the companion at this level keeps it from being called smooth
FEWEST_BELOW = 3  # points below the threshold, to see an improvement there


def verdict(
    curve: Curve,
    threshold: float,
    others: Sequence[Curve],
    *,
    share: float,
    bootstrap: int,
    seed: int,
) -> tuple[str | None, str]:
    """survives, vanishes or undecided, and why; None where there is nothing to repeat the search on.

    threshold: log10 of the onset. others: the task's continuous metrics.
    """
    companions = list(others)
    if curve.length is not None and curve.length > 1 and not curve.continuous:
        companions.append(per_token(curve))
    seen = [_one(c, threshold, share=share, bootstrap=bootstrap, seed=seed) for c in companions]
    if not seen:
        return None, ""
    for side in ("vanishes", "survives"):
        if any(said == side for said, _ in seen) and all(said in (side, "undecided") for said, _ in seen):
            return next((said, why) for said, why in seen if said == side)
    return "undecided", "; ".join(why for _, why in seen)


def per_token(curve: Curve) -> Curve:
    """score^(1 / L): the probability that a token is right, were they independent.

    A score of nothing out of n says only that p^L < 1 / n; it is taken as half an item.
    """
    least = 0.5 / (curve.items if curve.items is not None else 100.0)
    length = float(curve.length or 1)
    p = np.clip(curve.y, least, 1.0) ** (1 / length)
    return replace(curve, metric=f"{curve.metric}^(1/{length:g})", y=p, items=None, chance=None, length=None)


def _one(companion: Curve, threshold: float, *, share: float, bootstrap: int, seed: int) -> tuple[str, str]:
    name = companion.metric
    try:
        there = detect(companion, share=share, bootstrap=bootstrap, seed=seed)
    except ValueError as error:
        return "undecided", f"{name}: {error}"
    if there.p_value <= SURE and improvement(companion, there, below=there.onset) > SURE:
        return (
            "survives",
            f"{name} has a threshold too, at {companion.at(there.onset):.2g} (p = {there.p_value:.2g})",
        )
    p_below = improvement(companion, there, below=threshold)
    if there.p_value > HINT and p_below <= SURE:
        return "vanishes", f"{name} improves smoothly, below the threshold too (p = {p_below:.2g})"
    return "undecided", f"{name} shows neither a threshold (p = {there.p_value:.2g}) nor a smooth rise"


def improvement(curve: Curve, there: Detection, *, below: float) -> float:
    """One-sided p-value of a rise of y with x among the points up to x = below (log10); 1 for too few.

    The scatter is that about the curve as a whole, which a few points could not tell.
    """
    points = curve.x <= below + 1e-9
    x, y = curve.x[points], curve.y[points]
    if points.sum() < FEWEST_BELOW or np.ptp(x) == 0:
        return 1.0
    variance = there.noise.variance(there.closest[points] / there.unit) * there.unit**2
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    error = np.sqrt((weight**2 * variance).sum())
    return float(stats.t.sf((weight * y).sum() / error, max(len(curve.x) - FITTED, 1)))
