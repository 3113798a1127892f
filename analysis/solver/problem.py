"""Problem: a law and a table in the coordinates of the solver. Knows no formula.

Shapes: n rows, P parameters, R resamples, k clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.law import Law, Table, complaint, unusable
from analysis.solver.criteria import Criterion
from analysis.solver.minimise import Minimum, Rows, minimise

MAX_STEPS = 500  # all but resamples with hardly more distinct rows than parameters take 50


@dataclass(frozen=True)
class Problem:
    """Centred logarithms of a table, by which the law's units are known, and what is to be made small."""

    law: Law
    rows: Rows
    x_unit: np.ndarray
    order: np.ndarray
    """(n,) row of the table that each row here came from."""
    source: np.ndarray
    """(n,) place of each row in the order of its source: what pairs are drawn by."""
    cluster: np.ndarray | None
    """(n,) number of the run that each row belongs to, 0 to k - 1; None: every row is its own."""
    criterion: Criterion
    bounds: np.ndarray
    """(P, 2) in centred working coordinates; equal where a parameter is held fixed."""

    @classmethod
    def of(
        cls,
        law: Law,
        table: Table,
        criterion: Criterion,
        *,
        weights: str | None = None,
        noise: str | None = None,
        cluster: str | None = None,
        fixed: Mapping[str, float] | None = None,
    ) -> Problem:
        """weights, noise, cluster: names of columns. fixed: published parameters that are not fitted.

        Raises ValueError, naming column and row, for a table that the law cannot be fitted to.
        """
        fixed = dict(fixed or {})
        losses = _positive(table, "loss")
        free = len(law.names) - len(fixed)
        need = free + 1
        if free <= 0:
            raise ValueError(f"fixed: every parameter of {law.name} is given, so none is left to fit")
        if len(losses) < need:
            raise ValueError(f"{len(losses)} rows for the {free} parameters of {law.name}: it takes {need}")
        x, y = law.logs(table), np.log(losses)
        w = np.ones(len(y)) if weights is None else _positive(table, weights)
        u = np.ones(len(y)) if noise is None else _positive(table, noise)
        group = None if cluster is None else _groups(table, cluster)
        # Resampling draws by position: in sorted order the same rows give the same draws, however they came.
        order = np.lexsort((y, *x.T))
        source = np.argsort(np.argsort(table.index)) if isinstance(table, pd.DataFrame) else np.arange(len(y))
        x, y, w, u = x[order], y[order], w[order], u[order]
        x_unit, y_unit = law.units(x), float(y.mean())
        # A column of one value is centred to exactly 0, whatever the mean's last digit.
        x_unit = np.where(np.ptp(x, axis=0) == 0, x[0], x_unit)
        # Weights count against each other only: at a mean of 1 a tolerance on the gradient keeps its meaning.
        rows = Rows(x - x_unit, y - y_unit, w / w.mean(), u / np.exp(np.log(u).mean()), y_unit)
        held = _held(law, fixed, x_unit, y_unit)
        if law.names[0] in fixed and getattr(law, "floor", None) == law.names[0]:
            _above(table, losses, law.names[0], fixed[law.names[0]])
        return cls(
            law,
            rows,
            x_unit,
            order,
            source[order],
            None if group is None else group[order],
            criterion,
            np.where(np.isnan(held)[:, None], law.bounds, held[:, None]),
        )

    @property
    def x(self) -> np.ndarray:
        """(n, I) centred log inputs."""
        return self.rows.x

    @property
    def y(self) -> np.ndarray:
        """(n,) centred log losses."""
        return self.rows.y

    @property
    def free(self) -> np.ndarray:
        """(P,) mask of the parameters that are fitted."""
        return self.bounds[:, 0] < self.bounds[:, 1]

    @property
    def freedom(self) -> int:
        """n less the parameters fitted."""
        return len(self.y) - int(self.free.sum())

    @property
    def units(self) -> int:
        """What is independent of each other: clusters, or rows."""
        return len(self.y) if self.cluster is None else int(self.cluster.max()) + 1

    def each_row(self, by_unit: np.ndarray) -> np.ndarray:
        """(R, units) -> (R, n): a unit's value at each of its rows."""
        return by_unit if self.cluster is None else by_unit[..., self.cluster]

    def published(self, theta: np.ndarray) -> np.ndarray:
        """Centred working coordinates (..., P) as published parameters."""
        return self.law.published(self.law.rescale(theta, -self.x_unit, -self.rows.y_unit))

    def centred(self, params: np.ndarray) -> np.ndarray:
        """Undo `published`."""
        return self.law.rescale(self.law.working(params), self.x_unit, self.rows.y_unit)

    def solve(self, starts: np.ndarray, *, max_steps: int) -> Minimum:
        """Minimise from each start (S, P) on the table as it is."""
        return minimise(
            self.law, self.rows, starts, bounds=self.bounds, criterion=self.criterion, max_steps=max_steps
        )

    def refit(
        self, theta: np.ndarray, y: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> Minimum:
        """Minimise from `theta` (P,) or (R, P) for many losses or weights (R, n) at once; the weights
        multiply those of the table."""
        y = self.y if y is None else y
        w = self.rows.weights if weights is None else self.rows.weights * weights
        R = max(len(np.atleast_2d(y)), len(np.atleast_2d(w)), len(np.atleast_2d(theta)))
        starts = np.broadcast_to(theta, (R, theta.shape[-1]))
        rows = Rows(self.x, y, w, self.rows.noise, self.rows.y_unit)
        return minimise(
            self.law, rows, starts, bounds=self.bounds, criterion=self.criterion, max_steps=MAX_STEPS
        )


def _positive(table: Table, name: str) -> np.ndarray:
    if name not in table:
        raise ValueError(f"column {name}: missing")
    try:
        values = np.asarray(table[name], dtype=float)
    except (TypeError, ValueError):
        read = pd.to_numeric(pd.Series(np.asarray(table[name])), errors="coerce")
        text = np.isnan(np.asarray(read, dtype=float))
        shown = np.asarray(table[name])[text][0]
        raise ValueError(f"{_place(table, text, name)}: {shown!r} is not a number") from None
    if (bad := unusable(values)).any():
        raise ValueError(f"{_place(table, bad, name)}: {complaint(values[bad][0])}")
    return values


def _place(table: Table, bad: np.ndarray, name: str) -> str:
    """The first bad row and its column, by the row's number in its source where the table knows it."""
    at = int(bad.argmax())
    return f"row {table.index[at] if isinstance(table, pd.DataFrame) else at + 1}, column {name}"


def _groups(table: Table, name: str) -> np.ndarray:
    if name not in table:
        raise ValueError(f"column {name}: missing, and rows are to be clustered by it")
    codes, _ = pd.factorize(pd.Series(np.asarray(table[name])), sort=False)
    if (codes < 0).any():
        raise ValueError(f"{_place(table, codes < 0, name)}: is empty, and rows are clustered by it")
    return codes


def _above(table: Table, losses: np.ndarray, floor: str, value: float) -> None:
    if (below := losses <= value).any():
        raise ValueError(
            f"{_place(table, below, 'loss')}: is {losses[below][0]:g}, not above the {floor} = {value:g} "
            "that it is held at"
        )


def _held(law: Law, fixed: Mapping[str, float], x_unit: np.ndarray, y_unit: float) -> np.ndarray:
    """(P,) centred working coordinates of the fixed parameters, NaN for the others."""
    if unknown := set(fixed) - set(law.names):
        raise ValueError(f"fixed.{sorted(unknown)[0]}: {law.name} has {', '.join(law.names)}")
    held = np.full(len(law.names), np.nan)
    if not fixed:
        return held
    at = [law.names.index(name) for name in fixed]
    # A parameter is a coordinate of the solver only if those it is mixed with are fixed too: it then has one
    # value, whatever the free ones are.
    tries = np.array([np.full(len(law.names), fill) for fill in (0.3, 0.7)])
    tries[:, at] = list(fixed.values())
    with np.errstate(all="ignore"):
        both = law.rescale(law.working(tries), x_unit, y_unit)[:, at]
    if not np.isfinite(both).all():
        raise ValueError(f"fixed {dict(fixed)}: {law.name} has no such values")
    loose = ~np.isclose(both[0], both[1], rtol=1e-12, atol=1e-12)
    if loose.any():
        name = law.names[at[int(loose.argmax())]]
        raise ValueError(f"fixed.{name}: it has a meaning only together with its exponent: fix that too")
    held[at] = both[0]
    low, high = law.bounds.T
    beyond = [name for name, p in zip(fixed, at, strict=True) if not low[p] <= held[p] <= high[p]]
    if beyond:
        raise ValueError(f"fixed.{beyond[0]}={fixed[beyond[0]]:g}: {law.name} has no such value")
    return held
