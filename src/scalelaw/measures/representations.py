"""How many dimensions hidden states fill: of the manifold they lie on, and of the space that holds it.

n points in E dimensions. A manifold may be curved: one of a few dimensions can take many of the space's.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from scalelaw.measures.hidden import named, points, states
from scalelaw.measures.measure import SEED, Figures, Measure, Subject, counts, increasing

DISCARDED = 0.1  # of the largest ratios, where density is no longer even (Facco et al. 2017)


class Representations(Measure):
    """rows: validation windows. layers: "first", "middle", "last". sizes: numbers of hidden states, drawn
    from all; estimates that move with them say that the points are too few."""

    def __init__(self, *, along: bool, rows: int, layers: Sequence[str], sizes: Sequence[int]) -> None:
        super().__init__(along=along)
        counts("representations", rows=rows)
        self.rows, self.layers = rows, named(layers)
        self.sizes = [int(size) for size in increasing("representations.sizes", sizes)]

    def __call__(self, subject: Subject) -> Figures:
        """For each layer and size n, LAYER.dimension_n: intrinsic (`two_nn`), LAYER.participation_n and
        LAYER.rank_n. None where there are not so many different states."""
        found: dict[str, float | None] = {}
        for name, kept in states(subject.model, subject.batch(self.rows), self.layers).items():
            cloud = np.random.default_rng(SEED).permutation(points(kept))
            for size in self.sizes:
                part = cloud[:size] if len(cloud) >= size else None
                found[f"{name}.dimension_{size}"] = None if part is None else two_nn(part)
                spread = None if part is None else spectrum(part)
                found[f"{name}.participation_{size}"] = None if spread is None else participation(spread)
                found[f"{name}.rank_{size}"] = None if spread is None else effective_rank(spread)
        return found


def two_nn(cloud: np.ndarray) -> float:
    """Intrinsic dimension of (n, E) different points, from the ratio mu of each one's distances to its second
    and first neighbour: F(mu) = 1 - mu^-d where density is even that far (Facco et al. 2017, section 2). The
    line through the origin of -log(1 - F) on log mu, the largest tenth left out."""
    near = KDTree(cloud).query(cloud, k=3)[0]
    log_mu = np.sort(np.log(near[:, 2] / near[:, 1]))
    kept = int((1 - DISCARDED) * len(log_mu))
    F = np.arange(1, kept + 1) / len(log_mu)
    x, y = log_mu[:kept], -np.log1p(-F)
    return float(x @ y / (x @ x))


def spectrum(cloud: np.ndarray) -> np.ndarray:
    """(min(n, E),) eigenvalues of the covariance of (n, E) points."""
    singular = np.linalg.svd(cloud - cloud.mean(axis=0), compute_uv=False)
    return singular**2 / (len(cloud) - 1)


def participation(variances: np.ndarray) -> float:
    """(sum v)^2 / sum v^2: k for k equal variances, 1 for a single one."""
    return float(variances.sum() ** 2 / (variances**2).sum())


def effective_rank(variances: np.ndarray) -> float:
    """exp of the entropy of the singular values' shares (Roy and Vetterli 2007, definition 1): the same for
    equal ones, and kinder to small ones."""
    share = np.sqrt(variances) / np.sqrt(variances).sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
