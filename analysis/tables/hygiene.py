"""What is wrong with a table of runs before anything is fitted to it, as far as its columns tell.

Rows that no law should see are to be dropped: those of runs that diverged, those from warm-up, those that
come twice. All else is a warning, and stays in the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.law import unusable
from analysis.tables.bookkeeping import (
    checkpoints,
    duplicates,
    embeddings,
    ratio,
    repeated,
    schedule,
    status,
    units,
    warm_up,
)
from analysis.tables.columns import numbers
from analysis.tables.files import BadTable
from analysis.tables.flags import DROP, Flag
from analysis.tables.replicates import SeedNoise, seed_noise
from analysis.tables.runs import NUMBERS, check_left
from analysis.tables.suspects import above_chance, above_neighbours, dominated, swept

__all__ = ["Flag", "SeedNoise", "clean", "inspect", "seed_noise", "unchecked"]


@dataclass(frozen=True)
class Check:
    """A check and the columns it needs: all of one of the sets in `needs`."""

    name: str
    needs: tuple[tuple[str, ...], ...]
    look: Callable[[pd.DataFrame], Iterator[Flag]]

    def possible(self, table: pd.DataFrame) -> bool:
        return any(set(names) <= set(table) for names in self.needs)


PLANE = ("N", "D", "loss")
CHECKS = (
    Check("status", (("status",),), status),
    Check("duplicates", (("loss",),), duplicates),
    Check("warm-up", (("step", "warmup_steps"), ("D", "warmup_tokens")), warm_up),
    Check("loss above chance", (("loss", "vocab"), ("loss", "vocab_size")), above_chance),
    Check("loss above neighbours", (PLANE,), above_neighbours),
    Check("schedule", (("D", "schedule_tokens"), ("D", "run"), ("D", "run_name")), schedule),
    Check("loss above smaller runs", (PLANE,), dominated),
    Check("learning-rate sweep", ((*PLANE, "learning_rate"), (*PLANE, "peak_learning_rate")), swept),
    Check("repeats", ((*PLANE, "seed"), (*PLANE, "run"), (*PLANE, "run_name")), repeated),
    Check("checkpoints", (("run",), ("run_name",)), checkpoints),
    Check("tokens a parameter", (("N", "D"),), ratio),
    Check("embeddings", (("N", "N_total"),), embeddings),
    Check("units", (("N",), ("D",), ("loss",)), units),
)


def inspect(table: pd.DataFrame) -> list[Flag]:
    """All flags that the table's columns give reason for, those that drop rows first.

    table: one of `analysis.tables.runs`: N, D, C, loss are numbers. What its columns cannot tell is not
    flagged, and listed by `unchecked`. What a flag drops, later checks do not look at: what is suspected of
    the rest does not hang on it. Raises ValueError for a table whose index names two rows alike.
    """
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise BadTable(f"{table.attrs.get('source', 'table')}: two rows are called {twice}: reset the index")
    flags = list(status(table)) if "status" in table else []
    table = _readable(_without(table, flags))
    for check in CHECKS:
        if check.look is not status and check.possible(table) and len(table):
            found = [flag for flag in check.look(table) if flag.rows]
            flags += found
            table = _without(table, found)
    return sorted(flags, key=lambda flag: flag.severity != DROP)


def _without(table: pd.DataFrame, flags: list[Flag]) -> pd.DataFrame:
    gone = [row for flag in flags if flag.severity == DROP for row in flag.rows]
    return table.loc[~table.index.isin(gone)] if gone else table


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose numbers have logarithms: the others are for `analysis.tables.runs.usable` to refuse."""
    source = table.attrs.get("source", "table")
    # As floats, whatever kind of column a frame has them in.
    there = {name: numbers(table, name, source) for name in NUMBERS if name in table}
    table = table.assign(**there)
    bad = np.array([unusable(values) for values in there.values()])
    return table.loc[~bad.any(axis=0)] if there and bad.any() else table


def unchecked(table: pd.DataFrame) -> dict[str, str]:
    """The checks that could not be made of this table, and which columns each of them needs."""
    return {
        check.name: " or ".join(" and ".join(names) for names in check.needs)
        for check in CHECKS
        if not check.possible(table)
    }


def clean(table: pd.DataFrame, flags: list[Flag]) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The table without the rows that flags want dropped, and what was dropped: [{why, count, rows}].

    A row that several flags name is counted for the first of them. Raises ValueError when no row is left.
    """
    dropped = []
    for flag in flags:
        rows = table.index[table.index.isin(flag.rows)].tolist() if flag.severity == DROP else []
        if rows:
            dropped.append({"why": flag.why, "count": len(rows), "rows": rows})
            table = table.drop(index=rows)
    check_left(table, dropped)
    return table, dropped
