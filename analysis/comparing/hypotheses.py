"""What groups of runs may share: one law over all of them, fitted with more or fewer parameters in common.

Shapes as in `analysis.comparing.grouped`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from analysis.comparing.grouped import Grouped, entangled
from analysis.law import Fit, Law, plain
from analysis.solver.criteria import Criterion
from analysis.solver.minimise import Minimum, Rows
from analysis.solver.problem import Problem
from analysis.solver.solve import problem, solve

# Log residuals this small are rounding: there is no scatter to tell a difference from.
EXACT = 1e-10


@dataclass(frozen=True)
class Hypothesis:
    """Which parameters the groups share, the law fitted so, and its AICc."""

    name: str
    shared: tuple[str, ...]
    fit: Fit
    aicc: float | None
    """None where there are too few rows for so many parameters."""

    @property
    def law(self) -> Grouped:
        assert isinstance(self.fit.law, Grouped)
        return self.fit.law

    def to_json(self) -> dict[str, Any]:
        names = ("params", "objective", "scale", "n", "status")
        out = {name: getattr(self.fit, name) for name in names}
        return plain(
            {"shared": list(self.shared), "parameters": len(self.law.names), "aicc": self.aicc} | out
        )


def closure(law: Law, names: Iterable[str]) -> tuple[str, ...]:
    """The parameters and all that have to be shared for theirs to mean anything, in the law's order.

    Raises ValueError for a name that is none of the law's.
    """
    found, needs = set(names), entangled(law)
    if unknown := sorted(found - set(law.names)):
        raise ValueError(f"shared={unknown[0]}: {law.name} has {', '.join(law.names)}")
    while more := set().union(*(needs[name] for name in found)) - found:
        found |= more
    return tuple(name for name in law.names if name in found)


def title(law: Law, shared: Sequence[str], held: Iterable[str]) -> str:
    own = [name for name in law.names if name not in shared]
    if not own:
        return "all shared"
    return "all separate" if set(shared) == set(held) else f"separate {', '.join(own)}"


def hypotheses(
    table: pd.DataFrame,
    law: Law,
    sharings: Iterable[tuple[str, ...]],
    *,
    by: str,
    alone: dict[str, Fit],
    **knobs: Any,
) -> dict[tuple[str, ...], Hypothesis]:
    """The law fitted under each sharing, from the narrowest: a wider one starts where the best that it
    contains ended, so that it comes out no worse. alone: each group's fit, to start from as well."""
    out: dict[tuple[str, ...], Hypothesis] = {}
    for shared in sorted(dict.fromkeys(sharings), key=len, reverse=True):
        grouped = Grouped(law, by, list(alone), shared)
        starts = [grouped.join([fit.vector for fit in alone.values()])]
        if contained := [h for h in out.values() if set(shared) < set(h.shared)]:
            best = min(contained, key=lambda h: h.fit.objective)
            starts.append(widen(best.law, grouped, best.fit.vector))
        fit = solve(grouped, table, starts=np.array(starts), bootstrap=0, seed=0, **knobs)
        asked = problem(grouped, table, **knobs)
        noise = asked.rows.noise[np.argsort(asked.order)]
        criterion = asked.criterion.scaled_to(fit.residuals / noise)
        score = aicc(fit, criterion, int(asked.free.sum()))
        out[shared] = Hypothesis(title(law, shared, fit.fixed), shared, fit, score)
    return out


def widen(narrow: Grouped, wide: Grouped, values: np.ndarray) -> np.ndarray:
    """Parameters (..., Q) of one law over groups as those of another that shares less."""
    return wide.join([narrow.part(values, group) for group in narrow.groups])


def least_squares(fit: Fit) -> bool:
    """Whether the objective is the sum of squares: every residual within Huber's delta, no weights."""
    return bool(np.isclose(fit.objective, 0.5 * (fit.residuals**2).sum(), rtol=1e-9))


# Where a density is summed up: from far below to far above any residual of log loss or of loss in nats, in
# steps of two per mille.
RESIDUALS = np.geomspace(1e-12, 1e4, 18_500)


def aicc(fit: Fit, criterion: Criterion, k: int) -> float | None:
    """Akaike's criterion for small samples (Hurvich & Tsai 1989) of the likelihood that a robust loss rho is.

    A sum of rho(r) is, up to its scale, the log likelihood of residuals with density exp(-rho(r) / tau) / Z:
    for squares the normal one, for absolute values the double exponential. tau, profiled out, counts as one
    more than the k parameters fitted. None where that is too many for the rows, or the fit is exact.
    """
    n, k = fit.n, k + 1
    if n - k - 1 <= 0 or fit.scale < EXACT:
        return None
    rho = criterion.value(RESIDUALS[None])[0]

    def cost(log_tau: float) -> float:
        Z = 2 * np.trapezoid(np.exp(-rho / np.exp(log_tau)), RESIDUALS)
        return fit.objective / np.exp(log_tau) + n * np.log(Z)

    mean = np.log(fit.objective / n)  # tau is 1 (double exponential) to 2 (normal) times the mean of rho
    best = minimize_scalar(cost, bounds=(mean - 2, mean + 2), method="bounded", options={"xatol": 1e-9})
    return float(2 * best.fun + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def refit(
    task: Problem, theta: np.ndarray, y: np.ndarray | None = None, weights: np.ndarray | None = None
) -> Minimum:
    """`Problem.refit` of a law over groups from (R, Q). Groups that share nothing are separate problems, each
    of which converges at its own pace."""
    law = task.law
    assert isinstance(law, Grouped)
    if task.free[[law.names.index(name) for name in law.shared]].any():
        return task.refit(theta, y, weights)
    R = max(len(np.atleast_2d(v)) for v in (theta, y, weights) if v is not None)
    out = Minimum(np.empty((R, len(law.names))), np.zeros(R), np.zeros((R, len(law.names))), 0)
    for columns, rows, x in law.split(task.x):
        its = task.rows
        part = dataclasses.replace(
            task,
            law=law.law,
            rows=Rows(x, its.y[rows], its.weights[rows], its.noise[rows], its.y_unit),
            bounds=task.bounds[columns],
        )
        found = part.refit(
            np.broadcast_to(theta[..., columns], (R, len(columns))),
            None if y is None else y[..., rows],
            None if weights is None else weights[..., rows],
        )
        out.theta[:, columns], out.gradient[:, columns] = found.theta, found.gradient
        out.objective[:] += found.objective
    return out
