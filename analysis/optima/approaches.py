"""Approaches 1, 2 and 3 of Hoffmann et al. 2022 on the same runs: N_opt, D_opt and how they grow with C.

Approach 1 reads the envelope of the runs, 2 the minima of IsoFLOP profiles, 3 the fitted surface. Shapes: n
rows, R resamples, k budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.law import Fit, Law
from analysis.laws.chinchilla import Chinchilla
from analysis.optima import winners
from analysis.optima.exponents import Exponents, moved
from analysis.optima.optimum import Optimum, bias_of, interval95, put_together, read_all
from analysis.optima.surfaces import Surface
from analysis.optima.vertices import Noise, Vertices, resampled
from analysis.tables import hygiene
from analysis.tables.columns import check_positive, numbers
from analysis.tables.replicates import run_column
from analysis.tables.runs import usable

METHODS = ("approach1", "approach2", "approach3")

# Losses of simulated tables held at once: 32 MB.
CHUNK = 4_000_000

# A bias of this share of an interval takes its coverage from 95 to below 84 %.
WORTH = 0.25

# Points to show of a frontier that is a formula.
ALONG = 9


def approach(
    table: pd.DataFrame,
    method: str,
    *,
    fit: Fit | None,
    budgets: Sequence[float],
    flops: float,
    curve: str,
    width: float,
    bootstrap: int,
    seed: int,
) -> Optimum:
    """The compute optimum by one approach (Hoffmann et al. 2022, sections 3.1 to 3.3).

    table: columns N, C or D, loss; for approach 1 several rows a run (column `run`), or one. method:
    approach1, approach2 or approach3. fit: a law of N and D fitted to the same table; approach 3 is read off
    it, the bias of 1 and 2 and the interval of 1 are simulated on it. budgets: FLOPs (k,) to give N_opt and
    D_opt for.
    flops: C = flops N D completes a table that lacks C or D. curve: parabola, cubic or akima, and width: the
    largest ratio of C in a group, both for approach 2. bootstrap: resamples; 0 gives no intervals.
    Raises ValueError for a table, a method or a knob that cannot be used, naming it.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is none of {', '.join(METHODS)}")
    if bootstrap < 0:
        raise ValueError(f"bootstrap={bootstrap} is negative")
    rows, dropped = complete(table, flops)
    at = np.array(budgets, dtype=float)
    if not ((at > 0) & np.isfinite(at)).all():
        raise ValueError(f"budgets={list(budgets)}: FLOPs are positive numbers")
    surface = None if fit is None else Surface.of(fit, rows, flops=flops)
    told = []
    if surface is not None and surface.doubt:
        if method == "approach3":
            raise ValueError(f"{table.attrs.get('source', 'table')}: {surface.doubt}")
        surface, told = None, [f"nothing simulated: {surface.doubt}"]
    if method == "approach1":
        return _envelope(rows, surface, at, bootstrap, seed, dropped, told)
    if method == "approach2":
        design = Vertices.of(rows, curve=curve, width=width)
        return _isoflop(rows, design, surface, at, bootstrap, seed, dropped, told)
    if surface is None:
        raise ValueError("approach 3 is read off a fitted law of N and D: give it as `fit`")
    return _parametric(rows, surface, at, dropped)


def complete(table: pd.DataFrame, flops: float) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The rows to read, with all of N, D, C and loss (C = flops N D where one is missing), and those dropped.

    Raises ValueError naming the column, and the row where there is one.
    """
    if not (flops > 0 and np.isfinite(flops)):
        raise ValueError(f"flops={flops} is not a positive number")
    has = [name for name in ("N", "D", "C", "loss") if name in table]
    table = table.assign(**{name: numbers(table, name, table.attrs.get("source", "table")) for name in has})
    filled = str(table.attrs.get("filled") or " ")[0]  # `runs.load` fills in at 6 FLOPs
    if {"N", "D"} <= set(has) and ("C" not in has or filled == "C"):
        table = table.assign(C=flops * table["N"] * table["D"])
    elif {"N", "C"} <= set(has) and ("D" not in has or filled == "D"):
        table = table.assign(D=table["C"] / (flops * table["N"]))
    rows, dropped = hygiene.clean(table, hygiene.inspect(table))
    rows, more = usable(rows, Chinchilla())
    check_positive(rows, "C")
    name = run_column(rows)
    if name is not None and (empty := rows[name].isna().to_numpy()).any():
        source, row = table.attrs.get("source", "table"), rows.index[int(empty.argmax())]
        raise ValueError(f"{source}, row {row}, column {name}: is empty, and says which rows are one run")
    return rows, dropped + more


def loss_along(optimum: Optimum, law: Law, **knobs: Any) -> Fit:
    """The law of the loss along the frontier, L(C), through an approach's minima. Raises ValueError."""
    return fits.fit(optimum.points, law, **knobs)


