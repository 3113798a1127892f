"""Holding out the largest rungs, and what the fit to the rest says of them."""

import dataclasses

import numpy as np
import pandas as pd

from analysis.law import Fit
from analysis.tables.runs import SLACK

FITTED, HELD_OUT, LEFT_OUT = "fitted", "held out", "left out"


def roles(runs: pd.DataFrame, *, held_out: int) -> pd.Series:
    """What each run is for: fitted, held out (the `held_out` largest N of its architecture), or left out.

    A run that did not finish has no final loss and is left out, whatever its size.
    """
    if held_out < 0:
        raise ValueError(f"held_out={held_out}: the number of rungs to hold out cannot be negative")
    done = (runs.status == "finished") & runs.loss.notna()
    rank = runs[done].groupby("architecture").N.rank(method="dense", ascending=False)
    role = pd.Series(LEFT_OUT, index=runs.index, name="role")
    role[done] = np.where(rank <= held_out, HELD_OUT, FITTED)
    if done.any() and not (role == FITTED).any():
        most = runs[done].groupby("architecture").N.nunique().max()
        raise ValueError(
            f"held_out={held_out} leaves nothing to fit: no architecture has more than {most} sizes"
        )
    return role


def reach(fitted: pd.DataFrame, held: pd.DataFrame) -> str:
    """How far beyond the fitted runs the held-out ones lie, as words; N, D and C of both."""
    N, C = (_beyond(x, float(np.max(held[x]) / np.max(fitted[x]))) for x in ("N", "C"))
    outside = int((~held.D.between(fitted.D.min(), fitted.D.max())).sum())
    D = f"outside the fitted range in {outside} of {len(held)} runs" if outside else "within the fitted range"
    return f"{N}, {C}, D {D}"


def _beyond(x: str, factor: float) -> str:
    if factor <= SLACK:  # budgets are met in whole steps
        return f"{x} not beyond the fitted range"
    return f"{x} up to {factor:.3g} times the largest fitted"


def predict(runs: pd.DataFrame, fit: Fit) -> pd.DataFrame:
    """Measured against predicted loss, one row a run, with the 95 % interval for a new run there.

    relative_error is predicted over measured less 1; inside says whether the interval holds the measurement.
    Where the fit has no bootstrap samples the interval is NaN and `inside` is None.
    """
    out = runs.loc[:, ["run", "architecture", "role", "N", "D", "C", "loss"]].copy()
    out["predicted"] = fit.predict(runs)
    out["lo95"], out["hi95"] = interval(fit, runs, kind="run").T
    out["relative_error"] = out.predicted / out.loss - 1
    inside = (out.lo95 <= out.loss) & (out.loss <= out.hi95)
    out["inside"] = inside.astype(object).where(out.lo95.notna(), None)
    return out


def interval(fit: Fit, table: pd.DataFrame, *, kind: str) -> np.ndarray:
    """(n, 2) bounds, or NaN where the fit carries no samples to draw them from."""
    # A resample with an exponent of 0 has an infinite unit: published parameters cannot say what it predicts.
    known = None if fit.samples is None else fit.samples[np.isfinite(fit.samples).all(axis=1)]
    if known is None or len(known) == 0 or len(table) == 0:
        return np.full((len(table), 2), np.nan)
    return dataclasses.replace(fit, samples=known).predict_interval(table, kind=kind)
