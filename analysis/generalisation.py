"""The gap between text seen in training and text that was not, against N and the bound by counting.

A gap is unseen less seen, of the loss in nats a token or of the error, the share of tokens whose likeliest
guess is wrong; that is the 0-1 loss which the bound is about.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

CELL = ["architecture", "epochs", "N"]


@dataclass(frozen=True)
class Growth:
    """gap ~ N^exponent in one arm, with its 95 % interval; None where a gap is not positive."""

    exponent: float
    low: float
    high: float


def bound(h: float, n: float, delta: float) -> float:
    """Largest gap in error with probability 1 - delta over n independent samples at VC dimension h (Vapnik
    1995, The nature of statistical learning theory, chapter 3); 1 where it says nothing.

    h = N is less than networks have: at least of order N L log(N / L) (Bartlett et al. 2019). So is the
    bound then less than the true one.
    """
    if 2 * n <= h:
        return 1.0
    return min(1.0, math.sqrt((h * (math.log(2 * n / h) + 1) + math.log(4 / delta)) / n))


def gaps(runs: pd.DataFrame, delta: float) -> pd.DataFrame:
    """A row a cell of seeds: gap, its ends (t interval over seeds, NaN for one), and the bound.

    runs: a row a run with architecture, N, D, unique_tokens, and loss and error, `seen_` and `unseen_`.
    """
    rows = []
    for key, cell in _prepared(runs).groupby(CELL, sort=True):
        architecture, epochs, N = _names(key)
        row = {"architecture": architecture, "epochs": epochs, "N": N, "seeds": len(cell)}
        for kind in ("loss", "error"):
            gap = cell[f"gap_{kind}"].to_numpy(float)
            half = _half(gap)
            row |= {
                f"seen_{kind}": cell[f"seen_{kind}"].mean(),
                f"unseen_{kind}": cell[f"unseen_{kind}"].mean(),
            }
            row |= {
                f"gap_{kind}": gap.mean(),
                f"{kind}_lo95": gap.mean() - half,
                f"{kind}_hi95": gap.mean() + half,
            }
        n = float(np.minimum(cell.D, cell.unique_tokens).mean())
        rows.append(row | {"n": n, "bound": bound(N, n, delta)})
    return pd.DataFrame(rows)


def growth(runs: pd.DataFrame) -> dict[tuple[str, int], Growth | None]:
    """By architecture and epochs, the exponent of the gap in loss over N: least squares of logarithms over
    runs, Student's interval."""
    found: dict[tuple[str, int], Growth | None] = {}
    for key, arm in _prepared(runs).groupby(CELL[:2], sort=True):
        architecture, epochs = _names(key)
        gap, N = arm.gap_loss.to_numpy(float), arm.N.to_numpy(float)
        usable = (gap > 0).all() and len(np.unique(N)) > 1 and len(N) > 2
        found[str(architecture), int(epochs)] = _exponent(N, gap) if usable else None
    return found


def _exponent(N: np.ndarray, gap: np.ndarray) -> Growth:
    line: Any = stats.linregress(np.log(N), np.log(gap))
    half = float(stats.t.ppf(0.975, len(N) - 2) * line.stderr)
    return Growth(float(line.slope), float(line.slope) - half, float(line.slope) + half)


def _half(gap: np.ndarray) -> float:
    if len(gap) < 2:
        return math.nan
    return float(stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / math.sqrt(len(gap)))


def _names(key: Any) -> tuple[Any, ...]:
    return tuple(key)


def _prepared(runs: pd.DataFrame) -> pd.DataFrame:
    gap = {f"gap_{kind}": runs[f"unseen_{kind}"] - runs[f"seen_{kind}"] for kind in ("loss", "error")}
    return runs.assign(epochs=(runs.D / runs.unique_tokens).round().clip(lower=1).astype(int), **gap)


def verdict(table: pd.DataFrame, grown: dict[tuple[str, int], Growth | None]) -> list[str]:
    """Sentences, one an arm: how the gap grows with N beside the half that the bound grows by, and how far
    the bound is from the measured error."""
    said = []
    for key, arm in table.groupby(CELL[:2], sort=True):
        architecture, epochs = _names(key)
        it = grown[str(architecture), int(epochs)]
        if it is None:
            told = "no exponent of N: a gap is not positive, or there are too few runs"
        else:
            inside = it.low <= 0.5 <= it.high
            told = f"the gap in loss grows as N^{it.exponent:.2f} [{it.low:.2f}, {it.high:.2f}]; the bound's "
            told += "1/2 is " + ("not excluded" if inside else "excluded")
        vacuous = int((arm.bound >= 1).sum())
        last = arm.iloc[-1]
        allowed = f"a gap in error of {last.bound:.2f}" if last.bound < 1 else "any gap in error"
        told += (
            f"; the bound says nothing at {vacuous} of {len(arm)} sizes, and at N = {last.N:,.0f} allows "
            f"{allowed} where {last.gap_error:+.3f} is measured"
        )
        said.append(f"{str(architecture).replace('_', ' ')}, {epochs} epoch{'s' * (epochs > 1)}: {told}")
    return said
