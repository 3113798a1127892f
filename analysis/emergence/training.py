"""Scores along training: what changes when, for each model and task of a table with a column step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.emergence.changepoints import change_points, onset
from analysis.emergence.curves import CONTINUOUS, UNNAMED
from analysis.tables.columns import numbers
from analysis.tables.files import BadTable


def along_training(table: pd.DataFrame, *, seed: int, source: str) -> list[dict[str, Any]]:
    """For each model, task and metric: the checkpoints between which it leaves its floor (null: it does
    not), and all change points, of the level of a score, of the slope of a loss. A run with too few
    checkpoints, or two rows of one, gets the reason instead. Raises BadTable where the table has no steps or
    a step is no number.
    """
    if "step" not in table:
        raise BadTable(f"{source}: no column step")
    told = pd.DataFrame({"task": table["task"], "step": numbers(table, "step", source)})
    told["score"] = numbers(table, "score", source)
    told["metric"] = table["metric"].fillna(UNNAMED) if "metric" in table else UNNAMED
    told["model"] = table["model"].fillna("") if "model" in table else ""
    told = told.dropna(subset=["step", "score"]).sort_values("step", kind="stable")
    parts = told.groupby(["model", "task", "metric"], sort=False)
    return [
        {**dict(zip(("model", "task", "metric"), map(str, name), strict=True)), **_one(part, seed)}  # pyright: ignore
        for name, part in parts
    ]


def _one(part: pd.DataFrame, seed: int) -> dict[str, Any]:
    step, y = part.step.to_numpy(float), part.score.to_numpy(float)
    kind = "slope" if CONTINUOUS.search(str(part.metric.iloc[0])) else "level"
    try:
        breaks = change_points(step, y, kind=kind, seed=seed)
        left = onset(step, y, seed=seed) if kind == "level" else None
    except ValueError as error:
        return {"refused": str(error)}
    return {
        "kind": kind,
        "onset": None if left is None else list(left),
        "change_points": step[np.array(breaks, int)].tolist(),
    }
