"""Effective compute: how much more or less of it one group of runs needs to reach the loss of another.

Shapes: S parameter vectors (the fit, or its draws), P parameters, K budgets of compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from analysis.law import Law, plain
from analysis.optima.frontier import Cost
from analysis.tables.runs import SLACK

# The powers of N in `analysis.optima.frontier.Cost`: weights, attention, head.
POWERS = np.array([1.0, 2 / 3, 1 / 3])

TERMS = ("log_A", "alpha", "log_B", "beta")

# A loss not reached with this many times the compute is not reached: all of the field spans as much.
NEVER = 1e12
# 56 in log C halved so often is known to 1e-10.
HALVINGS = 40

# Without budgets asked for: as many as draw a smooth line, to ten times the dearest run.
POINTS, BEYOND = 25, 10.0


@dataclass(frozen=True)
class Side:
    """One group as the frontier sees it: published draws (S, P), the fit first; the price of a token; and the
    range of C its runs span."""

    name: str
    params: np.ndarray
    cost: Cost | None
    """None for a law of C itself."""
    span: tuple[float, float]

    @classmethod
    def of(cls, name: str, law: Law, runs: pd.DataFrame, params: np.ndarray, flops: float | None) -> Side:
        """flops: C = flops N D; None: the counted C, a column of the runs."""
        counted = flops is None or law.inputs == ("C",)
        C = runs.C if counted else flops * runs.N * runs.D
        if law.inputs == ("C",):
            return cls(name, params, None, (float(C.min()), float(C.max())))
        cost = Cost.fitted(runs) if flops is None else Cost(flops, 0.0, 0.0, 0.0)
        return cls(name, params, cost, (float(C.min()), float(C.max())))

    def reaches(self, C: np.ndarray) -> np.ndarray:
        """Where C lies within the runs' range, whose ends are met in whole steps only."""
        return (C >= self.span[0] / SLACK) & (C <= self.span[1] * SLACK)


@dataclass(frozen=True)
class Multiplier:
    """What `group` needs to be as good as `reference`, over the budgets of the reference."""

    reference: str
    group: str
    table: pd.DataFrame
    """One row a budget: C; loss (of the reference there); m (the group reaches it with m C) with m_lo95 and
    m_hi95, inf where it never does; never (share of the draws that never do); dloss (loss of the group less
    that of the reference at equal C) with dloss_lo95 and dloss_hi95; inside (whether C and m C lie within the
    groups' runs); status. Without draws the interval and `never` are NaN."""
    cost_error: dict[str, float]
    """Largest relative error of the fitted price of a token, by group: 0 under C = flops N D."""

    def to_json(self) -> dict[str, Any]:
        rows = [{str(k): v for k, v in row.items()} for row in self.table.to_dict("records")]
        return plain(vars(self) | {"table": rows})


def no_frontier(law: Law, params: np.ndarray, flops: float | None) -> str | None:
    """Why the law has no lowest loss at a given C, or None where it has. flops: as in `Side.of`."""
    if law.inputs == ("C",):
        return None
    if law.tradeoff(params) is None:
        inputs = ", ".join(law.inputs)
        return f"the law {law.name} is one of {inputs}: it says nothing of the best loss at a given C"
    if flops is None and "C" in law.inputs:
        return f"the law {law.name} takes C for 6 N D: give flops, as it has no place for a counted cost"
    return None


def multiplier(
    law: Law, reference: Side, group: Side, *, budgets: Sequence[float] | None, level: float = 0.95
) -> Multiplier:
    """m(C) such that the best `group` run of compute m C has the loss of the best `reference` run of C.

    The best: N and D at the law's minimum under what a token costs. budgets: (K,) FLOPs; None: over the
    reference's runs and ten times beyond. The law is to have a frontier: see `no_frontier`.
    """
    low, high = reference.span
    C = np.geomspace(low, BEYOND * high, POINTS) if budgets is None else np.asarray(budgets, dtype=float)
    goal = frontier_loss(law, reference, np.log(C))
    m = np.exp(_needed(law, group, goal, np.log(C)) - np.log(C))
    dloss = np.exp(frontier_loss(law, group, np.log(C))) - np.exp(goal)
    table = pd.DataFrame({"C": C, "loss": np.exp(goal[0]), "m": m[0]})
    table["m_lo95"], table["m_hi95"] = interval(m[1:], level)
    table["never"] = np.isinf(m[1:]).mean(axis=0) if len(m) > 1 else np.nan
    table["dloss"] = dloss[0]
    table["dloss_lo95"], table["dloss_hi95"] = interval(dloss[1:], level)
    table["inside"] = reference.reaches(C) & group.reaches(C * m[0])
    table["status"] = [_status(law, reference, group, row) for row in table.itertuples()]
    error = {side.name: side.cost.error if side.cost else 0.0 for side in (reference, group)}
    return Multiplier(reference.name, group.name, table, error)


