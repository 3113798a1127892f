"""Simulated tables fitted as a user would: verdicts, better minima, and whether intervals hold the truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.law import Fit, Law

# Two fits of one table are at different minima when their objectives differ by more than rounding.
SAME = 1e-6


def quantities(law: Law, params: np.ndarray, budgets: Sequence[float], flops: float) -> dict[str, Any]:
    """Parameters and what follows from them, by name, in the leading shape of published (..., P)."""
    out = {name: params[..., p] for p, name in enumerate(law.names)}
    with np.errstate(all="ignore"):  # a table that put an exponent at 0 has its optimum at 0 or infinity
        trade = law.tradeoff(params)
        if trade is None:
            return out
        out = {"a": trade.a, "b": trade.b} | out
        for C in budgets:
            out[f"N_opt at C = {C:.4g}"] = trade.optimum(np.asarray(C / flops))[0]
    return out


def as_user(table: pd.DataFrame, law: Law, knobs: Mapping[str, Any]) -> Fit | str:
    """The fit that a user would get, or why there is none."""
    try:
        return fits.fit(table, law, **knobs)
    except ValueError as error:
        return f"not fitted: {error}"


def tally(
    users: Sequence[tuple[Fit | str, float]],
    n: int,
    truth: Mapping[str, Any],
    budgets: Sequence[float],
    flops: float,
) -> dict[str, Any]:
    """What became of the fits, each with the objective found from the truth, to tables of n rows.

    Returns tables, verdicts, not_converged, better, coverage: see
    `analysis.designing.recovery.Recovery.checked`.
    """
    verdicts = Counter(fit if isinstance(fit, str) else fit.status for fit, _ in users)
    done = [(fit, near) for fit, near in users if isinstance(fit, Fit)]
    # A law that holds for the best runs only was fitted to fewer rows: its objective is another.
    better = [fit.objective < near * (1 - SAME) for fit, near in done if fit.n == n]
    held = [_holds(fit, truth, budgets, flops) for fit, _ in done if fit.samples is not None]
    return {
        "tables": len(users),
        "verdicts": dict(verdicts.most_common()),
        "not_converged": (len(users) - verdicts[fits.CONVERGED]) / len(users) if users else math.nan,
        "better": float(np.mean(better)) if better else math.nan,
        "coverage": {name: float(np.mean([one[name] for one in held])) for name in truth} if held else {},
    }


def _holds(fit: Fit, truth: Mapping[str, Any], budgets: Sequence[float], flops: float) -> dict[str, bool]:
    """Whether the 95 % interval of each quantity holds the truth."""
    pairs: dict[str, Any] = dict(fit.interval95)
    if fit.law.tradeoff(fit.vector) is not None:
        best = fit.optimum(list(budgets) or None, flops=flops)["interval95"]
        pairs = {"a": best["a"], "b": best["b"]} | pairs
        for C, pair in zip(budgets, np.reshape(best.get("N_opt", []), (-1, 2)), strict=True):
            pairs[f"N_opt at C = {C:.4g}"] = pair
    return {name: bool(pairs[name][0] <= truth[name] <= pairs[name][1]) for name in truth}
