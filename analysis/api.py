"""What a notebook needs: load a table, fit a law, compare groups of runs, forecast, design the next runs.

The same defaults as `python -m experiments.fit`; every knob of `analysis.solver.solve.solve` can be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import fits, forecasts
from analysis.comparing import comparisons
from analysis.comparing.comparison import Comparison
from analysis.designing import designs
from analysis.designing.designs import Design
from analysis.law import Fit, Law
from analysis.tables import runs

# As conf/fit.yaml, which a test holds them to: a notebook and a command give one answer.
DEFAULTS: Mapping[str, Any] = {
    "criterion": "huber_log",
    "delta": 1e-3,
    "bootstrap": 1000,
    "interval": "auto",
    "seed": 42,
    "profile": True,
}

# As conf/design.yaml.
DESIGNED: Mapping[str, Any] = {
    "target": "a",
    "at": {},
    "count": 10,
    "replicates": 2,
    "draws": 100,
    "flops": 6.0,
}
COMPARED: Mapping[str, Any] = {
    "reference": None,
    "shared": (),
    "points": None,
    "cluster": "auto",
    "flops": None,
    "budgets": None,
    "simulations": 199,
}


def load(path: Path | str, columns: Mapping[str, str] | None = None, **how: Any) -> pd.DataFrame:
    """A tidy table of runs: see `analysis.tables.runs.load`."""
    return runs.load(path, columns, **how)


def fit(table: pd.DataFrame, law: Law, **knobs: Any) -> Fit:
    """The law fitted to the table: see `analysis.fits.fit`, for the knobs `analysis.solver.solve.solve`."""
    return fits.fit(table, law, **{**DEFAULTS, **knobs})


def compare(table: pd.DataFrame, law: Law, *, by: str = "architecture", **knobs: Any) -> Comparison:
    """The groups of rows by column `by`: see `analysis.comparing.comparisons.compare`."""
    return comparisons.compare(table, law, by=by, **{**DEFAULTS, "profile": False, **COMPARED, **knobs})


def design(
    fitted: Fit, runs: pd.DataFrame | None, candidates: pd.DataFrame, *, flops_budget: float, **knobs: Any
) -> Design:
    """The next runs, of `candidates`, that make a target surest: see `analysis.designing.designs.design`."""
    return designs.design(fitted, runs, candidates, flops_budget=flops_budget, **{**DESIGNED, **knobs})


def forecast(fitted: Fit, points: pd.DataFrame) -> pd.DataFrame:
    """Loss and intervals at the points: see `analysis.forecasts.forecast`."""
    return forecasts.forecast(fitted, points)
