"""Runs that started from others: what a stage learnt, forgot and earned, and how that goes with N and D."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.tuning.powers import Power
from scalelaw.run import Run

INPUTS = ("N", "D")
# What is fitted, as a power law of N and D.
MEASURES = {
    "loss": "loss on the text of the stage, nats a token",
    "forgotten": "rise of the loss on the parent's text, nats a token",
    "answer_nll": "NLL of right answers, nats a token",
    "wrong": "share of answers that are not exactly right",
}


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """A row for each finished run, in the order of stage, N and D.

    stage: objective and data, with the replayed share and the learning rate where they differ inside them.
    parent: the id of the run it started from. loss: of its own text. forgotten: the rise of the loss on the
    very windows that the parent's loss was taken on; empty where the parent or that loss is not there.
    exact, answer_nll: means over the tasks of the record; wrong: 1 - exact. gained: exact less the parent's.
    Raises ValueError where no finished run started from another.
    """
    known = {run.run: run for run in runs if run.finished}
    if not any("start" in run.config for run in known.values()):
        raise ValueError("no finished run started from another: stages are runs with start=run")
    rows = pd.DataFrame([_row(run, known.get(run.parent or "")) for run in known.values()])
    rows["stage"] = _stages(rows)
    return rows.sort_values(["stage", "N", "D", "run"], ignore_index=True)


def _row(run: Run, parent: Run | None) -> dict[str, Any]:
    tasks = [score for score in run.scores.values() if "items" in score]
    exact = float(np.mean([score["exact"] for score in tasks])) if tasks else None
    before = _row(parent, None) if parent is not None else {"exact": None}
    return {
        "objective": run.objective,
        "data": run.data,
        "replay": _replay(run.config.get("data", {})),
        "learning_rate": run.config.get("optimizer", {}).get("lr"),
        "N": run.N,
        "D": run.D,
        "C": run.C,
        "seed": run.seed,
        "loss": run.loss,
        "forgotten": _forgotten(run, parent),
        "exact": exact,
        "wrong": None if exact is None else 1 - exact,
        "answer_nll": float(np.mean([score["nll"] for score in tasks])) if tasks else None,
        "gained": None if exact is None or before["exact"] is None else exact - before["exact"],
        "architecture": run.architecture,
        "run": run.run,
        "parent": run.parent,
    }


def _replay(data: Mapping[str, Any]) -> float | None:
    if "shares" in data:
        return round(1 - sum(data["shares"].values()), 6)
    return data.get("replay")


def _forgotten(run: Run, parent: Run | None) -> float | None:
    """The loss on the parent's text less the parent's, where both are of the same windows."""
    if parent is None or parent.loss is None:
        return None
    older = run.scores.get("before", {}).get("loss")
    data = run.config["data"]
    text = data.get("before") if older is not None else data.get("corpus", data)
    theirs = parent.config["data"]
    same = text == theirs.get("corpus", theirs)
    same &= all(run.config[key] == parent.config[key] for key in ("window", "evaluation"))
    now = run.loss if older is None else older
    return now - parent.loss if same and now is not None else None


def _stages(rows: pd.DataFrame) -> pd.Series:
    """Names that tell apart what is not N, D or seed."""
    names = rows.objective + " on " + rows.data
    for key in ("replay", "learning_rate"):
        several = rows.groupby(names)[key].transform(lambda values: values.nunique(dropna=False) > 1)
        names = names.where(~several, names + f", {key.replace('_', ' ')} " + rows[key].map("{:g}".format))
    return names


@dataclass(frozen=True)
class Found:
    """What a stage's runs say of one measure: a power law, or why there is none.

    unsure: the exponents whose 95 % interval holds 0, so that the sign is not known.
    """

    stage: str
    measure: str
    runs: int
    law: Power | None
    why: str | None

    @property
    def unsure(self) -> list[str]:
        if self.law is None:
            return []
        ends = {name: self.law.interval95[name] for name in self.law.exponents}
        return [name for name, (low, high) in ends.items() if low <= 0 <= high]

    def told(self) -> str:
        said = f"{self.stage}: {self.measure}, {self.runs} runs: "
        if self.law is None:
            return f"{said}{self.why}"
        open_ = f"; the exponent of {' and '.join(self.unsure)} is not told from 0" if self.unsure else ""
        return f"{said}{self.law.formula()}, scatter {self.law.scatter:.1%}{open_}"

    def to_json(self) -> dict[str, Any]:
        law = None if self.law is None else self.law.to_json()
        own = {"stage": self.stage, "measure": self.measure, "runs": self.runs}
        return own | {"law": law, "why": self.why, "unsure": self.unsure}


def laws(rows: pd.DataFrame) -> list[Found]:
    """k N^a D^b for every stage and measure that its runs have, by least squares in logs with intervals.

    There is no floor in it: so few sizes would not tell one from a small exponent.
    """
    return [
        _law(str(stage), measure, part.dropna(subset=[measure]))
        for stage, part in rows.groupby("stage", sort=True)
        for measure in MEASURES
        if bool(part[measure].notna().to_numpy().any())
    ]


def _law(stage: str, measure: str, part: pd.DataFrame) -> Found:
    values = part[measure].to_numpy(float)
    if len(flat := part[values <= 0]):
        where = f"N = {flat.N.iloc[0]:,}, D = {flat.D.iloc[0]:,}"
        why = f"no power law: it is not positive in {len(flat)} of them ({where})"
        return Found(stage, measure, len(part), None, why)
    if np.ptp(values) == 0:
        return Found(stage, measure, len(part), None, f"no power law: all have {values[0]:.4g}")
    try:
        law = Power.fit({name: part[name].to_numpy(float) for name in INPUTS}, values, INPUTS)
    except ValueError as error:
        why = str(error).replace("bracketed optima", "runs")
        return Found(stage, measure, len(part), None, why)
    return Found(stage, measure, len(part), law, None)
