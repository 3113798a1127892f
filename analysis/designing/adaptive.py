"""A study that asks for its own next runs: fit, look at the intervals, choose what tells most per FLOP, again.

Shapes: K points that may be run, S parameter vectors, P parameters. One call of `decide` is one round: it
knows neither how runs are made nor what was decided before, only what has been measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.designing.fisher import View
from analysis.designing.search import Choice
from analysis.designing.targets import Target
from analysis.law import Fit, Law, plain

RATIOS = ("N_opt", "D_opt")  # known by factors: their intervals are measured by the ratio of their ends


@dataclass(frozen=True)
class Goal:
    """When to stop: as soon as every 95 % interval is narrow enough, or the money is spent.

    widths: target (a parameter of the law, a, b, N_opt or D_opt) -> its widest interval: upper less lower
    end, for N_opt and D_opt upper over lower. C: FLOPs at which those two are meant, C = 6 N D. flops: of all
    runs together. rounds: at most so many batches. least: finished runs before an interval is believed: resamples
    of a few runs more than parameters vary too little, and a rule that stops at a narrow interval finds those.
    Raises ValueError naming the key for a target that the law lacks and a number that cannot be meant.
    """

    law: Law
    widths: Mapping[str, float]
    C: float | None
    flops: float
    rounds: int
    least: int

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("until.widths: name at least one target and how wide its interval may be")
        for name, width in self.widths.items():
            self.target(name)
            least = 1 if name in RATIOS else 0
            if not (_number(width) and width > least):
                raise ValueError(f"until.widths.{name}={width}: has to be a number above {least}")
        for key in ("flops", "rounds", "least"):
            value = getattr(self, key)
            if not (_number(value) and value > 0):
                raise ValueError(f"until.{key}={value}: has to be a positive number")

    def target(self, name: str) -> Target:
        if name == "loss" or (name in RATIOS and self.C is None):
            told = (
                "no target of a study" if name == "loss" else "needs until.C, the FLOPs at which it is meant"
            )
            raise ValueError(f"until.widths.{name}: {told}")
        try:
            return Target(self.law, name, {} if self.C is None else {"C": self.C})
        except ValueError as error:
            raise ValueError(f"until.widths.{name}: {error}") from error

    def interval(self, fit: Fit, name: str) -> tuple[float, float] | None:
        """The 95 % interval of a target; None where the fit leaves it open."""
        if name in fit.interval95:
            ends = fit.interval95[name]
        elif fit.samples is None:
            return None
        else:
            with np.errstate(all="ignore"):  # a draw without a slope has its optimum at 0 or infinity
                values = self.target(name).value(fit.samples)
                low, high = np.quantile(values, [0.025, 0.975])
                ends = tuple(np.exp([low, high])) if name in RATIOS else (low, high)
        low, high = map(float, ends)
        return (low, high) if math.isfinite(low) and math.isfinite(high) and low > 0 else None

    def width(self, fit: Fit, name: str) -> float:
        """How wide the interval is, in the terms of `widths`; infinite where it is open."""
        ends = self.interval(fit, name)
        if ends is None:
            return math.inf
        return ends[1] / ends[0] if name in RATIOS else ends[1] - ends[0]

    def wide(self, fit: Fit) -> list[str]:
        """The targets that are not yet known as well as asked."""
        few = fit.n < self.least
        return [name for name, most in self.widths.items() if few or not self.width(fit, name) <= most]


@dataclass(frozen=True)
class Decision:
    """One round: what the runs so far say, and what is to be run next, or why nothing is."""

    runs: int
    flops: float
    """Spent so far."""
    fit: dict[str, Any] | None
    """{params, scale, status}; None where there is none yet."""
    intervals: dict[str, dict[str, Any]]
    """Target -> {interval, width, wanted}; interval and width None where the runs leave it open."""
    chosen: list[int]
    """Rows of the pool (K,), one that is to be run twice twice; empty when the study stops."""
    why: str
    """Why these, or why the study stops."""

    def to_json(self) -> dict[str, Any]:
        return plain({name: getattr(self, name) for name in self.__dataclass_fields__ if name != "chosen"})


def decide(
    runs: pd.DataFrame,
    pool: pd.DataFrame,
    taken: np.ndarray,
    goal: Goal,
    *,
    round: int,
    first: int,
    batch: int,
    repeats: int,
    draws: int,
    fit: Mapping[str, Any],
) -> Decision:
    """The next runs, or why the study is at its end.

    runs: those that finished, columns of the law's inputs and loss. pool: what may be run, columns N, D and C
    (FLOPs). taken: (K,) how often each was run, finished or not; what that cost is spent. round: counted from 0,
    which spreads `first` runs over the cheaper points; later rounds choose up to `batch`, each point at most
    `repeats` times in all. draws: of the fit, over which the choice is averaged. fit: knobs of `analysis.fits.fit`.

    Method: by gain in the mean log variance of the targets still too wide, per FLOP: c-optimal design under
    a cost (Fedorov 1972; Atkinson, Donev & Tobias 2007, chapters 10 and 17), one step of it a batch, so that
    each batch knows what the last one taught (Chernoff 1959).
    Raises ValueError for a budget that buys no first round.
    """
    cost = pool["C"].to_numpy(float)
    spent = float(taken @ cost)
    left = goal.flops * (1 + 1e-9) - spent
    open_to = np.maximum(repeats - taken, 0)
    if round == 0:
        chosen = spread(pool, first, left)
        return Decision(0, 0.0, None, {}, chosen, "spread over the cheaper points: nothing is known yet")
    told = {"runs": len(runs), "flops": spent}
    try:
        found = fits.fit(runs, goal.law, **fit)
    except ValueError as error:
        found, wide = None, list(goal.widths)
        seen = {"fit": {"status": f"not fitted: {error}"}, "intervals": {}}
    else:
        wide = goal.wide(found)
        seen = {"fit": _told(found), "intervals": _intervals(found, goal)}
    if why := _end(wide, goal, round, cost, left, open_to):
        return Decision(**told, **seen, chosen=[], why=why)
    if found is None:
        chosen, why = (
            spread(pool.assign(C=np.where(taken == 0, cost, np.inf)), batch, left),
            "spread: no fit yet",
        )
    else:
        choice = _choice(found, runs, pool, [goal.target(name) for name in wide], draws)
        counts = choice.filled(np.zeros(len(cost), dtype=int), left, batch, open_to, 1.0)
        chosen = choice.order(counts)
        why = f"most told per FLOP of {', '.join(wide)}"
    return Decision(**told, **seen, chosen=chosen, why=why)


def spread(pool: pd.DataFrame, count: int, money: float) -> list[int]:
    """Rows of the pool, far from each other in log N and log D, of the cheaper half of the budgets.

    Farthest-point design (Kennard & Stone 1969), from the cheapest point on, for at most `money` FLOPs.
    Raises ValueError when that buys fewer than `count`, or the cheaper half has fewer.
    """
    cost = pool["C"].to_numpy(float)
    able = np.isfinite(cost)
    middle = math.sqrt(cost[able].min() * cost[able].max()) * (1 + 1e-9) if able.any() else 0.0
    able &= cost <= max(middle, np.sort(cost)[min(count, len(cost)) - 1])
    x = np.log(pool[["N", "D"]].to_numpy(float))
    x = (x - x.min(axis=0)) / np.maximum(np.ptp(x, axis=0), 1e-12)
    chosen: list[int] = []
    distance = np.full(len(cost), np.inf)
    while len(chosen) < count:
        may = able & (cost <= money)
        if not may.any():
            break
        best = (
            int(np.where(may, distance, -1.0).argmax())
            if chosen
            else int(np.where(may, cost, np.inf).argmin())
        )
        chosen.append(best)
        money, able[best] = money - cost[best], False
        distance = np.minimum(distance, np.linalg.norm(x - x[best], axis=1))
    return chosen


def _choice(found: Fit, runs: pd.DataFrame, pool: pd.DataFrame, targets: list[Target], draws: int) -> Choice:
    """What to choose from, at draws of the fit, once for each target."""
    rows = np.empty((0, len(found.law.names))) if found.samples is None else found.samples
    rows = rows[np.linspace(0, len(rows) - 1, min(draws, len(rows))).astype(int)]
    parts = []
    for target in targets:
        view = View.of(found, runs, pool, target, {})
        for at in (rows, found.vector[None]):
            with np.errstate(all="ignore"):
                made = Choice(
                    view.known(at), view.gradients(at, view.could), view.target(at), pool["C"].to_numpy(float)
                )
                whole = np.isfinite(made.target).all(axis=1) & np.isfinite(made.gradients).all(axis=(1, 2))
                made = made.at(whole)
                made = made.at(np.isfinite(made.variance(1.0)))
            parts.append(made)
    return Choice(
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.gradients for part in parts]),
        np.concatenate([part.target for part in parts]),
        parts[0].cost,
    )


def _end(
    wide: list[str], goal: Goal, round: int, cost: np.ndarray, left: float, open_to: np.ndarray
) -> str | None:
    if not wide:
        return f"every interval is as narrow as asked: {', '.join(goal.widths)}"
    if round >= goal.rounds:
        return f"until.rounds={goal.rounds} are done, and {', '.join(wide)} is still wider than asked"
    if not open_to.any():
        return f"every point has been run as often as it may, and {', '.join(wide)} is still wider than asked"
    cheapest = cost[open_to > 0].min()
    if cheapest > left:
        return (
            f"the budget is spent: {max(left, 0.0):.3g} of until.flops={goal.flops:.3g} are left, the cheapest "
            f"run costs {cheapest:.3g}, and {', '.join(wide)} is still wider than asked"
        )
    return None


def _intervals(found: Fit, goal: Goal) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "interval": goal.interval(found, name),
            "width": goal.width(found, name),
            "wanted": float(most),
        }
        for name, most in goal.widths.items()
    }


def _told(found: Fit) -> dict[str, Any]:
    return {"params": found.params, "scale": found.scale, "status": fits.verdict(found)}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
