"""How far a run's loss lies above what other runs say it could have been, without any law fitted."""

import numpy as np
import pandas as pd

from analysis.tables.flags import optional
from analysis.tables.replicates import SAME, configurations, seed_noise

FAMILY = ("architecture", "objective", "data", "dataset", "tokenizer")
# The steepest slope of log L in log N or log D that a law with measured exponents has: 0.6, that of Gemstones
# in D, and less wherever there is a floor. A larger run may be better by that much and no more.
STEEPEST = 0.6
# Runs that are compared with: past this many, an even sample of them. Each bounds all runs larger than it.
WITNESSES = 250
CHUNK = 100_000  # comparisons at a time: arrays that stay in a core's cache
# Up to four epochs repeated tokens are worth nearly what fresh ones are; from there on a run may get worse
# with more of them (Muennighoff et al. 2023).
EPOCHS = 4


def excess(table: pd.DataFrame, *, steepest: float, witnesses: int) -> np.ndarray:
    """log L minus what `witnesses` other runs agree it need not exceed: (n,), -inf where they cannot tell.

    Run j says of run i that log L_i <= log L_j + steepest (log+ (N_j / N_i) + log+ (D_j / D_i)), where log+
    is 0 for a ratio below 1: loss does not rise with size or data, and falls no faster than `steepest`. With
    steepest = inf only runs that are no larger and no longer, within 1 %, have a say. Runs are compared
    within one architecture, objective and data set; those of more than four epochs are not judged.
    """
    out = np.full(len(table), -np.inf)
    family = configurations(table, FAMILY).to_numpy()
    n, d, y = (np.log(table[name].to_numpy(float)) for name in ("N", "D", "loss"))
    many = np.zeros(len(table), dtype=bool)
    if "unique_tokens" in table:
        worth = EPOCHS * optional(table, "unique_tokens")
        worth = np.where(worth > 0, worth, np.inf)
        many = d > np.log(worth)
        d = np.minimum(d, np.log(worth))
    for group in np.unique(family):
        rows = np.flatnonzero(family == group)
        if len(rows) > witnesses:
            out[rows] = _excess(n[rows], d[rows], y[rows], steepest, witnesses)
    return np.where(many, -np.inf, out)


def _excess(n: np.ndarray, d: np.ndarray, y: np.ndarray, steepest: float, witnesses: int) -> np.ndarray:
    chosen = np.lexsort((y, d, n))
    if len(n) > WITNESSES:
        chosen = chosen[np.linspace(0, len(n) - 1, WITNESSES).astype(int)]
    out = np.empty(len(n))
    size = max(1, CHUNK // len(chosen))
    for at in range(0, len(n), size):
        rows = np.arange(at, min(at + size, len(n)))
        larger = np.maximum(n[chosen] - n[rows, None], 0) + np.maximum(d[chosen] - d[rows, None], 0)
        with np.errstate(invalid="ignore"):
            rise = np.where(larger <= 2 * SAME, 0.0, steepest * larger)
        bound = np.where(rows[:, None] == chosen, np.inf, y[chosen] + rise)
        out[rows] = y[rows] - np.partition(bound, witnesses - 1, axis=1)[:, witnesses - 1]
    return out


# A quadratic of log N and log D has six coefficients; twice as many rows leave something to see scatter in.
LEAST_ROWS = 12
STEPS = 12  # of iterated least squares: enough for a scale that is used as a rough one


def scatter(table: pd.DataFrame) -> float | None:
    """Standard deviation of log loss around its neighbours: of repeats where there are enough, else around
    quadratics of log N and log D, one an architecture, objective and data set, by least absolute deviations,
    from the median residual. Where a quadratic does not bend as the losses do, it errs upwards. None where no
    group has 12 rows.
    """
    noise = seed_noise(table)
    if noise is not None and noise.freedom >= LEAST_ROWS:
        return noise.sigma
    logs = np.log(table[["N", "D", "loss"]].to_numpy(float))
    family = configurations(table, FAMILY).to_numpy()
    groups = [logs[family == group] for group in np.unique(family)]
    found = [_residuals(*group.T) for group in groups if len(group) >= LEAST_ROWS]
    return 1.4826 * float(np.median(np.concatenate(found))) if found else None


def _residuals(n: np.ndarray, d: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Absolute residuals (n,) of the quadratic, at the scale of the degrees of freedom it leaves."""
    n, d = n - n.mean(), d - d.mean()
    X = np.stack([np.ones_like(n), n, d, n * n, n * d, d * d], axis=1)
    X /= np.maximum(np.linalg.norm(X, axis=0), 1e-300)
    r = np.ones_like(y)
    for _ in range(STEPS):
        weight = 1 / np.sqrt(np.maximum(r, 1e-6))
        beta = np.linalg.lstsq(X * weight[:, None], y * weight, rcond=1e-9)[0]
        r = np.abs(y - X @ beta)
    return r * np.sqrt(len(y) / (len(y) - X.shape[1]))
