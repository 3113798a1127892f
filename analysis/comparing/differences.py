"""How groups differ in each parameter, with intervals from draws in which their runs are paired."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparing.grouped import Grouped
from analysis.comparing.hypotheses import Hypothesis, refit
from analysis.comparing.multipliers import interval
from analysis.comparing.pairing import Pairing
from analysis.law import Fit, Law
from analysis.solver.certificate import GRADIENT
from analysis.solver.solve import problem

LEVEL = 0.95


def resampled(
    hypothesis: Hypothesis, rows: pd.DataFrame, pairing: Pairing, *, R: int, seed: int, knobs: dict[str, Any]
) -> Fit:
    """The fit with R samples and intervals, units of rows weighted at random: see `Pairing.weights`."""
    fit = hypothesis.fit
    if not R:
        return fit
    task = problem(fit.law, rows, **knobs)
    weights = pairing.weights(R, np.random.default_rng(seed))
    found = refit(task, task.centred(fit.vector)[None], weights=weights[:, task.order])
    samples = task.published(found.theta)
    known = np.where([name in fit.certificate["unidentified"] for name in fit.law.names], np.nan, samples)
    with np.errstate(invalid="ignore"):  # a draw that put a factor at infinity has no finite spread
        stderr = known.std(axis=0, ddof=1) if R > 1 else np.full(len(fit.law.names), np.nan)
    ends = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf").T
    return dataclasses.replace(
        fit,
        samples=samples,
        stderr=dict(zip(fit.law.names, stderr.tolist(), strict=True)),
        interval95={name: (lo, hi) for name, (lo, hi) in zip(fit.law.names, ends.tolist(), strict=True)},
        resampling={
            "method": "bayesian",
            "resamples": R,
            "unconverged": int((np.abs(found.gradient).max(axis=1) > GRADIENT).sum()),
        },
        seed=seed,
    )


def stacked(fit: Fit, group: str) -> np.ndarray:
    """A group's published parameters (1 + R, P): those fitted, then the draws."""
    assert isinstance(fit.law, Grouped)
    samples = np.empty((0, len(fit.law.names))) if fit.samples is None else fit.samples
    return fit.law.part(np.concatenate([fit.vector[None], samples]), group)


def differences(law: Law, reference: np.ndarray, group: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of each parameter, and of the exponent a where the law has an optimum, from (1 + R, P) of each."""
    values = {name: (reference[:, p], group[:, p]) for p, name in enumerate(law.names)}
    with np.errstate(all="ignore"):  # exponents of 0 have no a, and a parameter of 0 no ratio
        ours, theirs = law.tradeoff(reference), law.tradeoff(group)
        if ours is not None and theirs is not None:
            values["a"] = (ours.a, theirs.a)
        return {
            name: _told("difference", after - before) | _told("ratio", after / before)
            for name, (before, after) in values.items()
        }


def _told(name: str, draws: np.ndarray) -> dict[str, Any]:
    low, high = interval(draws[1:, None], LEVEL)
    return {name: float(draws[0]), f"{name}95": [float(low[0]), float(high[0])]}
