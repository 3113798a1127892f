"""What a budget buys: the compute-optimal N and D for so many FLOPs, the loss there, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.costs import positive
from analysis.law import Fit, Law


@dataclass(frozen=True)
class Known:
    """A law whose parameters are known: published, or fitted.

    scale: standard deviation of log loss around it, None where it is not known. optimum: {C: budgets in
    FLOPs, interval95: {N_opt, D_opt, loss: [lo, hi] at each}}, or None.
    """

    name: str
    law: Law
    params: Mapping[str, float]
    scale: float | None
    optimum: Mapping[str, Any] | None

    @classmethod
    def of_fit(cls, content: Mapping[str, Any], *, name: str, part: str | None) -> Known:
        """From what `experiments.fit` writes. part: the architecture, where it was fitted to several.

        Raises ValueError naming the file for one that holds no fit, or several and none is named.
        """
        if "status" not in content:
            if part is None or part not in content:
                raise ValueError(f"{name}: has fits of {', '.join(content)}; say which one: part=")
            content = content[part]
        if "params" not in content:
            raise ValueError(f"{name}: {content['status']}")
        fit = Fit.from_json(dict(content))
        return cls(name, fit.law, fit.params, fit.scale, content.get("optimum"))


@dataclass(frozen=True)
class Affordable:
    """C FLOPs at their best: N_opt parameters, D_opt tokens, loss in nats per token.

    interval95: of each, as far as the fit has them. beyond: the fit has intervals, but none at C, which lies
    outside its budgets.
    """

    C: float
    N_opt: float
    D_opt: float
    loss: float
    interval95: dict[str, tuple[float, float]]
    beyond: bool


def affordable(known: Known, C: float, *, flops: float) -> Affordable:
    """The best run of C = flops N D (Hoffmann et al. 2022, eq. 4).

    The intervals are those the fit has at its own budgets; between two, the distance of each end from the
    law's own value is interpolated, in logarithms. Raises ValueError for a law that is not one of N and D.
    """
    positive("flops_per_token_parameter", flops)
    best = _best(known, C, flops)
    optimum = known.optimum or {}
    given = {name: pairs for name, pairs in (optimum.get("interval95") or {}).items() if name in best}
    if not given:
        return Affordable(C=C, **best, interval95={}, beyond=False)
    budgets = np.asarray(optimum["C"], float)
    if not budgets.min() <= C <= budgets.max():
        return Affordable(C=C, **best, interval95={}, beyond=True)
    order = np.argsort(budgets)
    there = [_best(known, float(budget), flops) for budget in budgets[order]]
    found = {}
    for name, pairs in given.items():
        ends = np.log(np.asarray(pairs, float)[order])  # (budgets, 2); None, an open end, is NaN
        away = ends - np.log([[one[name]] for one in there])
        low, high = (
            best[name] * math.exp(np.interp(math.log(C), np.log(budgets[order]), end)) for end in away.T
        )
        if math.isfinite(low) and math.isfinite(high):
            found[name] = (low, high)
    return Affordable(C=C, **best, interval95=found, beyond=False)


def _best(known: Known, C: float, flops: float) -> dict[str, float]:
    trade = known.law.tradeoff(known.law.vector(known.params))
    if trade is None:
        raise ValueError(
            f"{known.name}: {known.law.name} is not a law of N and D, so it has no compute optimum"
        )
    N, D = (float(value) for value in trade.optimum(np.asarray(C / flops)))
    loss = float(known.law.predict(known.params, known.law.frontier(N, D, C))[0])
    return {"N_opt": N, "D_opt": D, "loss": loss}
