"""Laws of the best learning rate and batch, from the cells of a study, and the file that keeps them.

The forms are those of the field. Step Law (Li et al. 2025, arXiv 2503.04715): lr = k N^a D^b and batch = k
D^c. DeepSeek LLM (2024, section 3.1): both as powers of C. And because a run may keep a batch of its own, the
best rate at any batch, lr = k N^a D^b B^c: of every batch tried, so that it stands where the best batch is
not bracketed. Rates are base rates, those of `optimizer.lr` at the rule's base shape: where the rule
transfers, a is 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.tuning import grids
from analysis.tuning.grids import Cell
from analysis.tuning.powers import Power
from scalelaw.run import Run

SCHEMA = 1
LR, BATCH = "lr", "batch_tokens"
Point = dict[str, float]


def _every_batch(cells: list[Cell]) -> list[Point]:
    return [
        {"N": cell.N, "D": cell.D, BATCH: float(tried.batch_tokens), LR: tried.rate.value}
        for cell in cells
        for tried in cell.batches
        if tried.rate.bracketed
    ]


def _best_batch(cells: list[Cell]) -> list[Point]:
    some = [(cell, cell.rate) for cell in cells if cell.rate is not None]
    return [{"N": c.N, "D": c.D, "C": c.C, LR: rate, BATCH: c.batch.value} for c, rate in some]


# law -> the optima it is fitted to, what it gives, and in what.
FORMS: dict[str, tuple[Callable[[list[Cell]], list[Point]], str, tuple[str, ...]]] = {
    LR: (_every_batch, LR, ("N", "D", BATCH)),
    BATCH: (_best_batch, BATCH, ("D",)),
    "lr at the best batch": (_best_batch, LR, ("N", "D")),
    "lr of C": (_best_batch, LR, ("C",)),
    "batch_tokens of C": (_best_batch, BATCH, ("C",)),
}


@dataclass(frozen=True)
class Tuned:
    """What a study says of one architecture: recipe, cells, laws, and why other laws are not there."""

    recipe: dict[str, Any]
    cells: list[Cell]
    laws: dict[str, Power]
    refused: dict[str, str]

    @property
    def undertuned(self) -> list[str]:
        return [said for cell in self.cells for said in cell.undertuned()]

    def to_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "cells": [cell.to_json() for cell in self.cells],
            "laws": {name: law.to_json() for name, law in self.laws.items()},
            "refused": self.refused,
            "undertuned": self.undertuned,
        }


def tune(runs: Iterable[Run], *, transfer: str) -> dict[str, Tuned]:
    """The laws of each architecture, from its runs under the rule `transfer`. Raises ValueError when no run
    can be read, or when those of one architecture are of several recipes."""
    rows = grids.table(runs, transfer=transfer)
    found = {}
    for name, its in rows.groupby("architecture"):
        try:
            recipe = grids.recipe(its)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        cells = grids.cells(its)
        found[str(name)] = Tuned(recipe, cells, *fit(cells))
    return found


def fit(cells: list[Cell]) -> tuple[dict[str, Power], dict[str, str]]:
    """The laws of FORMS that the cells determine, and for each other one why not."""
    laws: dict[str, Power] = {}
    refused: dict[str, str] = {}
    for name, (optima, y, inputs) in FORMS.items():
        points = optima(cells)
        columns = {key: [point[key] for point in points] for key in (*inputs, y)}
        try:
            laws[name] = Power.fit(columns, columns[y], inputs)
        except ValueError as error:
            refused[name] = str(error)
    return laws, refused


@dataclass(frozen=True)
class Advice:
    """The laws of one architecture as a file keeps them, to be asked for a run's learning rate and batch."""

    source: str
    recipe: dict[str, Any]
    laws: dict[str, Power]
    refused: dict[str, str]

    def lr(self, *, N: float, D: float, batch_tokens: float) -> tuple[float, list[str]]:
        """The best base learning rate, and which inputs lie outside the study. Raises ValueError."""
        return self._ask(LR, {"N": N, "D": D, BATCH: batch_tokens})

    def batch_tokens(self, *, D: float) -> tuple[float, list[str]]:
        """The best batch, tokens, and which inputs lie outside the study. Raises ValueError."""
        return self._ask(BATCH, {"D": D})

    def rows(self, *, D: float, window: int) -> tuple[int, list[str]]:
        """The same in whole rows of `window` tokens, at least one."""
        tokens, beyond = self.batch_tokens(D=D)
        return max(1, round(tokens / window)), beyond

    def _ask(self, name: str, point: Point) -> tuple[float, list[str]]:
        if name not in self.laws:
            raise ValueError(f"{self.source}: no law of {name}: {self.refused.get(name, 'it holds none')}")
        law = self.laws[name]
        try:
            return law.predict(point)[0], law.beyond(point)
        except ValueError as error:
            raise ValueError(f"{self.source}: law of {name}: {error}") from None


def load(path: Path) -> list[Advice]:
    """What hparams.json says, one entry an architecture. Raises ValueError naming the file, or OSError."""
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
        if said["schema"] != SCHEMA:
            raise ValueError(f"it is of schema {said['schema']}, not {SCHEMA}")
        return [_advice(f"{path}, {name}", entry) for name, entry in said["architectures"].items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no hparams.json of experiments.hparams: {error}") from None


def _advice(source: str, entry: Mapping[str, Any]) -> Advice:
    laws = {name: Power.from_json(law) for name, law in entry["laws"].items()}
    return Advice(source, entry["recipe"], laws, entry["refused"])


def choose(every: Iterable[Advice], recipe: Mapping[str, Any]) -> Advice:
    """The entry whose recipe a run has. Raises ValueError naming the key in which the nearest one differs."""
    every = list(every)
    same = [advice for advice in every if advice.recipe["architecture"] == recipe["architecture"]]
    if not same:
        known = ", ".join(str(advice.recipe["architecture"]) for advice in every)
        raise ValueError(f"no law for architecture {recipe['architecture']}: there are {known or 'none'}")
    [advice] = same[:1]
    for key in grids.RECIPE:
        if advice.recipe[key] != recipe[key]:
            raise ValueError(
                f"{advice.source}: the law was measured with {key} {advice.recipe[key]}, not {recipe[key]}"
            )
    return advice
