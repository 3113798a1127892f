"""Approach 1 (Hoffmann et al. 2022, section 3.1): the run of least loss at each C, and how its N and D grow.

Where a run has several rows its learning curve is read off between them in log C; where every run is one row,
rows that no cheaper row beats are the envelope. Shapes: n rows, G runs, J values of C, R sets of losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.optima.exponents import Exponents, joined, regress
from analysis.tables.replicates import run_column
from analysis.tables.runs import SLACK

# Values of C at which curves are compared, evenly spaced in log. Hoffmann et al. 2022 take 1,500; from 400 on
# the exponent of a planted ladder of 20 sizes stays within 0.001.
STEPS = 400

# Losses looked at side by side: 32 MB of them.
CHUNK = 4_000_000


@dataclass(frozen=True)
class Scatter:
    """One row a run. The envelope: the best row of each step of 5 % in C, where no cheaper row is better."""

    log_C: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray
    runs: list
    """(n,) rows of the table."""
    steps: list[np.ndarray]
    """Rows of each step in C, by rising C."""

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Scatter:
        """From columns N, D, C."""
        log_C, log_N, log_D = (np.log(rows[x].to_numpy(float)) for x in ("C", "N", "D"))
        step = ((log_C - log_C.min()) / np.log(SLACK)).astype(int)
        order = np.argsort(step, kind="stable")
        steps = np.split(order, np.flatnonzero(np.diff(step[order])) + 1)
        return cls(log_C, log_N, log_D, rows.index.tolist(), steps)

    def winners(
        self, losses: np.ndarray, present: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At each step the row of least loss (R, J), its loss, and the mask of those that count.

        Losses (R, n), of the rows `present` (R, n) alone where that is given. A row of the smallest or the
        largest size of all has nothing on its other side to have beaten.
        """
        if present is not None:
            losses = np.where(present, losses, np.inf)
        best = np.stack([its[losses[:, its].argmin(axis=1)] for its in self.steps], axis=-1)
        least = np.take_along_axis(losses, best, axis=1)
        before = np.minimum.accumulate(np.pad(least, ((0, 0), (1, 0)), constant_values=np.inf), axis=1)[
            :, :-1
        ]
        size = self.log_N[best]
        return best, least, (least < before) & (self.log_N.min() < size) & (size < self.log_N.max())

    def read(self, losses: np.ndarray, budgets: np.ndarray, present: np.ndarray | None = None) -> Exponents:
        """Exponents of losses (R, n)."""
        best, _, used = self.winners(losses, present)
        return regress(self.log_C[best], self.log_N[best], self.log_D[best], used, budgets)

    def points(self, loss: np.ndarray) -> pd.DataFrame:
        """The envelope of losses (n,): columns run, C, N, D, loss."""
        best, _, used = (x[0] for x in self.winners(loss[None]))
        at = best[used]
        C, N, D = (np.exp(x[at]) for x in (self.log_C, self.log_N, self.log_D))
        return pd.DataFrame({"run": [self.runs[i] for i in at], "C": C, "N": N, "D": D, "loss": loss[at]})


