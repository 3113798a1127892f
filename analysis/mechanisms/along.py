"""When a figure that was measured along training leaves its floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.emergence.changepoints import onset
from analysis.mechanisms.grokking import Grokking, grokking
from scalelaw.run import Run, read_metrics

# Figures that have a floor: what a model without the ability scores.
FLOORED = ("induction.copying", "induction.prefix_matching", "accuracy.train", "accuracy.validation")


@dataclass(frozen=True)
class Along:
    """onsets: by figure, the evaluations before and after which it left its floor; None where it did not.
    refused: by figure why that cannot be said."""

    name: str
    N: int
    seed: int
    onsets: dict[str, tuple[float, float] | None]
    refused: dict[str, str]
    grokking: Grokking | None

    def said(self) -> list[str]:
        told = [f"{figure}: {_told(between)}" for figure, between in self.onsets.items()]
        told += [f"{figure}: {why}" for figure, why in self.refused.items()]
        told += [] if self.grokking is None else [self.grokking.said()]
        return [f"{self.name} (N = {self.N:.3g}, seed {self.seed}), {one}" for one in told]

    def to_json(self) -> dict[str, Any]:
        grokked = None if self.grokking is None else self.grokking.to_json()
        return vars(self) | {"grokking": grokked}


def along(runs: Iterable[tuple[Path, Run]], *, seed: int) -> list[Along]:
    """For each finished run with such figures. seed: of the curves that calibrate the change points."""
    found = []
    for directory, run in runs:
        rows = [row for row in read_metrics(directory) if row.keys() & set(FLOORED)]
        if run.finished and rows:
            found.append(_one(run, rows, seed))
    return found


def _one(run: Run, rows: Sequence[Mapping[str, Any]], seed: int) -> Along:
    onsets, refused = {}, {}
    for figure in FLOORED:
        seen = [row for row in rows if figure in row]
        if not seen:
            continue
        step, y = (np.array([row[key] for row in seen], float) for key in ("step", figure))
        try:
            onsets[figure] = onset(step, y, seed=seed)
        except ValueError as error:
            refused[figure] = str(error)
    return Along(run.name, run.N, run.seed, onsets, refused, grokking(rows))


def _told(between: tuple[float, float] | None) -> str:
    if between is None:
        return "does not leave its floor"
    return f"leaves its floor between steps {between[0]:.0f} and {between[1]:.0f}"
