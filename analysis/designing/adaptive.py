"""A study that asks for its own next runs: fit, look at the intervals, run what tells most per FLOP, again.

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
    runs together. rounds: at most so many batches. least: finished runs before an interval is believed:
    resamples of few runs vary too little, and a rule that stops at a narrow interval finds just those. So is
    none believed of a fit that did not converge or left a parameter undetermined.
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
        return (low, high) if 0 < low <= high < math.inf else None  # an exponent of 0 is no law

    def width(self, fit: Fit, name: str) -> float:
        """How wide the interval is, in the terms of `widths`; infinite where it is open."""
        ends = self.interval(fit, name)
        if ends is None:
            return math.inf
        return ends[1] / ends[0] if name in RATIOS else ends[1] - ends[0]

    def wide(self, fit: Fit) -> list[str]:
        """The targets that are not yet known as well as asked."""
        unsure = fit.n < self.least or fits.verdict(fit) != fits.CONVERGED
        return [name for name, most in self.widths.items() if unsure or not self.width(fit, name) <= most]


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
    (FLOPs). taken: (K,) how often each was run, finished or not; what that cost is spent. round: counted from
    0, which spreads `first` runs over the cheaper points; later ones choose up to `batch`, each point at most
    `repeats` times in all. draws: of the fit, over which the choice is averaged. fit: the knobs of
    `analysis.fits.fit`.

    Method: by gain in the mean log variance of the targets still too wide, per FLOP: c-optimal design under
    a cost (Fedorov 1972; Atkinson, Donev & Tobias 2007, chapters 10 and 17), one step of it a batch, so that
    each batch knows what the last one taught (Chernoff 1959).
    Raises ValueError naming a knob that is not a whole number of at least 1.
    """
    for name, value in (("first", first), ("batch", batch), ("repeats", repeats), ("draws", draws)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"choose.{name}={value}: has to be a whole number of at least 1")
    spent = float(taken @ pool["C"])
    left, may = goal.flops * (1 + 1e-9) - spent, np.maximum(repeats - taken, 0)
    told: dict[str, Any] = {"runs": len(runs), "flops": spent, "fit": None, "intervals": {}}
    wide, choice = list(goal.widths), None
    if round:
        try:
            found = fits.fit(runs, goal.law, **fit)
        except ValueError as error:
            told["fit"] = {"status": f"not fitted: {error}"}
        else:
            wide = goal.wide(found)
            told |= {"fit": _told(found), "intervals": _intervals(found, goal)}
            choice = _choice(found, runs, pool, [goal.target(name) for name in wide], draws)
    if why := _end(wide, goal, round, pool["C"].to_numpy(float), left, may):
        return Decision(**told, chosen=[], why=why)
    if choice is None:
        chosen = spread(pool, taken, batch if round else first, left)
        lost = "no fit to choose by, and no point left that was never run and that the budget buys"
        return Decision(**told, chosen=chosen, why="spread over points never run" if chosen else lost)
    counts = choice.filled(np.zeros(len(pool), dtype=int), left, batch, may, 1.0)
    return Decision(**told, chosen=choice.order(counts), why=f"most told per FLOP of {', '.join(wide)}")


def spread(pool: pd.DataFrame, taken: np.ndarray, count: int, money: float) -> list[int]:
    """At most `count` rows of the pool never taken, far apart in log N and log D, for `money` FLOPs.

    Farthest-point design (Kennard & Stone 1969) from the cheapest point on, among the points up to the middle
    of the pool's budgets while there are any: which of the dear ones are worth it is for a fit to say.
    """
    cost = pool["C"].to_numpy(float)
    able = taken == 0
    cheap = able & (cost <= max(math.sqrt(cost.min() * cost.max()), np.sort(cost)[:count][-1]))
    able = cheap if cheap.any() else able
    x = np.log(pool[["N", "D"]].to_numpy(float))
    x = (x - x.min(axis=0)) / np.maximum(np.ptp(x, axis=0), 1e-12)
    distance = -cost / cost.max()  # the cheapest first; then what is far from those that there are
    chosen: list[int] = []
    while len(chosen) < count and (able & (cost <= money)).any():
        best = int(np.where(able & (cost <= money), distance, -np.inf).argmax())
        away = np.linalg.norm(x - x[best], axis=1)
        distance = np.minimum(distance, away) if chosen else away
        money, able[best] = money - cost[best], False
        chosen.append(best)
    return chosen


def _choice(
    found: Fit, runs: pd.DataFrame, pool: pd.DataFrame, targets: list[Target], draws: int
) -> Choice | None:
    """What to choose from, for each target at draws of the fit and at the fit itself.

    Draws that leave a target open whatever is run are left out; None when all do, or nothing is a target.
    """
    drawn = np.empty((0, len(found.law.names))) if found.samples is None else found.samples
    some = drawn[np.linspace(0, len(drawn) - 1, min(draws, len(drawn))).astype(int)]
    at, cost = np.concatenate([some, found.vector[None]]), pool["C"].to_numpy(float)
    parts = []
    for target in targets:
        view = View.of(found, runs, pool, target, {})
        with np.errstate(all="ignore"):
            made = Choice(view.known(at), view.gradients(at, view.could), view.target(at), cost)
            whole = np.isfinite(made.target).all(axis=1) & np.isfinite(made.gradients).all(axis=(1, 2))
            made = made.at(whole & np.isfinite(made.known).all(axis=(1, 2)))
            parts.append(made.at(np.isfinite(made.variance(1.0))))
    if not any(len(part.target) for part in parts):
        return None
    known, gradients, target = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("known", "gradients", "target")
    )
    return Choice(known, gradients, target, cost)


def _end(
    wide: list[str], goal: Goal, round: int, cost: np.ndarray, left: float, may: np.ndarray
) -> str | None:
    """Why the study stops, if it does."""
    if not wide:
        return f"every interval is as narrow as asked: {', '.join(goal.widths)}"
    still = f"and {', '.join(wide)} not known as well as asked"
    if round >= goal.rounds:
        return f"until.rounds={goal.rounds} are done, {still}"
    if not may.any():
        return f"every point was run as often as it may be, {still}"
    if (cheapest := cost[may > 0].min()) > left:
        rest = f"{max(left, 0.0):.3g} of until.flops={goal.flops:.3g} are left"
        return f"{rest}, less than the {cheapest:.3g} of the cheapest run, {still}"
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
