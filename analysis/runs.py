"""Runs as one tidy table, from a file (CSV, JSON lines, Parquet) or a folder of run records.

N parameters, D training tokens, C training FLOPs, loss in nats per token; one row a run.
"""

import csv
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.law import Law, complaint, unusable
from scalelaw.run import records

NUMBERS = ("N", "D", "C", "loss")
ORDER = ("architecture", "N", "D", "C", "loss", "run")
FINISHED = "finished"


def load(path: Path | str, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read runs, rename, fill in C = 6 N D or D = C / (6 N) where it is missing, and sort.

    columns: name here -> name in the file, for those that differ. The index is the row in the source, from
    1; `attrs` holds the source and which column was filled in.
    Raises ValueError in one line naming the file, and row and column where there is one.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    table = _records(path) if path.is_dir() else _read(path)
    if table.empty:
        raise ValueError(f"{path}: no rows")
    table = _rename(table, columns or {}, path)
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    for name in NUMBERS:
        if name in table:
            table[name] = _numbers(table, name, path)
    table.attrs = {"source": str(path), "filled": _fill(table)}
    return table.sort_values([name for name in ORDER if name in table], kind="stable")


def usable(table: pd.DataFrame, law: Law) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The rows to fit, and what was dropped: [{why, count, rows}].

    Rows whose `status` is not "finished" are dropped. Of the rest, every value the law needs has to be a
    positive number, and no input the same throughout: raises ValueError naming source, row and column.
    """
    source = table.attrs.get("source", "table")
    dropped = []
    if "status" in table:
        status = table["status"].astype(object).where(table["status"].notna(), "missing")
        for value in sorted(set(status) - {FINISHED}, key=str):
            rows = table.index[status == value].tolist()
            dropped.append({"why": f"status {value}", "count": len(rows), "rows": rows})
        table = table.loc[status == FINISHED]
    for name in (*law.inputs, "loss"):
        if name not in table:
            raise ValueError(f"{source}: no column {name}; it has {', '.join(map(str, table.columns))}")
        values = table[name].to_numpy(float)
        if (bad := unusable(values)).any():
            row, told = table.index[int(bad.argmax())], complaint(values[bad][0])
            raise ValueError(f"{source}, row {row}, column {name}: {told}")
    for name in law.inputs:
        if len(table) > 1 and np.ptp(table[name].to_numpy(float)) == 0:
            raise ValueError(
                f"{source}, column {name}: {table[name].iloc[0]:g} in every row, so {law.name} "
                f"cannot tell how the loss depends on {name}"
            )
    return table, dropped


# Budgets are met in whole steps: runs meant to cost the same differ by a few per cent, and the dearer one's
# better loss is no progress with compute.
SLACK = 1.05


def best_along(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs that no other run beats with as much or less of `name`.

    Laws of one input describe runs that nothing else holds back (Kaplan et al. 2020): on a grid of runs, at
    each N the best over D, and so on; on a scatter of C, the lower envelope.
    """
    ranked = table.sort_values([name, "loss"], kind="stable")
    return ranked.loc[efficient(ranked[name].to_numpy(float), ranked["loss"].to_numpy(float))]


def efficient(x: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Mask (n,) of the points that no other beats with at most SLACK times their x, nor equals with less."""
    order = np.lexsort((loss, x))
    best = np.minimum.accumulate(loss[order])
    within = best[np.searchsorted(x[order], SLACK * x[order], side="right") - 1]
    before = np.concatenate(([np.inf], best[:-1]))
    mask = np.empty(len(x), dtype=bool)
    mask[order] = (loss[order] <= within) & (loss[order] < before)
    return mask


def _records(folder: Path) -> pd.DataFrame:
    return pd.DataFrame([run.row() for _, run in records(folder)])


def _read(path: Path) -> pd.DataFrame:
    kind = next((s for s in reversed(path.suffixes) if s != ".gz"), "")
    try:
        if kind == ".csv":
            _check_header(path)
            return pd.read_csv(path, skipinitialspace=True)
        if kind in (".jsonl", ".ndjson"):
            return pd.read_json(path, lines=True, precise_float=True)
        if kind in (".parquet", ".pq"):
            return pd.read_parquet(path)
    except (ValueError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path}:"):
            raise  # ours
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as {kind[1:]} ({why})") from error
    raise ValueError(f"{path}: a table is .csv, .jsonl or .parquet, or a folder of runs")


def _check_header(path: Path) -> None:
    """A reader would rename the second of two equal columns and go on."""
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8-sig", newline="") as file:
        header = [name.strip() for name in next(csv.reader(file), [])]
    if not header:
        raise ValueError(f"{path}: empty")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: column {twice[0]} appears {header.count(twice[0])} times")


def _rename(table: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    moved = {theirs: ours for ours, theirs in columns.items() if theirs != ours}
    for theirs, ours in moved.items():
        if theirs not in table:
            has = ", ".join(map(str, table.columns))
            raise ValueError(f"{path}: no column {theirs} to take as {ours}; it has {has}")
    # What the user names as N replaces a column that happens to be called N.
    return table.drop(columns=[ours for ours in moved.values() if ours in table]).rename(columns=moved)


def _numbers(table: pd.DataFrame, name: str, path: Path) -> np.ndarray:
    column = table[name]
    values = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=float)
    wrong = np.isnan(values) & np.asarray(column.notna())
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{path}, row {table.index[at]}, column {name}: {column.iloc[at]!r} is not a number")
    return values


def _fill(table: pd.DataFrame) -> str | None:
    """Complete the columns N, D, C by C = 6 N D when exactly one of D and C is there."""
    with np.errstate(all="ignore"):
        if {"N", "D"} <= set(table) and "C" not in table:
            table["C"] = 6 * table["N"] * table["D"]
            return "C = 6 N D"
        if {"N", "C"} <= set(table) and "D" not in table:
            table["D"] = table["C"] / (6 * table["N"])
            return "D = C / (6 N)"
    return None