@dataclass(frozen=True)
class Curves:
    """Learning curves of G runs at J values of C."""

    log_C: np.ndarray
    log_N: np.ndarray
    """(G,)"""
    log_D: np.ndarray
    """(G, J), as are left and right, the rows on either side of C, weight, that of the right one, and reach,
    the mask of the C that a run's rows span."""
    runs: list
    left: np.ndarray
    right: np.ndarray
    weight: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, run: str) -> Curves:
        """From columns N, D, C and `run`; runs at a single C have no curve. Raises ValueError without two."""
        x, log_N, log_D = (np.log(rows[name].to_numpy(float)) for name in ("C", "N", "D"))
        own = {}
        for name, at in rows.groupby(run, sort=False).indices.items():
            if np.ptp(x[at]) > 0:
                own[name] = at[np.argsort(x[at], kind="stable")]
        if len(own) < 2:
            raise ValueError(f"approach 1 takes the learning curves of two runs or more, not {len(own)}")
        ends = np.array([x[at[[0, -1]]] for at in own.values()])
        log_C = np.linspace(ends.min(), ends.max(), STEPS)
        after = [np.searchsorted(x[at], log_C).clip(1, len(at) - 1) for at in own.values()]
        left = np.array([at[k - 1] for at, k in zip(own.values(), after, strict=True)])
        right = np.array([at[k] for at, k in zip(own.values(), after, strict=True)])
        step = x[right] - x[left]
        weight = ((log_C - x[left]) / np.where(step > 0, step, np.inf)).clip(0, 1)
        return cls(
            log_C=log_C,
            log_N=log_N[[at[0] for at in own.values()]],
            log_D=_between(log_D, left, right, weight),
            runs=list(own),
            left=left,
            right=right,
            weight=weight,
            reach=(ends[:, :1] <= log_C) & (log_C <= ends[:, 1:]),
        )

    def winners(
        self, losses: np.ndarray, present: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At each C the run of least loss (R, J), its loss, and the mask of those that count.

        A winner counts where a smaller and a larger size reach the same C and do worse: elsewhere it is only
        the smallest or the largest there is.
        """
        here = self.reach if present is None else self.reach & present[:, :, None]
        loss = np.where(here, _between(losses, self.left, self.right, self.weight), np.inf)
        best = loss.argmin(axis=1)
        bottom = np.where(here, self.log_N[:, None], np.inf).min(axis=-2)
        top = np.where(here, self.log_N[:, None], -np.inf).max(axis=-2)
        size = self.log_N[best]
        return best, loss.min(axis=1), (bottom < size) & (size < top)

    def read(self, losses: np.ndarray, budgets: np.ndarray, present: np.ndarray | None = None) -> Exponents:
        """Exponents of losses (R, n)."""
        size = max(1, CHUNK // self.left.size)
        parts = []
        for at in range(0, len(losses), size):
            some = None if present is None else present[at : at + size]
            best, _, used = self.winners(losses[at : at + size], some)
            log_D = self.log_D[best, np.arange(STEPS)]
            parts.append(regress(self.log_C, self.log_N[best], log_D, used, budgets))
        return joined(parts)

    def points(self, loss: np.ndarray) -> pd.DataFrame:
        """The envelope of losses (n,), one row a winner at the middle of its stretch: run, C, N, D, loss."""
        best, least, used = (x[0] for x in self.winners(loss[None]))
        at = np.flatnonzero(used)
        stretch = np.cumsum(np.diff(best[at], prepend=-1) != 0)
        middle = np.array([its[len(its) // 2] for its in _split(at, stretch)], dtype=int)
        g = best[middle]
        C, N, D = np.exp(self.log_C[middle]), np.exp(self.log_N[g]), np.exp(self.log_D[g, middle])
        return pd.DataFrame({"run": [self.runs[i] for i in g], "C": C, "N": N, "D": D, "loss": least[middle]})


def within_grid(
    points: pd.DataFrame, rows: pd.DataFrame, budgets: np.ndarray, R: int, seed: int
) -> Exponents:
    """R draws of winners that lie anywhere up to half way to the next size trained at their C.

    What an envelope leaves open where scatter never changes its winners: the best size of a ladder is known
    to the distance of its rungs.
    """
    log_C, log_N, log_D = (np.log(points[name].to_numpy(float)) for name in ("C", "N", "D"))
    low, high = np.zeros(len(points)), np.zeros(len(points))
    at = np.log(rows.C.to_numpy(float))
    for k, centre in enumerate(log_C):
        near = np.abs(at - centre) <= np.log(SLACK)
        sizes = np.unique(np.log(rows.N.to_numpy(float)[near if near.sum() > 1 else slice(None)])) - log_N[k]
        low[k] = sizes[sizes < 0].max(initial=-np.inf) / 2 if (sizes < 0).any() else 0.0
        high[k] = sizes[sizes > 0].min(initial=np.inf) / 2 if (sizes > 0).any() else 0.0
    shift = np.random.default_rng(seed).uniform(low, high, size=(R, len(points)))
    used = np.ones(shift.shape, dtype=bool)
    return regress(log_C, log_N + shift, log_D - shift, used, budgets)


def of_runs(rows: pd.DataFrame) -> Scatter | Curves:
    """Learning curves where a run (column `run` or the like) has several rows, else a scatter.

    Raises ValueError for fewer than two curves.
    """
    name = run_column(rows)
    if name is None or not rows[name].duplicated().any():
        return Scatter.of(rows)
    return Curves.of(rows, name)


def drawn(reader: Scatter | Curves, loss: np.ndarray, budgets: np.ndarray, R: int, seed: int) -> Exponents:
    """Exponents of R draws of the runs with replacement: those not drawn are missing from the envelope."""
    G = len(reader.runs)
    present = np.random.default_rng(seed).multinomial(G, np.full(G, 1 / G), size=R) > 0
    return reader.read(np.broadcast_to(loss, (R, len(loss))), budgets, present)


def _split(at: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
    """`at` cut where `label`, which rises, changes."""
    return np.split(at, np.flatnonzero(np.diff(label)) + 1) if len(at) else []


def _between(values: np.ndarray, left: np.ndarray, right: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """values (..., n) read between two rows (G, J) -> (..., G, J)."""
    return values[..., left] * (1 - weight) + values[..., right] * weight