def chunk(rows: pd.DataFrame) -> int:
    """How many tables of these rows to hold at once."""
    return max(1, CHUNK // max(len(rows), 1))


def _envelope(
    rows, surface: Surface | None, budgets: np.ndarray, R: int, seed: int, dropped, told: list[str]
) -> Optimum:
    """The least of noisy losses favours lucky runs, which resampling the runs cannot see: its interval holds
    a 20 to 100 % of the time on ladders of 40 to 8 sizes, one simulated on a fitted surface 92 to 98 %."""
    reader, loss = winners.of_runs(rows), rows.loss.to_numpy(float)
    found, points = reader.read(loss[None], budgets), reader.points(loss)
    kind = "learning curves" if isinstance(reader, winners.Curves) else "single rows"
    of = f"{len(points)} stretches of {points.N.nunique()} sizes"
    told = [f"envelope of {len(reader.runs)} {kind}: {of}", *told]
    draws, simulated, how = None, None, None
    if surface is not None and R:
        simulated = read_all(reader, surface.simulated(R, seed, chunk(rows)), budgets)
        truth = surface.exponents(surface.fit.vector[None], budgets)
        draws = moved(found, moved(simulated, truth, -1), -1)
        how = "tables simulated on the fitted surface, the bias there taken off"
        some = draws.a[np.isfinite(draws.a)]
        if len(some) and np.ptp(some) <= 1e-9 * abs(some[0]):
            draws = winners.within_grid(points, rows, budgets, R, seed)
            how = "winners anywhere up to half way to the next size"
            told.append("every simulated table has the same winners: the interval is the distance of sizes")
        else:
            told.append("the interval is of `bias.corrected`, the values with the envelope's bias taken off")
    elif R:
        draws, how = winners.drawn(reader, loss, budgets, R, seed), "runs drawn with replacement"
        told.append("that lucky runs win is not in the interval: give a fitted law of N and D to see it")
    name = run_column(rows)
    if isinstance(reader, winners.Curves) and (single := rows[name].nunique() - len(reader.runs)):
        dropped = [*dropped, {"why": "runs at a single C have no learning curve", "count": single}]
    if not np.isfinite(found.a[0]):
        told.append(
            "no exponent: it takes winners of two sizes, each with a smaller and a larger size beside it"
        )
    return put_together(
        method="approach1",
        rows=rows,
        reader=reader,
        found=found,
        points=points,
        budgets=budgets,
        draws=draws,
        how=how,
        told=told,
        dropped=dropped,
        bias=surface and bias_of(found, None, reader, surface, simulated, budgets),
    )


def _isoflop(
    rows,
    design: Vertices,
    surface: Surface | None,
    budgets: np.ndarray,
    R: int,
    seed: int,
    dropped,
    told: list[str],
) -> Optimum:
    loss, points = rows.loss.to_numpy(float), design.points()
    told = [f"{len(points)} of {len(design.profiles)} groups of equal compute bracket a minimum", *told]
    none = np.full((1, len(budgets)), np.nan)
    found, outliers = Exponents(np.array([np.nan]), np.array([np.nan]), none, none), []
    draws, simulated, how, bias = None, None, None, None
    name = run_column(rows)
    if name is not None and rows[name].duplicated().any():
        told.append(f"rows of one {name} are taken for independent")
    if len(points) < 2:
        told.append("no exponent: it takes two")
    else:
        found, noise, size = design.read(loss[None], budgets), Noise.around(design, loss), chunk(rows)
        outliers = rows.index[noise.outliers].tolist()
        if R:
            draws, how, why = resampled(design, noise, loss, budgets, R=R, seed=seed, chunk=size)
            told += why
        if surface is not None:
            if R:
                simulated = read_all(design, surface.simulated(R, seed, size), budgets)
            bias = bias_of(found, draws, design, surface, simulated, budgets)
            told += _warning(bias, draws)
    return put_together(
        method="approach2",
        rows=rows,
        reader=design,
        found=found,
        points=points,
        budgets=budgets,
        draws=draws,
        how=how,
        told=told,
        dropped=dropped,
        profiles=[p.to_json() for p in design.profiles],
        outliers=outliers,
        bias=bias,
    )


def _warning(bias: dict[str, Any], draws: Exponents | None) -> list[str]:
    """A sentence where the interval of a misses most of what the approach gets wrong."""
    off = (bias["with_noise"] or bias["noise_free"])["a"]
    ends = {} if draws is None else interval95(draws)
    if not ends or not abs(off) > WORTH * (ends["a"][1] - ends["a"][0]):
        return []
    return [f"sampled like this the fitted surface itself gives an a off by {off:+.3f}: see bias"]


def _parametric(rows, surface: Surface, budgets: np.ndarray, dropped) -> Optimum:
    fit, told = surface.fit, [surface.fit.status]
    if surface.counted:
        told.append(f"FLOPs a token as a sum of N, N^(2/3) and N^(1/3), within {surface.cost.error:.2%}")
    return put_together(
        method="approach3",
        rows=rows,
        reader=surface,
        found=surface.exponents(fit.vector[None], budgets),
        points=surface.along(np.geomspace(rows.C.min(), rows.C.max(), ALONG)),
        budgets=budgets,
        draws=None if fit.samples is None else surface.exponents(fit.samples, budgets),
        how=fit.resampling.get("method"),
        told=told,
        dropped=dropped,
    )
