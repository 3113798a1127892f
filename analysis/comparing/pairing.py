"""Which rows of a table go together, within a group and across groups, and weights that respect it.

A run that every group has at the same design point (size, tokens, seed: the same order of the data) differs
between the groups by less than two unrelated runs do. Drawn jointly, what they have in common cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.tables.replicates import configurations


@dataclass(frozen=True)
class Pairing:
    """For n rows: the group, the cluster (rows of one run) and the unit (clusters at the same design points
    in several groups) of each, as numbers from 0; and in words what matched."""

    group: np.ndarray
    cluster: np.ndarray
    unit: np.ndarray
    said: str

    @classmethod
    def of(
        cls, table: pd.DataFrame, group: np.ndarray, *, cluster: str | None, points: Sequence[str]
    ) -> Pairing:
        """group: (n,) numbers. cluster: the column of rows that belong together; None: each row for itself.
        points: columns whose values make a design point, numbers within 1 %; none: nothing is paired.

        Raises ValueError for a missing column or an empty value.
        """
        clusters = _clusters(table, group, cluster)
        if not points:
            return cls(group, clusters, clusters, "unpaired: each group resampled for itself")
        for name in points:
            _column(table, name)
        point = configurations(table, points).to_numpy()
        unit, matched = _units(group, clusters, point)
        total, kind = clusters.max() + 1, "rows" if cluster is None else f"values of {cluster}"
        design = ", ".join(points)
        if matched == 0:
            said = f"unpaired: the groups share no design point ({design})"
        else:
            said = (
                f"paired: {matched} of {total} {kind} match another group's at the same {design}, resampled "
                "jointly" + ("" if matched == total else "; the others each for itself")
            )
        return cls(group, clusters, unit, said)

    @property
    def clustered(self) -> bool:
        """Whether some rows of one group belong together."""
        return len(np.unique(self.cluster)) < len(self.cluster)

    @property
    def paired(self) -> bool:
        """Whether some rows of different groups belong together."""
        return len(np.unique(self.unit)) < len(np.unique(self.cluster))

    @property
    def units(self) -> np.ndarray:
        """(G,) units in each group."""
        pairs = np.unique(np.stack([self.group, self.unit]), axis=1)
        return np.bincount(pairs[0])

    def weights(self, R: int, rng: np.random.Generator) -> np.ndarray:
        """(R, n) random weights of mean 1, one a unit, exponential (Rubin 1981): no row is ever left out, so
        that a dozen rows of a group still determine every draw. Those of a few clusters are as spread out as
        Student's t asks for in place of the normal. Raises ValueError for a group that is all one cluster."""
        spread = 1.0
        if self.clustered:
            k = int(self.units.min())
            if k < 2:
                raise ValueError("cluster: a group whose rows are all of one run has nothing to resample")
            spread = float((stats.t.ppf(0.975, k - 1) / stats.norm.ppf(0.975)) ** 2 * k / (k - 1))
        return rng.gamma(1 / spread, spread, size=(R, self.unit.max() + 1))[:, self.unit]


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    source = table.attrs.get("source", "table")
    if name not in table:
        raise ValueError(f"{source}: no column {name}; it has {', '.join(map(str, table.columns))}")
    if (empty := table[name].isna().to_numpy()).any():
        raise ValueError(f"{source}, row {table.index[int(empty.argmax())]}, column {name}: is empty")
    return pd.Series(table[name])


def _clusters(table: pd.DataFrame, group: np.ndarray, cluster: str | None) -> np.ndarray:
    if cluster is None:
        return np.arange(len(table))
    # The same name in two groups is two runs: a seed or a rung names runs of every group.
    labels = _column(table, cluster).astype(str)
    return pd.factorize(pd.Series([f"{g} {label}" for g, label in zip(group, labels, strict=True)]))[0]


def _units(group: np.ndarray, cluster: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, int]:
    """(n,) numbers of the units, and how many clusters share theirs with another group's.

    Clusters with the same design points are told apart by their order: repeats at one point pair up.
    """
    rows = pd.DataFrame({"cluster": cluster, "group": group, "point": point})
    each = rows.groupby("cluster").agg(group=("group", "first"), points=("point", lambda p: tuple(sorted(p))))
    each["nth"] = each.groupby(["group", "points"]).cumcount()
    unit = each.groupby(["points", "nth"], sort=False).ngroup()
    shared = unit.map(unit.value_counts()) > 1
    return unit.to_numpy()[cluster], int(shared.sum())
