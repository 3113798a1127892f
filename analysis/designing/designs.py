"""The next runs: those that make one number of a fitted law surest, for the FLOPs there are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.designing import naive
from analysis.designing.candidates import costs
from analysis.designing.fisher import View, information, variance
from analysis.designing.search import Choice
from analysis.designing.targets import Target
from analysis.fits import CONVERGED
from analysis.law import Fit, plain


@dataclass(frozen=True, eq=False)
class Design:
    """Runs to do next, and how sure the target is expected to be before, between and after them."""

    target: str
    value: float
    """The target at the fitted parameters."""
    runs: pd.DataFrame
    """The candidates' columns, sd_before and sd_after (NaN: open), in the order of most gained per FLOP."""
    flops_budget: float
    flops: float
    """What the runs cost."""
    sd_before: float | None
    """Standard error of the target by the runs there are; None where they leave it open."""
    sd_after: float | None
    over_draws: dict[str, Any]
    """The same over bootstrap draws of the parameters: {used, left_out, sd_before, sd_after}, geometric
    means, and sd_bootstrap, the standard deviation of the target over the draws."""
    noise: dict[str, float]
    """scale, the sd of one run's log loss, and inefficiency, as of the function of this name."""
    naive: dict[str, dict[str, Any]]
    """The same FLOPs in designs that know of no target: name -> {runs, flops, repeats, sd_after}."""
    status: str
    """`designed`, or a sentence that says what to beware of."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; tables as lists of rows."""
        out = {name: getattr(self, name) for name in self.__dataclass_fields__}
        out["runs"] = self.runs.to_dict("records")
        out["naive"] = {k: item | {"runs": item["runs"].to_dict("records")} for k, item in self.naive.items()}
        return plain(out)

    def table(self) -> pd.DataFrame:
        """The runs, for a reader."""
        return self.runs.drop(columns="sd_before").rename(columns={"sd_after": "sd after"})

    def sentences(self) -> list[str]:
        """What to expect, a line each."""
        over = self.over_draws
        now, after = _told(self.sd_before), _told(self.sd_after)
        told = [
            f"{self.target} = {self.value:.4g} +- {now} now, +- {after} after {len(self.runs)} runs of "
            f"{self.flops:.4g} FLOPs together, of {self.flops_budget:.4g}"
        ]
        if over["used"]:
            now, after, drawn = (_told(over[sd]) for sd in ("sd_before", "sd_after", "sd_bootstrap"))
            told.append(
                f"over {over['used']} draws of the fit: +- {now} now, +- {after} after; "
                f"its own resampling says +- {drawn} now"
            )
        for name, item in self.naive.items():
            told.append(f"{name}, {len(item['runs'])} runs at equal FLOPs: +- {_told(item['sd_after'])}")
        return told


def design(
    fit: Fit,
    runs: pd.DataFrame | None,
    candidates: pd.DataFrame,
    *,
    flops_budget: float,
    target: str,
    at: Mapping[str, float],
    count: int,
    replicates: int,
    draws: int,
    flops: float,
    **knobs: Any,
) -> Design:
    """Choose out of `candidates` the runs that make `target` surest.

    runs: the table behind the fit, whose information is kept; None to plan from the fitted parameters alone.
    candidates: runs that one could do, columns of the law's inputs and C (FLOPs): see
    `analysis.designing.candidates`. flops_budget: FLOPs of all of them together. target, at: as in
    `analysis.designing.targets.Target`; `loss` with C alone in `at` means at the fitted compute optimum of C.
    count: at most so many runs, and at most `replicates` of each candidate. draws: over so many bootstrap
    draws of the fit the choice is averaged; 0, or a fit without draws, makes it a local one. flops: C = flops
    N D in the compute optimum. knobs: the columns that the fit was made with (weights, which count as
    precisions, and noise), if any.

    Method: c-optimal design. A run with gradient x of its log loss adds x x' / (scale^2 inefficiency) to the
    Fisher information M, and a target with gradient g has variance g' M^-1 g (Chernoff 1953; Atkinson, Donev
    & Tobias 2007, section 10.3 and chapter 17). Draws enter by the mean of their log variance (Chaloner &
    Verdinelli 1995). Noise is taken as independent and of equal size in all runs, the law as true wherever a
    candidate lies.
    Raises ValueError for a target the law lacks, a budget that buys nothing, a column that is missing, and
    for other runs than those that were fitted.
    """
    for name, value in (("count", count), ("replicates", replicates)):
        if value < 1:
            raise ValueError(f"{name}={value} has to be at least 1")
    cost = costs(candidates, flops_budget)
    goal = Target(fit.law, target, _place(fit, target, at, flops), flops)
    view = View.of(fit, runs, candidates, goal, knobs)
    local = _choice(view, fit.vector[None], cost)
    if not local.target.any():
        raise ValueError(f"target={target}: held fixed, so no run can make it surer")
    if not np.isfinite(local.variance(1.0)).all():
        raise ValueError(f"target={target}: all {len(cost)} candidates together would leave it open")
    spread, used, left_out = _spread(fit, view, cost, draws)
    averaged = spread if used else local
    counts = averaged.best(budget=flops_budget * (1 + 1e-9), count=count, replicates=replicates)
    unit = fit.scale * math.sqrt(view.inefficiency)
    others = {}
    for name, rows in _naive(fit, candidates, flops_budget, count, flops).items():
        # Ranges may keep such a design from spending all: it is then repeated until it has.
        repeats = float(flops_budget / rows.C.sum())
        told = local.known + information(view.gradients(fit.vector[None], fit.law.logs(rows)), repeats)
        sd = _sd(unit, variance(told, local.target))
        others[name] = {"runs": rows, "flops": float(rows.C.sum()), "repeats": repeats, "sd_after": sd}
    before, after = _sd(unit, local.variance(0.0)), _sd(unit, local.variance(counts))
    drawn = _bootstrap_sd(goal, fit)
    return Design(
        target=goal.label,
        value=float(goal.value(fit.vector[None])[0]),
        runs=_steps(candidates, averaged.order(counts), local, unit),
        flops_budget=float(flops_budget),
        flops=float(counts @ cost),
        sd_before=before,
        sd_after=after,
        over_draws={
            "used": used,
            "left_out": left_out,
            "sd_before": _sd(unit, spread.variance(0.0)) if used else None,
            "sd_after": _sd(unit, spread.variance(counts)) if used else None,
            "sd_bootstrap": drawn,
        },
        noise={"scale": fit.scale, "inefficiency": view.inefficiency},
        naive=others,
        status=_status(fit, before, after, drawn, int(counts.sum())),
    )


