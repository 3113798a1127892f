"""How a fit's uncertainty is drawn: resamples of the table, each fitted again from the optimum.

Shapes: n rows, P parameters, R resamples, k units: clusters of rows that belong to one run, or single rows.
Residuals (n,) are of centred log loss, in the order of the problem's rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from analysis.solver.components import components
from analysis.solver.minimise import Minimum
from analysis.solver.problem import Problem
from analysis.solver.sandwich import sandwich


def pairs(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, seed: int) -> Minimum:
    """Units drawn with replacement, as counts of each (Efron 1979): nothing is assumed of the scatter.

    Rows are drawn as Besiroglu et al. (2024) draw them, from numpy's legacy generator in the order of the
    source, so that their seed, 42, gives their resamples.
    """
    k = problem.units
    # The legacy stream is frozen for good, which is what makes a published draw repeatable.
    random = np.random.RandomState(seed)
    drawn = np.stack([np.bincount(random.choice(k, k), minlength=k) for _ in range(R)]).astype(float)
    weights = drawn[:, problem.source] if problem.cluster is None else problem.each_row(drawn)
    return problem.refit(theta, weights=weights)


def bayesian(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, seed: int) -> Minimum:
    """Units weighted at random with mean 1, exponentially (Rubin 1981): as `pairs`, but no row is ever left
    out altogether, so that a dozen rows still determine every resample.

    Where the sample is small the weights are gamma variables that spread wider (`_widened`).
    """
    spread = _widened(problem, residuals)
    drawn = np.random.default_rng(seed).gamma(1 / spread, spread, size=(R, problem.units))
    return problem.refit(theta, weights=problem.each_row(drawn))


def _widened(problem: Problem, residuals: np.ndarray) -> float:
    """Variance of the weights: 1 for many units, more for few.

    For least squares it is what Student's t and the degrees of freedom that the fit took ask for. A fit near
    least absolute deviations goes exactly through P rows instead, and its resamples jump between such rows:
    this makes them as wide as they should be without more ado. In between, by the share of rows that the
    criterion treats as least squares does.
    """
    k, P = problem.units, int(problem.free.sum())
    left = max(k - P, 2)
    square = float((stats.t.ppf(0.975, left) / stats.norm.ppf(0.975)) ** 2 * k / left)
    return square ** square_share(problem, residuals)


def square_share(problem: Problem, residuals: np.ndarray) -> float:
    """Share of the rows on which the criterion curves as it does at 0, of those that the fit does not go
    through: 1 for least squares, near 0 for least absolute deviations."""
    kept = np.argsort(np.abs(residuals), kind="stable")[int(problem.free.sum()) :]
    stiffness = problem.criterion.stiffness(residuals[kept] / problem.rows.noise[kept])
    return float(np.clip(stiffness / problem.criterion.steepness, 0, 1).mean())


# How far draws of a criterion with a corner keep from the fit, of where their refit puts them. Resampled
# medians spread too far at any size met here, as the rows around the corner come in lumps (Hall & Martin 1991
# for one median). Measured for Huber's loss at delta = 1e-3 and 0.6 % scatter: without it intervals of 60 and
# 240 rows hold the truth 97 to 98 % of the time, with it 95 to 96 %, and 94 % where the scatter is
# heavy-tailed or uneven.
CALM = 0.93


def calmed(problem: Problem, theta: np.ndarray, drawn: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Draws (R, P) moved towards the fit `theta` by what a corner of the criterion makes them exceed.

    For rows as units alone: with clusters the rows of a run are lumps in any case. A coordinate that a draw
    has at its bound stays there.
    """
    if problem.cluster is not None:
        return drawn
    factor = CALM ** (1 - square_share(problem, residuals))
    low, high = problem.bounds.T
    return np.where((drawn <= low) | (drawn >= high), drawn, theta + factor * (drawn - theta))


# Silverman's rule of thumb (1986, eq. 3.31) for the width of a kernel over n points.
SILVERMAN = 0.9


def residual(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, seed: int) -> Minimum:
    """Losses drawn around the law: the same N and D, the scatter that the residuals have.

    A smoothed residual bootstrap (Silverman & Young 1987), symmetric, at the scale left by n - P degrees of
    freedom. As a fit close to least absolute deviations goes exactly through P rows, the P smallest residuals
    are its doing and not the scatter's, and are not drawn. At a dozen rows the kernel is as wide as the
    scatter and the draws are nearly normal; at hundreds they keep the tails that the residuals have.
    """
    random = np.random.default_rng(seed)
    if problem.cluster is not None:
        return _nested(problem, theta, residuals, R, random)
    n, P = len(residuals), len(theta)
    standard = residuals / problem.rows.noise
    kept = standard[np.argsort(np.abs(standard), kind="stable")[min(P, n - 2) :]]
    scale = np.sqrt((standard**2).sum() / problem.freedom)
    drawn = scale * _smooth(kept, (R, n), random)
    return problem.refit(theta, problem.y - residuals + drawn * problem.rows.noise)


