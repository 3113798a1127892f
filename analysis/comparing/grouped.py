"""One law over several groups of runs: some parameters shared by all groups, the others each group's own.

Shapes as in `analysis.law`; G groups, P parameters of the law of one group, Q of all groups together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from analysis.law import Law, Table

GUESSES = 4


class Grouped(Law):
    """`law` in each of `groups`, the values of column `by`, with the published parameters `shared` in common.

    The others are named by their group: A[causal], A[prefix]. A law like any other: it solves, resamples and
    certifies like the law it is made of. Besides the log inputs its x holds G columns of 0 and 1, the
    membership.

    Raises ValueError for fewer than two groups, for a parameter the law does not have, and for one that can
    not be shared alone (see `entangled`).
    """

    def __init__(self, law: Law, by: str, groups: Sequence[str], shared: Iterable[str]):
        shared = set(shared)
        if len(groups) < 2:
            raise ValueError(f"column {by}: one group, {', '.join(groups) or 'none'}; to compare takes two")
        if unknown := sorted(shared - set(law.names)):
            raise ValueError(f"shared={unknown[0]}: {law.name} has {', '.join(law.names)}")
        for name, needs in entangled(law).items():
            if name in shared and (lacking := sorted(needs - shared)):
                raise ValueError(
                    f"shared={name}: without {' and '.join(lacking)} shared too, equal {name} says only that "
                    f"the laws meet where an input is 1 in the unit it happens to be counted in"
                )
        self.law, self.by, self.groups = law, by, tuple(groups)
        self.shared = tuple(name for name in law.names if name in shared)
        self.name = f"{law.name} by {by}"
        self.inputs = law.inputs
        self.names, self._columns = self._layout()

    def _layout(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Names (Q,), and (G, P) which of them is the p-th parameter of the g-th group."""
        names: list[str] = []
        columns = np.empty((len(self.groups), len(self.law.names)), dtype=int)
        for p, name in enumerate(self.law.names):
            own = [name] if name in self.shared else [f"{name}[{group}]" for group in self.groups]
            columns[:, p] = len(names) + np.arange(len(own))
            names += own
        return tuple(names), columns

    def part(self, values: np.ndarray, group: str) -> np.ndarray:
        """Of (..., Q) values by parameter those of one group, (..., P)."""
        return values[..., self._columns[self.groups.index(group)]]

    def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """(..., Q) from each group's (..., P), in the order of `groups`: of a shared parameter the mean."""
        out = np.zeros((*parts[0].shape[:-1], len(self.names)), dtype=np.result_type(*parts, float))
        count = np.zeros(len(self.names))
        for columns, part in zip(self._columns, parts, strict=True):
            out[..., columns] += part
            count[columns] += 1
        return out / count

    def _each(self, convert, values: np.ndarray) -> np.ndarray:
        """A conversion of (..., P) applied to every group's part of (..., Q)."""
        out = np.empty(values.shape, dtype=np.result_type(values, float))
        for columns in self._columns:
            out[..., columns] = convert(values[..., columns])
        return out

    def split(self, x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each group its columns (P,) of the parameters, its rows (n_g,) and their log inputs."""
        inputs = len(self.inputs)
        member = x[:, inputs:].argmax(axis=1)
        for g, columns in enumerate(self._columns):
            rows = np.flatnonzero(member == g)
            yield columns, rows, x[rows, :inputs]

    @property
    def bounds(self) -> np.ndarray:
        out = np.empty((len(self.names), 2))
        for columns in self._columns:
            out[columns] = self.law.bounds
        return out

    def logs(self, table: Table) -> np.ndarray:
        """Log inputs and membership, (n, I + G). Raises ValueError for a value of `by` that is no group."""
        x = self.law.logs(table)
        if self.by not in table:
            raise ValueError(f"column {self.by}: missing, and the law {self.name} needs it")
        labels = np.broadcast_to(np.asarray(table[self.by], dtype=object), len(x))
        member = np.array([[label == group for group in self.groups] for label in labels.astype(str)])
        if not member.any(axis=1).all():
            row = int((~member.any(axis=1)).argmax())
            told = f"{labels[row]} is none of {', '.join(self.groups)}"
            raise ValueError(f"column {self.by}, row {row + 1}: {told}")
        return np.concatenate([x, member.astype(float)], axis=1)

    def units(self, x: np.ndarray) -> np.ndarray:
        """Those of the law; membership is counted from 0."""
        return np.concatenate([self.law.units(x[:, : len(self.inputs)]), np.zeros(len(self.groups))])

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kind = np.result_type(theta, float)
        f = np.empty((len(theta), len(x)), dtype=kind)
        J = np.zeros((*f.shape, len(self.names)), dtype=kind)
        for columns, rows, its in self.split(x):
            f[:, rows], J[:, rows[:, None], columns] = self.law.log_loss(theta[:, columns], its)
        return f, J

    def curvature(self, theta: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        out = np.zeros((len(theta), len(self.names), len(self.names)))
        for columns, rows, its in self.split(x):
            out[:, columns[:, None], columns] += self.law.curvature(theta[:, columns], its, weight[:, rows])
        return out

    def working(self, params: np.ndarray) -> np.ndarray:
        return self._each(self.law.working, params)

    def published(self, theta: np.ndarray) -> np.ndarray:
        return self._each(self.law.published, theta)

    def rescale(self, theta: np.ndarray, x_unit: np.ndarray, y_unit: float) -> np.ndarray:
        unit = x_unit[: len(self.inputs)]
        return self._each(lambda part: self.law.rescale(part, unit, y_unit), theta)

    def guess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # All groups alike. Who has fitted the groups apart starts a solver from there as well: of guesses so
        # far from it, those that fit best will do.
        alike = self.law.guess(x[:, : len(self.inputs)], y)
        if set(self.shared) < set(self.names):
            f = self.law.log_loss(alike, x[:, : len(self.inputs)])[0]
            misfit = ((f - y) ** 2).sum(axis=1)
            alike = alike[np.argsort(np.where(np.isfinite(misfit), misfit, np.inf))[:GUESSES]]
        return self.join([alike] * len(self.groups))

    def tradeoff(self, params: np.ndarray) -> None:
        """None: each group has an optimum of its own."""


def entangled(law: Law) -> dict[str, set[str]]:
    """For each parameter those that a change of units mixes into it: A / N^alpha is A 1e9^-alpha per billion.

    Of two groups with separate alpha, equal A is therefore no property of the runs but of the unit of N.
    Told from the law's own `rescale`, at one point and one change of units that are in no way special.
    """
    low, high = (np.clip(limit, -3.0, 3.0) for limit in law.bounds.T)
    theta = low + (high - low) * np.linspace(0.3, 0.6, len(law.names))
    unit = law.units(np.linspace(1.1, 1.7, len(law.inputs))[None])
    before, moves = law.rescale(theta, unit, 0.3), 0.1 * np.eye(len(law.names))
    moved = np.array([np.abs(law.rescale(theta + move, unit, 0.3) - before) > 1e-9 for move in moves])
    return {
        name: {law.names[j] for j in np.flatnonzero(moved[:, i]) if j != i}
        for i, name in enumerate(law.names)
    }