def _place(fit: Fit, target: str, at: Mapping[str, float], flops: float) -> Mapping[str, float]:
    """Where the target is: for the loss at a compute optimum, the fitted N_opt and D_opt.

    As the loss does not change with N along C = flops N D there, its variance is that at this fixed point.
    """
    if target == "loss" and set(at) == {"C"} and "N" in fit.law.inputs:
        N = Target(fit.law, "N_opt", at, flops).value(fit.vector[None])
        D = Target(fit.law, "D_opt", at, flops).value(fit.vector[None])
        return {"N": float(np.exp(N[0])), "D": float(np.exp(D[0])), "C": at["C"]}
    return at


def _choice(view: View, params: np.ndarray, cost: np.ndarray) -> Choice:
    """What to choose from, at published (S, P)."""
    return Choice(view.known(params), view.gradients(params, view.could), view.target(params), cost)


def _spread(fit: Fit, view: View, cost: np.ndarray, draws: int) -> tuple[Choice, int, int]:
    """The choice at evenly spaced draws of the fit, how many are used and how many leave the target open."""
    samples = np.empty((0, len(fit.law.names))) if fit.samples is None else fit.samples
    picked = samples[np.linspace(0, len(samples) - 1, min(draws, len(samples))).astype(int)]
    finite = picked[np.isfinite(picked).all(axis=1)]
    if not len(finite):
        return _choice(view, fit.vector[None], cost), 0, len(picked)
    with np.errstate(all="ignore"):
        spread = _choice(view, finite, cost)
        whole = np.isfinite(spread.target).all(axis=1) & np.isfinite(spread.gradients).all(axis=(1, 2))
        spread = spread.at(whole)
        spread = spread.at(np.isfinite(spread.variance(1.0)))
    return spread, len(spread.target), len(picked) - len(spread.target)


def _steps(candidates: pd.DataFrame, order: list[int], local: Choice, unit: float) -> pd.DataFrame:
    done = np.zeros(len(candidates))
    sds = [_sd(unit, local.variance(done))]
    for k in order:
        done[k] += 1
        sds.append(_sd(unit, local.variance(done)))
    table = candidates.iloc[order].reset_index(drop=True)
    return table.assign(sd_before=np.array(sds[:-1], float), sd_after=np.array(sds[1:], float))


def _sd(unit: float, variances: np.ndarray) -> float | None:
    """Geometric mean of the standard deviations, None when one is infinite."""
    if not np.isfinite(variances).all():
        return None
    return unit * math.exp(0.5 * float(np.log(variances).mean()))


def _told(sd: float | None) -> str:
    return "(open)" if sd is None else f"{sd:.3g}"


def _bootstrap_sd(goal: Target, fit: Fit) -> float | None:
    if fit.samples is None or len(fit.samples) < 2:
        return None
    with np.errstate(all="ignore"):
        spread = float(goal.value(fit.samples).std(ddof=1))
    return spread if math.isfinite(spread) else None


def _naive(
    fit: Fit, candidates: pd.DataFrame, budget: float, count: int, flops: float
) -> dict[str, pd.DataFrame]:
    """Designs over N and D; none for a law that takes more than these."""
    if not {"N", "D"} <= set(candidates) or not set(fit.law.inputs) <= {"N", "D", "C"}:
        return {}
    ranges = naive.Ranges.of(candidates)
    out = {"20 tokens a parameter": naive.ladder(count, budget, ranges)}
    if fit.law.tradeoff(fit.vector) is not None:

        def N_opt(C: float) -> float:
            return float(np.exp(Target(fit.law, "N_opt", {"C": C}, flops).value(fit.vector[None])[0]))

        out["IsoFLOP"] = naive.isoflop(count, budget, ranges, N_opt)
    return out


# The fit's own resampling may find the target this much less sure than equal independent noise would make it
# before the design's figures are called too small: it is itself known to some 20 % at a dozen rows.
DOUBTFUL = 1.5


def _status(fit: Fit, before: float | None, after: float | None, drawn: float | None, chosen: int) -> str:
    if fit.status != CONVERGED:
        return f"designed around a fit that is {fit.status}"
    if after is None:
        return f"the target stays open after {chosen} runs: it takes more of them, or more FLOPs"
    if before and drawn and drawn > DOUBTFUL * before:
        return (
            f"designed; by its own resampling the fit knows the target {drawn / before:.1f} times less well "
            "than equal, independent noise would let it, so take the standard errors as too small"
        )
    return "designed"