def _nested(
    problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, random: np.random.Generator
) -> Minimum:
    """One part drawn for each run and one for each row (Carpenter, Goldstein & Rasbash 2003)."""
    found = components(problem, theta, residuals)
    common, own = found.drawn(R, random)
    drawn = own[:, None] * _smooth(found.rows, (R, len(residuals)), random)
    drawn += problem.each_row(common[:, None] * _smooth(found.runs, (R, problem.units), random))
    return problem.refit(theta, problem.y - residuals + drawn * problem.rows.noise)


def _smooth(values: np.ndarray, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Draws of variance 1 from a kernel density of `values`, made symmetric."""
    width = SILVERMAN * _spread(values) * len(values) ** -0.2
    scale = np.sqrt((values**2).mean() + width**2)
    drawn = random.choice(values, size=shape) * random.choice([-1.0, 1.0], size=shape)
    drawn += width * random.standard_normal(shape)
    return drawn / scale if scale > 0 else np.zeros(shape)


def _spread(values: np.ndarray) -> float:
    """The smaller of standard deviation and interquartile range in normal units (Silverman 1986)."""
    quartile = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349
    return min(float(values.std()), quartile) if quartile > 0 else float(values.std())


def parametric(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, seed: int) -> Minimum:
    """Losses drawn around the law with normal scatter, for clusters with one part common to a run's rows.

    Each draw has a scale of its own, as unsure as the degrees of freedom leave it.
    """
    random = np.random.default_rng(seed)
    n = len(residuals)
    if problem.cluster is not None:
        common, own = components(problem, theta, residuals).drawn(R, random)
        drawn = problem.each_row(common[:, None] * random.standard_normal((R, problem.units)))
    else:
        total = ((residuals / problem.rows.noise) ** 2).sum()
        own, drawn = np.sqrt(total / random.chisquare(problem.freedom, R)), np.zeros((R, n))
    drawn = drawn + own[:, None] * random.standard_normal((R, n))
    return problem.refit(theta, problem.y - residuals + drawn * problem.rows.noise)


# Webb's six points (2013): eight clusters with signs alone have 256 draws, with these a million.
WEBB = np.sqrt([0.5, 1.0, 1.5])


def wild(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, seed: int) -> Minimum:
    """Each unit's own residuals with random signs (Wu 1986; by cluster, Cameron, Gelbach & Miller 2008): the
    scatter may differ from unit to unit, and may be common to the rows of a run in any way."""
    random = np.random.default_rng(seed)
    k = problem.units
    points = np.concatenate([-WEBB, WEBB]) if problem.cluster is not None else np.array([-1.0, 1.0])
    drawn = problem.each_row(random.choice(points, size=(R, k)))
    enlarged = np.sqrt(len(residuals) / problem.freedom) * residuals
    return problem.refit(theta, problem.y - residuals + enlarged * drawn)


def asymptotic(problem: Problem, theta: np.ndarray, residuals: np.ndarray, R: int, seed: int) -> Minimum:
    """Normal draws with the sandwich covariance, clustered where rows are: nothing is fitted again, which at
    thousands of rows makes no difference that a resample could show."""
    random = np.random.default_rng(seed)
    found = sandwich(problem, theta, residuals)
    values, vectors = np.linalg.eigh(found.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = theta + random.standard_normal((R, len(theta))) @ root.T
    low, high = problem.bounds.T
    return Minimum(np.clip(drawn, low, high), np.full(R, np.nan), np.zeros((R, len(theta))), 0)


# Those that refit the table's own losses, and meet the corners of a criterion as often as they are drawn.
CORNERED = ("pairs", "bayesian")

Method = Callable[[Problem, np.ndarray, np.ndarray, int, int], Minimum]
METHODS: dict[str, Method] = {
    "pairs": pairs,
    "bayesian": bayesian,
    "residual": residual,
    "parametric": parametric,
    "wild": wild,
    "asymptotic": asymptotic,
}

# bench/results/coverage.json has the measurement. Exponential weights hold the truth as often as they say
# from a dozen rows on, where pairs are too wide; of 8 to 15 runs of several rows, whose weights move in
# lumps, they hold it too often, and drawn residuals do not. From about here on all agree, and pairs are what
# is published.
PAIRS_FROM = 120
# A refit of a thousand resamples of more rows than this takes minutes and moves no interval by a tenth.
ASYMPTOTIC_FROM = 5000


def chosen(method: str, problem: Problem) -> str:
    """The method's name, "auto" resolved for the problem. Raises ValueError for an unknown one."""
    if method == "auto":
        if len(problem.y) >= ASYMPTOTIC_FROM:
            return "asymptotic"
        if problem.units >= PAIRS_FROM:
            return "pairs"
        return "bayesian" if problem.cluster is None else "residual"
    if method not in METHODS:
        raise ValueError(f"interval={method!r} is none of auto, {', '.join(sorted(METHODS))}")
    return method
