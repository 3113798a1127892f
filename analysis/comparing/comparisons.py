"""Architectures, data sets or objectives compared: which parameters of a law they share, and what a FLOP buys
under each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.comparing.comparison import Comparison
from analysis.comparing.differences import differences, resampled, stacked
from analysis.comparing.hypotheses import Hypothesis, closure, hypotheses
from analysis.comparing.multipliers import Side, multiplier, no_frontier
from analysis.comparing.nested import lattice, run_tests
from analysis.comparing.pairing import Pairing
from analysis.law import Law, unusable
from analysis.tables.columns import check_positive
from analysis.tables.replicates import run_column

SEED = "seed"


def compare(
    table: pd.DataFrame,
    law: Law,
    *,
    by: str,
    reference: str | None,
    shared: Sequence[str],
    points: Sequence[str] | None,
    cluster: str | None,
    flops: float | None,
    budgets: Sequence[float] | None,
    simulations: int,
    bootstrap: int,
    seed: int,
    **knobs: Any,
) -> Comparison:
    """Fit `law` to the groups of rows with the same value of column `by`, and compare them.

    reference: the group that the others are compared to; None: the first by name. shared: published
    parameters that differences and multipliers take to be the same in all groups, with those they need.
    points: columns that make a design point; groups that have the same points are resampled jointly; None:
    the law's inputs, and seed where there is one; (): nothing is paired. cluster: column of the run that
    rows belong to, or "auto": see `analysis.fits.fit`. flops: C = flops N D; None: the counted C of the
    table. budgets: FLOPs to give the multiplier at; None: over the reference's runs and ten times beyond.
    simulations: tables drawn from each null hypothesis. bootstrap: draws behind the intervals. knobs: those
    of `analysis.solver.solve.solve`.
    Raises ValueError, naming the source and the group, for bad rows, fewer than two groups, or a group with
    fewer rows than the law has parameters, plus one.
    """
    if bootstrap < 0 or simulations < 0:
        raise ValueError(f"bootstrap={bootstrap} and simulations={simulations}: neither may be negative")
    _check_compute(table, flops, budgets)
    parts = _parts(table, by, reference)
    held = tuple(knobs.get("fixed") or ())
    kept, questions = closure(law, [*held, *shared]), lattice(law, shared, held)
    alone = {g: fits.fit(its, law, cluster=cluster, bootstrap=0, seed=0, **knobs) for g, its in parts.items()}
    parts = {group: its.loc[alone[group].used] for group, its in parts.items()}
    groups, rows = list(parts), pd.concat(parts.values())
    rows.attrs = dict(table.attrs)
    if cluster == "auto":
        cluster = _run_of_rows(rows, by)
    number = np.repeat(np.arange(len(groups)), [len(its) for its in parts.values()])
    if points is None:
        seeded = SEED in rows and bool(rows[SEED].notna().all())
        points = (*law.inputs, SEED) if seeded else law.inputs
    pairing = Pairing.of(rows, number, cluster=cluster, points=points)
    knobs |= {"cluster": cluster, "profile": False}
    asked = [kept, *(sharing for q in questions for sharing in (q.null, q.alternative))]
    fitted = hypotheses(rows, law, asked, by=by, alone=alone, **knobs)
    tests = run_tests(rows, questions, fitted, pairing, R=simulations, seed=seed, knobs=knobs)
    fit = resampled(fitted[kept], rows, pairing, R=bootstrap, seed=seed, knobs=knobs)
    draws = {group: stacked(fit, group) for group in groups}
    why = no_frontier(law, draws[groups[0]], flops)
    sides = {g: Side.of(g, law, parts[g], draws[g], flops) for g in groups} if why is None else {}
    return Comparison(
        law=law,
        by=by,
        reference=groups[0],
        n={group: len(its) for group, its in parts.items()},
        alone=alone,
        hypotheses=list(fitted.values()),
        tests=tests,
        preferred=_preferred(fitted.values()),
        fit=fit,
        pairing=pairing.said,
        differences={g: differences(law, draws[groups[0]], draws[g]) for g in groups[1:]},
        multipliers={
            g: multiplier(law, sides[groups[0]], sides[g], budgets=budgets) for g in groups[1:] if sides
        },
        no_multiplier=why,
    )


def _parts(table: pd.DataFrame, by: str, reference: str | None) -> dict[str, pd.DataFrame]:
    """The rows of each group, the reference first, each with its name in the source and in column `by`."""
    source = table.attrs.get("source", "table")
    if by not in table:
        raise ValueError(f"{source}: no column {by}; it has {', '.join(map(str, table.columns))}")
    if (empty := table[by].isna().to_numpy()).any():
        raise ValueError(f"{source}, row {table.index[int(empty.argmax())]}, column {by}: is empty")
    labels = table[by].astype(str)
    groups = sorted(labels.unique())
    if len(groups) < 2:
        raise ValueError(f"{source}, column {by}: one group, {', '.join(groups) or 'none'}: it takes two")
    if reference is not None and reference not in groups:
        raise ValueError(f"reference={reference} is no value of column {by}: {', '.join(groups)}")
    parts = {}
    for group in sorted(groups, key=lambda group: group != reference):
        parts[group] = table.loc[labels == group].assign(**{by: group})
        parts[group].attrs = {**table.attrs, "source": f"{source}, {by} {group}"}
    return parts


def _run_of_rows(rows: pd.DataFrame, by: str) -> str | None:
    """The column of runs, where at least one run of a group has several rows."""
    name = run_column(rows)
    return name if name is not None and rows.duplicated([by, name]).any() else None


def _check_compute(table: pd.DataFrame, flops: float | None, budgets: Sequence[float] | None) -> None:
    """Raises ValueError for compute that cannot be counted, before anything is fitted."""
    for name, values in (("budgets", budgets), ("flops", flops)):
        given = np.atleast_1d(np.asarray([] if values is None else values, dtype=float))
        if (bad := unusable(given)).any():
            raise ValueError(f"{name}={given[bad][0]:g} is not a positive number")
    if flops is None:
        check_positive(table, "C")


def _preferred(fitted: Iterable[Hypothesis]) -> str | None:
    known = [h for h in fitted if h.aicc is not None]
    return min(known, key=lambda h: h.aicc or 0.0).name if known else None
