"""Scatter drawn as it is: how much of it rows of a run, or the same point of several groups, have in common.

n rows, P parameters, R draws.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from analysis.comparing.pairing import Pairing
from analysis.solver.resample import SILVERMAN

# Columns of the gradient along which nothing moves, next to the one along which most does.
EMPTY = 1e-10


def scatter(
    pairing: Pairing, residuals: np.ndarray, J: np.ndarray, R: int, rng: np.random.Generator
) -> np.ndarray:
    """(R, n) draws of the scatter behind the residuals (n,) of a fit with gradient J (n, P).

    Each group at its own scale; the shape is that of all together, smoothed and symmetric as in
    `analysis.solver.resample.residual`. Rows of a cluster, and of a unit, have an effect in common (a
    random-effects bootstrap, Davison & Hinkley 1997, sec. 3.8), of a variance as unsure in each draw as
    `variances` has it.
    """
    n, P = J.shape
    rows = np.bincount(pairing.group)
    freedom = rows * (1 - P / n)  # a group's share of the parameters is its share of the rows
    scale = np.sqrt(np.bincount(pairing.group, residuals**2) / freedom)[pairing.group]
    z = np.divide(residuals, scale, out=np.zeros(n), where=scale > 0)
    # A robust fit goes through about as many rows as it has parameters: that is no scatter of theirs.
    pool = z[np.argsort(np.abs(z), kind="stable")[min(P, n - 2) :]]
    width = SILVERMAN * float(pool.std()) * len(pool) ** -0.2
    shape = np.sqrt((pool**2).mean() + width**2)

    def drawn(count: int) -> np.ndarray:
        values = rng.choice(pool, size=(R, count)) * rng.choice([-1.0, 1.0], size=(R, count))
        return (values + width * rng.standard_normal((R, count))) / (shape if shape > 0 else 1.0)

    slope = J / np.where(scale > 0, scale, 1.0)[:, None]
    out = np.zeros((R, n))
    for label, variance in zip(levels(pairing), variances(pairing, z, slope, R, rng).T, strict=True):
        out += np.sqrt(variance)[:, None] * drawn(label.max() + 1)[:, label]
    return scale * out


def levels(pairing: Pairing) -> list[np.ndarray]:
    """What rows may have an effect in common by: themselves, their cluster, their unit; (n,) numbers each."""
    out = [np.arange(len(pairing.group))]
    if pairing.clustered:
        out.append(pairing.cluster)
    if pairing.paired:
        out.append(pairing.unit)
    return out


def variances(pairing: Pairing, z: np.ndarray, J: np.ndarray, R: int, rng: np.random.Generator) -> np.ndarray:
    """(R, levels) draws of the variance of each level's effect, from residuals z (n,) with gradient J (n, P).

    An analysis of variance: sums of squares within clusters, between the clusters of a unit, between units.
    The fit takes up part of each. With M = I - J (J'J)^-1 J' and A the projection on a stratum, z'Az is
    expected to be sum_j variance_j tr(A M Z_j Z_j' M), solved for variances that are not negative (Henderson
    1953, method 3), and has tr(AM) degrees of freedom, those of the chi-square it is drawn by.
    """
    left, size, _ = np.linalg.svd(J, full_matrices=False)
    U = left[:, size > EMPTY * size[0]]
    labels = levels(pairing)
    counts = [np.bincount(label) for label in labels]
    sums = [np.stack([np.bincount(label, column) for column in U.T], axis=1) for label in labels]
    squares = np.array(
        [(np.bincount(label, z) ** 2 / m).sum() for label, m in zip(labels, counts, strict=True)]
    )
    freedom = np.array([len(m) - (s**2 / m[:, None]).sum() for m, s in zip(counts, sums, strict=True)])
    expected = np.array([
        [_overlap(labels[k], labels[j], sums[k], sums[j], counts[k]) for j in range(len(labels))]
        for k in range(len(labels))
    ])  # fmt: skip
    # From projections on ever coarser labels to what lies between two of them.
    squares, freedom, expected = (
        -np.diff(values, axis=0, append=0.0) for values in (squares, freedom, expected)
    )
    freedom = np.maximum(freedom, 1.0)
    size = np.diag(expected)
    drawn = squares * freedom / rng.chisquare(freedom, size=(R, len(labels)))
    return np.array([nnls(expected / size[:, None], square / size)[0] for square in drawn])


def _overlap(fine: np.ndarray, coarse: np.ndarray, U: np.ndarray, V: np.ndarray, m: np.ndarray) -> float:
    """|W'MZ|^2 of the labels' indicators, W's at unit length. U, V: the basis of J, summed over labels."""
    if len(U) == len(fine):  # rows, of which there are too many for a matrix
        return len(coarse) - float((V**2).sum())
    together = np.zeros((len(U), len(V)))
    np.add.at(together, (fine, coarse), 1.0)
    return float(((together - U @ V.T) ** 2 / m[:, None]).sum())