def interval(draws: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (K,) of (S, K) draws. One that has no value could lie anywhere: it counts at either end."""
    if not len(draws):
        return np.full(draws.shape[1:], np.nan), np.full(draws.shape[1:], np.nan)
    tail = (1 - level) / 2
    # Of two draws at infinity no mean can be taken, so a quantile is one of the draws.
    low = np.quantile(np.where(np.isnan(draws), -np.inf, draws), tail, axis=0, method="inverted_cdf")
    high = np.quantile(np.where(np.isnan(draws), np.inf, draws), 1 - tail, axis=0, method="inverted_cdf")
    return low, high


def frontier_loss(law: Law, side: Side, log_C: np.ndarray) -> np.ndarray:
    """log of the lowest loss (S, K) that the law has at compute (K,) or (S, K), by each parameter vector."""
    log_C = np.broadcast_to(log_C, (len(side.params), log_C.shape[-1]))
    with np.errstate(all="ignore"):  # a draw whose term vanished has no optimum: NaN, which `interval` counts
        best = {"C": np.exp(log_C)}
        if side.cost is not None:
            N, D = (np.exp(log) for log in _split(law, side, log_C))
            best = law.frontier(N, D, np.exp(log_C))
        x = np.log(np.stack([best[name] for name in law.inputs], axis=-1))
        theta = law.working(side.params)
        return np.concatenate([law.log_loss(t[None], at)[0] for t, at in zip(theta, x, strict=True)])


def _split(law: Law, side: Side, log_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log N and log D (S, K) of the least A N^-alpha + B D^-beta with D = C / cost(N).

    Where the slopes by log N balance: alpha A N^-alpha = beta e(N) B D^-beta, e the elasticity of the cost, 1
    under C = 6 N D (Hoffmann et al. 2022, eq. 4, in closed form). The difference of the logarithms rises with
    log N throughout, as e does; Newton's method.
    """
    trade, cost = law.tradeoff(side.params), side.cost
    assert trade is not None
    assert cost is not None
    with np.errstate(all="ignore"):
        factors = np.log([cost.weights, cost.attention, cost.head])
        log_A, alpha, log_B, beta = (np.asarray(getattr(trade, name))[:, None] for name in TERMS)
        known = np.log(beta) + log_B - np.log(alpha) - log_A
        log_N = np.asarray((beta * (log_C - logsumexp(factors)) - known) / (alpha + beta))
        for _ in range(50):
            parts = factors + POWERS * log_N[..., None]
            log_cost = np.asarray(logsumexp(parts, axis=-1))
            share = np.exp(parts - log_cost[..., None])
            e = share @ POWERS
            slope = alpha + beta * e + (share @ POWERS**2 - e**2) / e
            gap = known + np.log(e) - beta * (log_C - log_cost) + alpha * log_N
            log_N = log_N - gap / slope
            if not (np.abs(gap) > 1e-12 * (1 + np.abs(log_C))).any():
                break
        return log_N, log_C - logsumexp(factors + POWERS * log_N[..., None], axis=-1)


def _needed(law: Law, side: Side, goal: np.ndarray, log_C: np.ndarray) -> np.ndarray:
    """log of the compute (S, K) at which the frontier comes down to `goal` (S, K): inf where it never does,
    -inf where it is below at any."""
    low, high = (np.broadcast_to(log_C + way * np.log(NEVER), goal.shape) for way in (-1, 1))
    first, last = frontier_loss(law, side, low), frontier_loss(law, side, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = frontier_loss(law, side, middle) > goal
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found = np.where(last > goal, np.inf, np.where(first < goal, -np.inf, (low + high) / 2))
    return np.where(np.isnan(first + last + goal), np.nan, found)


def _status(law: Law, reference: Side, group: Side, row: Any) -> str:
    if np.isnan(row.m):
        return "no compute optimum: a term of the law vanished"
    if np.isinf(row.m):
        floor = dict(zip(law.names, group.params[0], strict=True)).get("E", 0.0)
        why = f": its E is {floor:.4g}" if floor >= row.loss else f" with {NEVER:.0e} times the compute"
        return f"{group.name} never reaches the {row.loss:.4g} of {reference.name}{why}"
    if row.inside:
        return "within the runs"
    return f"extrapolated: beyond the runs of {reference.name} or {group.name}"
