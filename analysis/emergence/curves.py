"""A table of scores made into curves: one for each task and metric, x on a log10 axis, higher is better."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.tables.columns import listed, numbers
from analysis.tables.files import BadTable

LOWER_IS_BETTER = re.compile(r"nll|loss|perplexity|ppl|brier|cross.?entropy|bits|error", re.I)
PERPLEXITY = re.compile("perplexity|ppl", re.I)
# Metrics that move with every change of a probability: what a jump is repeated on.
CONTINUOUS = re.compile(r"nll|loss|perplexity|ppl|brier|entropy|bits|log.?prob|log.?lik|target.?prob", re.I)
# Scores on a scale of 0 to 1 stay below this; above it they are in percent.
PERCENT_FROM = 1.5
UNNAMED = "score"  # the metric of a table that names none
OPTIONAL = ("n", "chance", "loss", "length")


@dataclass(frozen=True)
class Curve:
    """Points of one task and metric, in order of x; several may lie at one x."""

    task: str
    metric: str
    axis: str
    """The column x was read from: N, C, ..."""
    x: np.ndarray
    """log10 of it; of a loss with the sign turned, as ability grows where loss falls."""
    y: np.ndarray
    """Score: 0 to 1 where `bounded`; else its values, turned so that higher is better."""
    bounded: bool
    items: np.ndarray | None
    """Size of the test set behind each point, where it is known."""
    chance: float | None
    loss: np.ndarray | None
    """Pre-training loss of each point."""
    family: np.ndarray | None
    """Of the model behind each point, a name; None unless all are told."""
    length: float | None
    """Tokens of an answer that all have to be right."""
    sign: float
    """-1 where the metric was turned."""
    left_out: tuple[str, ...]
    """Rows that could not be used, and why."""

    @property
    def floor(self) -> float:
        """Score of one who knows nothing, as far as it is known: 0 where chance is not."""
        return 0.0 if self.chance is None else self.chance

    def at(self, x: float) -> float:
        """x as it stands in the table."""
        return float(10 ** (-x if self.axis == "loss" else x))

    @property
    def continuous(self) -> bool:
        return bool(CONTINUOUS.search(self.metric))


def curves(table: pd.DataFrame, *, axis: str, source: str) -> list[Curve]:
    """The curves of a table with columns task, score and `axis`, and n, chance, metric, loss, family, length
    if known.

    axis: N, C, D, step, loss, or another positive column; "auto" takes N, or C where no N is told. Rows with
    a `difficulty` score a group of a task's items and are no point of its curve (`groups` has theirs). Rows
    whose x or score is missing, and rows with x <= 0, are left out and named in their curve. Raises BadTable
    (a ValueError) for a column that is missing, a cell that is no number, and a table without any usable
    row.
    """
    axis = _axis(table, source) if axis == "auto" else axis
    for name in ("task", axis, "score"):
        if name not in table:
            raise BadTable(f"{source}: no column {name}; {listed(table)}")
    told = table[["task", *(["family"] if "family" in table else [])]].assign(row=table.index)
    if "difficulty" in table:
        told, table = told.loc[table.difficulty.isna()], table.loc[table.difficulty.isna()]
    told["metric"] = table["metric"].fillna(UNNAMED) if "metric" in table else UNNAMED
    for name in (axis, "score", *(name for name in OPTIONAL if name in table and name != axis)):
        told[name] = numbers(table, name, source)
    if told.task.isna().any():
        raise BadTable(f"{source}, row {told.row[told.task.isna()].iloc[0]}: no task")
    parts = list(told.groupby(["task", "metric"], sort=False))
    found = [_curve(str(name[0]), str(name[1]), part, axis) for name, part in parts]  # pyright: ignore
    if not any(len(curve.x) for curve in found):
        raise BadTable(f"{source}: no row has both a score and {axis} > 0")
    return list(_scaled(found))


def groups(table: pd.DataFrame, *, axis: str, source: str) -> dict[tuple[str, str], list[Curve]]:
    """By task and metric: a curve for each group of its items that the column `difficulty` names."""
    if "difficulty" not in table or table.difficulty.isna().all():
        return {}
    rows = table.loc[table.difficulty.notna()]
    out: dict[tuple[str, str], list[Curve]] = {}
    for _, part in rows.groupby("difficulty", sort=True):
        for curve in curves(part.drop(columns="difficulty"), axis=axis, source=source):
            out.setdefault((curve.task, curve.metric), []).append(curve)
    return out


def _axis(table: pd.DataFrame, source: str) -> str:
    for name in ("N", "C"):
        if name in table and bool(table[name].notna().any()):
            return name
    raise BadTable(f"{source}: no column N or C; {listed(table)}")


def _curve(task: str, metric: str, part: pd.DataFrame, axis: str) -> Curve:
    x, score = part[axis].to_numpy(float), part["score"].to_numpy(float)
    good = np.isfinite(x) & (x > 0) & np.isfinite(score)
    left = [
        f"row {row}: {axis}={at:g}" if not at > 0 or not np.isfinite(at) else f"row {row}: score={value:g}"
        for row, at, value in zip(part.row[~good], x[~good], score[~good], strict=True)
    ]
    place = np.log10(x[good]) * (-1 if axis == "loss" else 1)
    order = np.flatnonzero(good)[np.argsort(place, kind="stable")]
    score = np.log(score) if PERPLEXITY.search(metric) and (score[good] > 0).all() else score
    # Scores that are turned already are negative.
    turned = LOWER_IS_BETTER.search(metric) and (score[good] > 0).any()
    sign = -1.0 if turned else 1.0

    def column(name: str) -> np.ndarray | None:
        values = part[name].to_numpy(float)[order] if name in part and name != axis else np.array([np.nan])
        return values if len(values) and np.isfinite(values).all() else None

    items, chance, length = column("n"), column("chance"), column("length")
    return Curve(
        task=task,
        metric=metric,
        axis=axis,
        x=np.sort(place),
        y=sign * score[order],
        bounded=False,
        items=None if items is None or (items < 1).any() else items,
        chance=None if chance is None else float(np.median(chance)),
        loss=column("loss"),
        family=_family(part.iloc[order]),
        length=None if length is None else float(np.median(length)),
        sign=sign,
        left_out=tuple(left),
    )


def _family(part: pd.DataFrame) -> np.ndarray | None:
    told = "family" in part and len(part) > 0 and bool(part.family.notna().all())
    return part.family.astype(str).to_numpy(object) if told else None


def _scaled(found: list[Curve]) -> Iterator[Curve]:
    """Shares as they are, percentages over 100, anything else as it is and unbounded.

    A metric whose name is given is in percent for every task if it is for most.
    """
    large = {
        metric: np.mean([c.y.max(initial=0) > PERCENT_FROM for c in found if c.metric == metric]) > 0.5
        for metric in {c.metric for c in found} - {UNNAMED}
    }
    for c in found:
        bounded = c.sign > 0 and not c.continuous and c.y.min(initial=0) >= 0 and c.y.max(initial=0) <= 100
        if not bounded:
            yield replace(c, items=None, chance=None)
            continue
        scale = 100.0 if large.get(c.metric) or c.y.max(initial=0) > PERCENT_FROM else 1.0
        chance = c.chance / 100 if c.chance is not None and c.chance > 1 else c.chance
        yield replace(c, y=np.minimum(c.y / scale, 1.0), bounded=True, chance=chance)
