"""Optimum: where the best run of a budget lies, as one approach reads it, and what it gets wrong.

N parameters, D training tokens, C training FLOPs. Shapes: R resamples, k budgets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.law import plain
from analysis.optima.exponents import Exponents, Reader, joined, moved
from analysis.optima.surfaces import Surface

# A group's mean of equal budgets is off by rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Optimum:
    """What one approach says of the compute optimum. NaN where it says nothing; `status` says why."""

    method: str
    a: float
    """N_opt grows like C^a."""
    b: float
    """D_opt grows like C^b."""
    C: list[float]
    """Budgets asked about (k,) in FLOPs, with N_opt and D_opt at each."""
    N_opt: list[float]
    D_opt: list[float]
    extrapolated: list[bool]
    """(k,) the budget lies outside the C of `points`."""
    interval95: dict[str, Any]
    """[lo, hi] of a and b, k of them of N_opt and D_opt; empty without resamples."""
    status: str
    n: int
    """Rows read."""
    points: pd.DataFrame
    """The minima that the power laws go through: columns C, N, D, loss."""
    profiles: list[dict[str, Any]]
    """Of approach 2: every group of equal compute, bracketed or not."""
    resampling: dict[str, Any]
    bias: dict[str, Any] | None
    """What the approach gets wrong on the fitted surface, sampled as the runs are: see `bias_of`."""
    outliers: list[Any]
    """Rows further from their group's curve than scatter explains. They stay in."""
    dropped: list[dict[str, Any]]
    samples: Exponents | None = field(default=None, repr=False)
    """The R resamples behind interval95."""
    reader: Reader | None = field(default=None, repr=False)
    rows: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def exponents(self) -> Exponents:
        log_N, log_D = np.log(self.N_opt)[None], np.log(self.D_opt)[None]
        return Exponents(np.array([self.a]), np.array([self.b]), log_N, log_D)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; numbers that are not finite are null."""
        hidden = ("points", "samples", "reader", "rows")
        out = {name: value for name, value in vars(self).items() if name not in hidden}
        return plain(out | {"points": self.points.to_dict("records")})


def natural(one: Exponents) -> dict[str, Any]:
    """The first table's values by published name: numbers a, b and lists N_opt, D_opt."""
    return {name: value[0].tolist() for name, value in one.values().items()}


def interval95(draws: Exponents) -> dict[str, Any]:
    """95 % percentiles by name: [lo, hi] for a and b, k of them for N_opt and D_opt; {} without two draws.

    Draws that say nothing (NaN) are left out: `kept` counts the others.
    """
    some = draws.where(np.isfinite(draws.a))
    if len(some.a) < 2:
        return {}
    out = {}
    for name, values in some.values().items():
        # Extrapolated far enough a draw is infinite, and no mean of two of those is a number.
        method = "linear" if np.isfinite(values).all() else "inverted_cdf"
        out[name] = np.moveaxis(np.quantile(values, [0.025, 0.975], axis=0, method=method), 0, -1).tolist()
    return out


def kept(draws: Exponents) -> int:
    return int(np.isfinite(draws.a).sum())


def read_all(reader: Reader, tables: Iterable[np.ndarray], budgets: np.ndarray) -> Exponents:
    """What a reader says of every table in an iterator of chunks (r, n)."""
    return joined([reader.read(losses, budgets) for losses in tables])


def bias_of(
    found: Exponents,
    draws: Exponents | None,
    reader: Reader,
    surface: Surface,
    simulated: Exponents | None,
    budgets: np.ndarray,
) -> dict[str, Any]:
    """What a reader gets wrong where the truth is known: on the fitted surface, at the runs' own N and D.

    a, b: reading less truth; N_opt, D_opt (k,): reading over truth, less 1. `noise_free`: of the surface
    itself; `with_noise`: the median over simulated tables, None without. `corrected`: the approach's values
    less the latter, or the former without it, and with `draws` their interval. They stand beside the
    approach's own values and replace nothing: they are right as far as the surface is.
    """
    truth = surface.exponents(surface.fit.vector[None], budgets)
    clean = moved(reader.read(surface.losses()[None], budgets), truth, -1)
    noisy = None
    if simulated is not None and kept(simulated):
        some = simulated.where(np.isfinite(simulated.a))
        columns = (some.a, some.b, some.log_N, some.log_D)
        noisy = moved(Exponents(*(np.median(x, axis=0, keepdims=True) for x in columns)), truth, -1)
    known = noisy or clean
    corrected = natural(moved(found, known, -1))
    if draws is not None:
        corrected["interval95"] = interval95(moved(draws, known, -1))
    silent = "" if np.isfinite(known.a[0]) else "not known: on the fitted surface no minimum is bracketed"
    return {
        "noise_free": _relative(clean),
        "with_noise": None if noisy is None else _relative(noisy),
        "simulated": 0 if simulated is None else len(simulated.a),
        "lost": 0 if simulated is None else len(simulated.a) - kept(simulated),
        "corrected": corrected,
        "status": silent or f"read off the fitted surface ({surface.fit.status})",
    }


def _relative(off: Exponents) -> dict[str, Any]:
    return {
        "a": float(off.a[0]),
        "b": float(off.b[0]),
        "N_opt": np.expm1(off.log_N[0]).tolist(),
        "D_opt": np.expm1(off.log_D[0]).tolist(),
    }


def put_together(
    *,
    method: str,
    rows: pd.DataFrame,
    reader: Reader,
    found: Exponents,
    points: pd.DataFrame,
    budgets: np.ndarray,
    draws: Exponents | None,
    how: str | None,
    told: list[str],
    dropped: list[dict[str, Any]],
    profiles: Sequence[dict[str, Any]] = (),
    outliers: Sequence[Any] = (),
    bias: dict[str, Any] | None = None,
) -> Optimum:
    """The Optimum of one approach, from what it found and drew: what all three have in common."""
    R = 0 if draws is None else len(draws.a)
    low, high = points.C.min(), points.C.max()  # NaN without any, and then nothing lies between them
    return Optimum(
        method=method,
        **natural(found),
        C=budgets.tolist(),
        extrapolated=[not low * (1 - ROUNDING) <= C <= high * (1 + ROUNDING) for C in budgets],
        interval95={} if draws is None else interval95(draws),
        status="; ".join(told),
        n=len(rows),
        points=points,
        profiles=list(profiles),
        resampling={"method": how, "resamples": R, "lost": 0 if draws is None else R - kept(draws)},
        bias=bias,
        outliers=list(outliers),
        dropped=dropped,
        samples=draws,
        reader=reader,
        rows=rows,
    )
