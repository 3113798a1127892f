"""Runs as one tidy table, from a file, a folder of run records, or W&B.

N parameters, D training tokens, C training FLOPs, loss in nats per token; one row a run, or one an evaluation
along the runs.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.law import Law
from analysis.tables import files, records, wandb_runs
from analysis.tables.columns import absent, check_positive, mapped, numbers, one_line
from analysis.tables.files import BadTable
from scalelaw.run import RECORD, folders

NUMBERS = ("N", "D", "C", "loss")
ORDER = ("architecture", "N", "D", "C", "loss", "run")
FINISHED = "finished"


def load(
    path: Path | str, columns: Mapping[str, str] | None = None, *, history: bool = False
) -> pd.DataFrame:
    """Read runs, rename, fill in C = 6 N D or D = C / (6 N) where it is missing, and sort.

    path: a .csv, .tsv, .json (a list of objects), .jsonl or .parquet file, the text ones perhaps gzipped; a
    folder of run records; a folder of W&B offline runs; or `wandb://entity/project`.
    columns: name here -> name in the source, for those that differ; any name may be given, and columns that
    none is given for come along as they are. W&B's configs and summaries are columns with dots, `model.size`,
    or in full `config.model.size` and `summary.model.size`.
    history: one row an evaluation in place of one a run, `run` telling whose; of W&B's history, the rows that
    carry the loss. For folders and W&B only.

    The index is the row in the source, from 1; `attrs` holds the source, which column was filled in, `rows`,
    the number of them, and `sha256`: of a file's bytes, and of anything else the sorted rows as JSON, so that
    the same runs have the same hash wherever they lie; and `unread`, path to the reason, of what could not be
    read of a folder.
    Raises ValueError in one line naming the source, and row and column where there is one.
    """
    source, columns = str(path), columns or {}
    unread: dict[str, str] = {}
    table, sha256 = _source(source, columns, history, unread)
    if table.empty:
        why = f": {len(unread)} files cannot be read: {next(iter(unread.values()))}" if unread else ""
        raise BadTable(f"{source}: no rows{why}")
    table = mapped(table, columns, source)
    if history:
        if "loss" not in table:
            raise BadTable(f"{source}: {absent(table, 'loss')}")
        table = table.loc[table["loss"].notna()]
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    for name in NUMBERS:
        if name in table:
            table[name] = numbers(table, name, source)
    filled = _fill(table)
    table.attrs = {"source": source, "filled": filled, "rows": len(table), "sha256": sha256, "unread": unread}
    return table.sort_values([name for name in ORDER if name in table], kind="stable", key=_sortable)


def usable(table: pd.DataFrame, law: Law) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The rows to fit, and what was dropped: [{why, count, rows}].

    Rows whose `status` is not "finished" are dropped. Of the rest, every value the law needs has to be a
    positive number, and no input the same throughout: raises ValueError naming source, row and column.
    """
    source = table.attrs.get("source", "table")
    dropped = []
    if "status" in table:
        status = table["status"].astype(object).where(table["status"].notna(), "missing").map(one_line)
        status = status.where(status.str.lower() != FINISHED, FINISHED)
        for value in sorted(set(status) - {FINISHED}):
            rows = table.index[status == value].tolist()
            dropped.append({"why": f"status {value}", "count": len(rows), "rows": rows})
        table = table.loc[status == FINISHED]
        untaught = _untaught(table)
        if untaught.any():
            rows, why = table.index[untaught].tolist(), "no common loss: nothing taught to continue a text"
            dropped.append({"why": why, "count": len(rows), "rows": rows})
            table = table.loc[~untaught]
        check_left(table, dropped)
    for name in (*law.inputs, "loss"):
        values = check_positive(table, name)
        if name in law.inputs and len(table) > 1 and np.ptp(values) == 0:
            raise BadTable(
                f"{source}, column {name}: {values[0]:g} in every row, so {law.name} "
                f"cannot tell how the loss depends on {name}"
            )
    return table, dropped


def _untaught(table: pd.DataFrame) -> pd.Series:
    """The finished runs that have their objective's loss alone, as a masked LM's have."""
    if not {"loss", "loss_objective"} <= set(table):
        return pd.Series(False, index=table.index)
    return pd.Series(table["loss"].isna() & table["loss_objective"].notna())


def check_left(table: pd.DataFrame, dropped: list[dict[str, Any]]) -> None:
    """Raise ValueError when what was dropped was all there was."""
    if dropped and table.empty:
        told = "; ".join(f"{item['count']} dropped ({item['why']})" for item in dropped)
        raise BadTable(
            f"{table.attrs.get('source', 'table')}: no row is left: {told}; "
            f"a run that counts has the status {FINISHED}, or the table no such column"
        )


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


def _source(
    source: str, columns: Mapping[str, str], history: bool, unread: dict[str, str]
) -> tuple[pd.DataFrame, str]:
    """The table as the source has it, and the source's hash; in `unread` what could not be read of it."""
    if wandb_runs.is_project(source):
        return _hashed(wandb_runs.project(source, wanted=columns.values(), history=history))
    path = Path(source)
    if not path.exists():
        raise BadTable(f"{path}: no such file or folder")
    if path.is_dir():
        if any(RECORD in names for _, names in folders(path, {})):
            return _hashed(pd.DataFrame(records.rows(path, history=history, unread=unread)))
        return _hashed(wandb_runs.offline(path, wanted=columns.values(), history=history))
    if history:
        raise BadTable(f"{path}: history is for folders of runs and W&B, not for a file")
    with path.open("rb") as file:
        return files.read(path), hashlib.file_digest(file, "sha256").hexdigest()


def _hashed(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    rows = sorted(json.dumps(row, sort_keys=True, default=str) for row in table.to_dict("records"))
    return table, hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _sortable(column: pd.Series) -> pd.Series:
    """Names may be of any kind, and of several in one column: those are sorted as text."""
    return column if column.name in NUMBERS else column.map(str)


def _fill(table: pd.DataFrame) -> str | None:
    """Complete D and C by C = 6 N D, the column or its empty cells, where the other is there."""
    if "N" not in table or not {"C", "D"} & set(table):
        return None
    told = []
    N = table["N"].to_numpy(float)
    C, D = (
        table[name].to_numpy(float) if name in table else np.full(len(table), np.nan) for name in ("C", "D")
    )
    with np.errstate(all="ignore"):
        both = (("C", "C = 6 N D", C, D, 6 * N * D), ("D", "D = C / (6 N)", D, C, C / (6 * N)))
    for name, formula, mine, other, value in both:
        empty = np.isnan(mine) & ~np.isnan(other)
        if empty.any():
            table[name] = np.where(empty, value, mine)
            told.append(formula if empty.all() else f"{formula} in {int(empty.sum())} rows")
    return "; ".join(told) or None
