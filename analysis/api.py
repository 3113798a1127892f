"""What a notebook needs: load a table, fit a law, compare groups of runs, forecast, design the next runs.

The same defaults as `python -m experiments.fit`; every knob of `analysis.solve.solve` can be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import fits, forecasts, runs
from analysis.law import Fit, Law

# As conf/fit.yaml, which a test holds them to: a notebook and a command give one answer.
DEFAULTS: Mapping[str, Any] = {
    "criterion": "huber_log",
    "delta": 1e-3,
    "bootstrap": 1000,
    "interval": "auto",
    "seed": 42,
    "profile": True,
}


def load(path: Path | str, columns: Mapping[str, str] | None = None, **how: Any) -> pd.DataFrame:
    """A tidy table of runs: see `analysis.runs.load`."""
    return runs.load(path, columns, **how)


def fit(table: pd.DataFrame, law: Law, **knobs: Any) -> Fit:
    """The law fitted to the table: see `analysis.fits.fit`, and `analysis.solve.solve` for the knobs."""
    return fits.fit(table, law, **{**DEFAULTS, **knobs})


def forecast(fitted: Fit, points: pd.DataFrame) -> pd.DataFrame:
    """Loss and intervals at the points: see `analysis.forecasts.forecast`."""
    return forecasts.forecast(fitted, points)
