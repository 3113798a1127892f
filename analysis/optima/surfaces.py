"""Approach 3 (Hoffmann et al. 2022, section 3.3): the fitted surface, and what it says the others should see.

Shapes: n rows of the table, P parameters, R draws of them, k budgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.law import Fit, Tradeoff, unusable
from analysis.optima.exponents import Exponents
from analysis.optima.frontier import Cost
from analysis.solver.solve import problem
from analysis.tables.replicates import run_column

# C = flops N D holds where no row is further off than whole steps and rounded counts explain.
EXACT = 0.01

# What a token costs has to be known as a function of N about as well as N_opt is to be.
ROUGH = 0.1


@dataclass(frozen=True)
class Surface:
    """A fitted L(N, D) over the rows it was fitted to, with the training FLOPs a token costs."""

    fit: Fit
    rows: pd.DataFrame
    cost: Cost

    @classmethod
    def of(cls, fit: Fit, rows: pd.DataFrame, *, flops: float) -> Surface:
        """The cost is flops N a token where the rows' own C says so, else fitted to C / D.

        Raises ValueError for a law that is not one of N and D.
        """
        if fit.law.tradeoff(fit.vector) is None:
            raise ValueError(f"the law {fit.law.name} is not one of N and D: it has no compute optimum")
        off = float(np.abs(rows.C / (flops * rows.N * rows.D) - 1).max())
        return cls(fit, rows, Cost(flops, 0.0, 0.0, off) if off < EXACT else Cost.fitted(rows))

    @property
    def doubt(self) -> str | None:
        """What keeps the surface from having an optimum at the rows' own C, if anything does."""
        trade = self.fit.law.tradeoff(self.fit.vector)
        if trade is None or not min(trade.alpha, trade.beta) > 0:
            return "the fitted law has no optimum: one of its terms has no slope"
        if self.cost.error <= ROUGH:
            return None
        return f"C / D is no sum of N, N^(2/3) and N^(1/3): off by up to {self.cost.error:.0%}"

    def exponents(self, params: np.ndarray, budgets: np.ndarray) -> Exponents:
        """What published parameters (R, P) say. Unless C = flops N D, a and b are secants over its range."""
        trade = self.fit.law.tradeoff(params[:, None, :])
        assert trade is not None
        if not self.counted:
            log_N, log_D = closed_form(trade, self.cost.weights, np.log(budgets))
            with np.errstate(invalid="ignore"):  # of a draw without any slope
                return Exponents(trade.a[:, 0], trade.b[:, 0], log_N, log_D)
        ends = np.log([self.rows.C.min(), self.rows.C.max()])
        log_N, log_D = best_split(trade, self.cost, np.concatenate([ends, np.log(budgets)]))
        with np.errstate(invalid="ignore"):  # a draw whose term vanished has its optimum at infinity
            a, b = ((x[:, 1] - x[:, 0]) / (ends[1] - ends[0]) for x in (log_N, log_D))
        return Exponents(a, b, log_N[:, 2:], log_D[:, 2:])

    @property
    def counted(self) -> bool:
        """Whether what a token costs was fitted, for C is not flops N D."""
        return self.cost.error >= EXACT or self.cost.attention > 0 or self.cost.head > 0

    def along(self, C: np.ndarray) -> pd.DataFrame:
        """The optimum at those of the budgets C (k,) where it is a number: columns C, N, D, loss."""
        best = self.exponents(self.fit.vector[None], C)
        with np.errstate(over="ignore"):
            table = pd.DataFrame({"C": C, "N": np.exp(best.log_N[0]), "D": np.exp(best.log_D[0])})
        table = table.loc[~(unusable(table.N.to_numpy()) | unusable(table.D.to_numpy()))]
        inputs = pd.DataFrame(self.fit.law.frontier(table.N, table.D, table.C))
        return table.assign(loss=self.fit.predict(inputs) if len(table) else [])

    def read(self, losses: np.ndarray, budgets: np.ndarray) -> Exponents:
        """Refit to each of losses (R, n), from the optimum."""
        fit = self.fit
        asked = problem(fit.law, self.rows, delta=fit.delta, criterion=fit.criterion, fixed=fit.fixed)
        y = np.log(losses)[:, asked.order] - asked.rows.y_unit
        found = asked.refit(asked.centred(fit.vector), y=y)
        return self.exponents(asked.published(found.theta), budgets)

    def losses(self) -> np.ndarray:
        """(n,) what the surface says of each row: the table without noise."""
        return self.fit.predict(self.rows)

    def simulated(self, R: int, seed: int, chunk: int) -> Iterator[np.ndarray]:
        """R tables (up to chunk, n) that this surface might have given: its losses and the rows' own scatter.

        Where every run is one row, a wild bootstrap: residuals keep their size and change sign, so that
        scatter may differ along the table (Wu 1986; that signs are right for a fit close to least absolute
        deviations: Feng, He & Hu 2011). Learning curves keep their pattern around a run's mean up to its
        sign, and the means are drawn anew, normal, at the scale that G runs less P parameters leave, as
        unsure as that is: which run is lucky is what approach 1 turns on, and must not always be the same.
        """
        clean = np.log(self.losses())
        residuals = np.log(self.rows.loss.to_numpy(float)) - clean
        n, P = len(residuals), len(self.fit.law.names)
        name = run_column(self.rows)
        run = np.arange(n) if name is None else pd.factorize(self.rows[name])[0]
        G = int(run.max()) + 1
        rng = np.random.default_rng(seed)
        mean = (np.bincount(run, residuals) / np.bincount(run)) if G < n else np.zeros(G)
        freedom = max(G - P, 1)
        scale = np.sqrt((mean**2).sum() / rng.chisquare(freedom, size=R))
        pattern = (residuals - mean[run]) * np.sqrt(n / max(n - P, 1))
        for at in range(0, R, chunk):
            size = (min(chunk, R - at), G)
            signs, effect = rng.choice([-1.0, 1.0], size=size), rng.standard_normal(size)
            effect *= scale[at : at + chunk, None]
            yield np.exp(clean + effect[:, run] + pattern * signs[:, run])


