"""Change points along training: levels or lines between breaks on an axis of log step, their number
penalised.

The best segmentation is found exactly (Jackson et al. 2005, optimal partitioning). The penalty a break is c
sigma^2 log n, with c such that one curve in twenty without a break (a level, or a line, and normal noise on
the same checkpoints) would be given one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Points of a segment at the least. A single checkpoint may have a level: between log-spaced checkpoints a
# phase may pass; a line through two says nothing.
SHORTEST = {"level": 1, "slope": 3}
NULLS = 400  # simulated curves behind the penalty
FALSE_POSITIVES = 0.05
FEWEST = 6
# Noise below this share of the range is not believed: a floor of exact zeros has none.
LEAST = 2e-3


def change_points(step: np.ndarray, y: np.ndarray, *, kind: str, seed: int) -> list[int]:
    """Indices at which a new segment begins. step: training steps, increasing, from 0 on; y: a score or a
    loss.

    kind: what changes, the "level" (for a score with a floor) or the "slope" (for a loss that falls
    throughout). Raises ValueError for another kind, steps that do not increase, values that are not numbers,
    or fewer than 6 points.
    """
    if kind not in SHORTEST:
        raise ValueError(f"kind={kind!r} is none of {', '.join(SHORTEST)}")
    x, y = _checked(step, y)
    penalty = _factor(tuple(x), kind, seed) * _variance(x, y) * np.log(len(x))
    return _partition(_costs(x, y, kind), penalty)


def onset(step: np.ndarray, y: np.ndarray, *, seed: int) -> tuple[float, float] | None:
    """The first break after which y stays above all that was before, segment by segment: the checkpoints
    before and after it. None without one."""
    breaks = change_points(step, y, kind="level", seed=seed)
    levels = [float(part.mean()) for part in np.split(y, breaks)[1:]]
    for k, start in enumerate(breaks):
        if min(levels[k:]) > np.max(y[:start]):
            return float(step[start - 1]), float(step[start])
    return None


def _checked(step: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(step) < FEWEST:
        raise ValueError(f"{len(step)} checkpoints are too few for a change point: it takes {FEWEST}")
    if not np.isfinite(y).all() or not np.isfinite(step).all() or (step < 0).any():
        raise ValueError("checkpoints need steps from 0 on and values that are numbers")
    if (np.diff(step) <= 0).any():
        raise ValueError("steps do not increase: one row a checkpoint, in order")
    return np.log10(step + 1.0), np.asarray(y, float)  # + 1: step 0 has a place


def _costs(x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """(n, n + 1): squares about the mean, or the line, of points i to j - 1; infinite where they are too
    few."""
    n = len(x)
    sums = [np.concatenate([[0.0], np.cumsum(v)]) for v in (np.ones(n), x, y, x * x, x * y, y * y)]
    count, sx, sy, sxx, sxy, syy = (s[None, :] - s[:-1, None] for s in sums)
    with np.errstate(all="ignore"):
        vx, vxy, vy = sxx - sx**2 / count, sxy - sx * sy / count, syy - sy**2 / count
        cost = np.maximum(vy - (vxy**2 / vx if kind == "slope" else 0.0), 0.0)
    cost[count < SHORTEST[kind]] = np.inf
    return cost


def _partition(cost: np.ndarray, penalty: float) -> list[int]:
    n = len(cost)
    best, last = np.concatenate([[-penalty], np.full(n, np.inf)]), np.zeros(n + 1, int)
    for end in range(1, n + 1):
        total = best[:end] + cost[:end, end] + penalty
        last[end] = int(total.argmin())
        best[end] = total[last[end]]
    breaks, end = [], n
    while last[end] > 0:
        end = int(last[end])
        breaks.append(end)
    return breaks[::-1]


def _variance(x: np.ndarray, y: np.ndarray) -> float:
    """Of the noise, from how far each point lies off the line through its neighbours; robust to the
    breaks."""
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    off = y[1:-1] - (1 - share) * y[:-2] - share * y[2:]
    squared = off**2 / (1 + share**2 + (1 - share) ** 2)
    return float(max(np.median(squared) / 0.4549, (LEAST * np.ptp(y)) ** 2))  # median of chi-square with 1


@lru_cache  # runs of one table share their checkpoints
def _factor(steps: tuple[float, ...], kind: str, seed: int) -> float:
    """c: the 95 % quantile of the best single break's gain over sigma^2 log n, where there is no break."""
    x, random = np.array(steps), np.random.default_rng(seed)
    gains = []
    for noise in random.standard_normal((NULLS, len(x))):
        cost = _costs(x, noise, kind)
        split = (cost[0, :-1] + cost[:, -1]).min()
        gains.append((cost[0, -1] - split) / (_variance(x, noise) * np.log(len(x))))
    return float(np.quantile(gains, 1 - FALSE_POSITIVES))