# Halvings of a bracket: from a factor 1e12 to below a part in 1e12.
HALVINGS = 48
FARTHEST = np.log(1e12)


def closed_form(trade: Tradeoff, flops: float, log_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log N and log D (R, k) of least loss under C = flops N D at log C (k,): Hoffmann et al. 2022, eq. 4."""
    with np.errstate(all="ignore"):  # a draw whose term vanished has its optimum at 0 or infinity
        ratio = np.log(trade.alpha) + trade.log_A - np.log(trade.beta) - trade.log_B
        log_N = ratio / (trade.alpha + trade.beta) + trade.a * (log_C - np.log(flops))
        return log_N, log_C - np.log(flops) - log_N


def best_split(trade: Tradeoff, cost: Cost, log_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log N and log D of least loss when a token costs `cost.per_token(N)`, at log C (k,): both (R, k).

    First-order condition: alpha A N^-alpha = (d log cost / d log N) beta B D^-beta; for 6 N D the elasticity
    is 1 and this is eq. 4 of Hoffmann et al. 2022. The left side over the right falls in N throughout, as the
    elasticity of a sum of powers of N rises in N: halving finds the one root.
    """
    with np.errstate(all="ignore"):
        ratio = np.log(trade.alpha) + trade.log_A - np.log(trade.beta) - trade.log_B
        start = closed_form(trade, 6.0, log_C)[0]
        low, high = start - FARTHEST, start + FARTHEST
        for _ in range(HALVINGS):
            x = (low + high) / 2
            log_k, elasticity = _price(cost, x)
            log_D = log_C - log_k
            excess = ratio - trade.alpha * x + trade.beta * log_D - np.log(elasticity)
            low, high = np.where(excess > 0, x, low), np.where(excess > 0, high, x)
        x = np.where(np.isfinite(start), (low + high) / 2, np.nan)
        return x, log_C - _price(cost, x)[0]


def _price(cost: Cost, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log FLOPs a token at log N = x, and their elasticity."""
    N = np.exp(x)
    parts = cost.weights * N, cost.attention * N ** (2 / 3), cost.head * N ** (1 / 3)
    whole = parts[0] + parts[1] + parts[2]
    return np.log(whole), (parts[0] + parts[1] * 2 / 3 + parts[2] / 3) / whole
