"""Runs over learning rates and batches at several rungs and budgets: the best of both in each cell.

A cell is one architecture, rung and budget. In it every batch has its own best rate (a parabola in log rate),
and the losses at those have the best batch (a parabola in log tokens a batch).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.law import plain
from analysis.tables.replicates import seed_noise
from analysis.tuning.optimum import LEAST, Optimum, optimum
from scalelaw.run import Run

BATCH, RATE = "batch", "learning rate"
# Where these differ the best rate does too, and no law in N, D and batch can say how.
RECIPE = ("architecture", "optimizer", "schedule")


@dataclass(frozen=True)
class Tried:
    """One batch of a cell: its size in tokens and the best rate at it."""

    batch_tokens: int
    rate: Optimum
    runs: int


@dataclass(frozen=True)
class Cell:
    """One rung and budget (as the config says it). N: parameters, D: tokens, C: FLOPs (geometric means over
    the cell's runs).

    batches: by rising size. batch: the best of them, in tokens. rate: the best base rate at that batch, None
    where the batch or the rates around it are not bracketed.
    """

    architecture: str
    budget: str
    width: int
    depth: int
    N: float
    D: float
    C: float
    batches: list[Tried]
    batch: Optimum
    rate: float | None

    @property
    def name(self) -> str:
        return f"{self.architecture}, width {self.width}, D={self.D:,.0f}"

    def undertuned(self) -> list[str]:
        """A sentence for each knob whose best value may lie beyond what was tried."""
        best = min(self.batches, key=lambda tried: tried.rate.loss)
        said = []
        if best.rate.beyond:
            low, high = best.rate.tried
            said.append(
                f"{self.name}: the best learning rate, {best.rate.value:.4g} at {best.batch_tokens} tokens a "
                f"batch, is {best.rate.status} (range {low:.4g} to {high:.4g}): the rung is undertuned"
            )
        if self.batch.beyond:
            low, high = self.batch.tried
            said.append(
                f"{self.name}: the best batch, {self.batch.value:.0f} tokens, is {self.batch.status} "
                f"(range {low:.0f} to {high:.0f}): the rung is undertuned"
            )
        return said

    def to_json(self) -> dict[str, Any]:
        return plain(
            {
                **{name: getattr(self, name) for name in ("budget", "width", "depth", "N", "D", "C")},
                "batches": [
                    {"batch_tokens": tried.batch_tokens, "runs": tried.runs, "rate": tried.rate.to_json()}
                    for tried in self.batches
                ],
                "batch": self.batch.to_json(),
                "rate": self.rate,
            }
        )


def table(runs: Iterable[Run], *, transfer: str | None = None) -> pd.DataFrame:
    """One row a run that finished or diverged, with its base rate, its budget and its recipe; with `transfer`
    only those of that rule. A run that diverged shows that the optimum lies below its rate: its loss is +inf.
    D is what the run was to read, which is the same for all batches but for rounding.

    Raises ValueError when there is none that finished, or one whose config does not tell its rate.
    """
    rows = [_row(run) for run in runs if run.status == "diverged" or (run.finished and run.loss is not None)]
    rows = [row for row in rows if transfer in (None, row["transfer"])]
    if not any(np.isfinite(row["loss"]) for row in rows):
        rule = "" if transfer is None else f" with optimizer.transfer={transfer}"
        raise ValueError(f"no finished run{rule} to read a learning rate from")
    return pd.DataFrame(rows)


def _row(run: Run) -> dict[str, Any]:
    knobs = dict(run.config.get("optimizer", {}))
    try:
        rate, rule = float(knobs.pop("lr")), str(knobs["transfer"])
    except KeyError as error:
        raise ValueError(f"{run.name}: the record's config has no optimizer.{error.args[0]}") from None
    recipe = run.config | {"optimizer": knobs}
    whole = run.steps / max(run.step, 1)
    return run.row() | {
        "D": float(run.steps * run.batch_tokens),
        "C": run.C * whole,
        "loss": float("inf") if run.loss is None else run.loss,
        "transfer": rule,
        # So that the noise of seeds is not sought between recipes.
        "optimizer": json.dumps(knobs, sort_keys=True),
        "schedule": json.dumps(run.config.get("schedule"), sort_keys=True),
        "rate": rate,
        "budget": json.dumps(run.config.get("budget"), sort_keys=True),
        "recipe": {name: recipe.get(name) for name in RECIPE},
    }


def recipe(rows: pd.DataFrame) -> dict[str, Any]:
    """What the runs of one architecture have in common. Raises ValueError naming a key in which they
    differ."""
    first = rows.recipe.iloc[0]
    for key in RECIPE:
        if any(other[key] != first[key] for other in rows.recipe):
            raise ValueError(
                f"the runs differ in {key} beyond the learning rate: no single law holds for them"
            )
    for key in ("data", "objective", "window"):
        if len(set(rows[key])) > 1:
            raise ValueError(
                f"the runs differ in {key}, {sorted(set(rows[key]))}: no single law holds for them"
            )
    return first


def cells(rows: pd.DataFrame) -> list[Cell]:
    """The cells of one architecture's rows, by rising N and D."""
    sigma = noise.sigma if (noise := seed_noise(rows.drop(columns="C"))) else None
    found = [_cell(part, sigma) for _, part in rows.groupby(["N", "budget"])]
    return sorted((cell for cell in found if cell is not None), key=lambda cell: (cell.N, cell.D))


def _cell(rows: pd.DataFrame, sigma: float | None) -> Cell | None:
    """None for a cell none of whose runs finished."""
    done = rows.loc[np.isfinite(rows.loss)]
    if done.empty:
        return None
    batches = [
        Tried(int(str(size)), _best(its.rate, its.loss, RATE, sigma), len(its))
        for size, its in rows.groupby("batch_tokens")
        if np.isfinite(its.loss).any()
    ]
    batch = _best([t.batch_tokens for t in batches], [t.rate.loss for t in batches], BATCH, sigma)
    first = rows.iloc[0]
    return Cell(
        architecture=str(first.architecture),
        budget=str(first.budget),
        width=int(first.width),
        depth=int(first.depth),
        N=float(first.N),
        D=float(np.exp(np.log(rows.D).mean())),
        C=float(np.exp(np.log(done.C).mean())),
        batches=batches,
        batch=(batch := _sure(batch, batches)),
        rate=_rate_at(batch, batches),
    )


def _best(values: Iterable[float], losses: Iterable[float], what: str, sigma: float | None) -> Optimum:
    """The optimum; where too few values were tried for one, the best of them and how many there were."""
    x, y = np.asarray(list(values), float), np.asarray(list(losses), float)
    if (n := len(np.unique(x))) < LEAST:
        best, many = int(np.argmin(y)), "" if n == 1 else "s"
        return Optimum(
            float(x[best]), float(y[best]), f"{n} {what}{many} tried", (float(x.min()), float(x.max()))
        )
    return optimum(x, y, what=what, noise=sigma)


def _around(batch: Optimum, batches: list[Tried]) -> list[Tried]:
    """The three batches whose losses the optimum was read from."""
    k = int(np.argmin([tried.rate.loss for tried in batches]))
    return batches[k - 1 : k + 2]


def _sure(batch: Optimum, batches: list[Tried]) -> Optimum:
    """Not bracketed where a loss it was read from is not that of a best rate: a better one may change it."""
    if not batch.bracketed:
        return batch
    loose = [str(t.batch_tokens) for t in _around(batch, batches) if not t.rate.bracketed]
    if not loose:
        return batch
    status = f"the best learning rate at a batch of {', '.join(loose)} tokens is not bracketed"
    return Optimum(batch.value, batch.loss, status, batch.tried)


def _rate_at(batch: Optimum, batches: list[Tried]) -> float | None:
    """The best rate at the best batch: between the two nearest batches along a power law."""
    if not batch.bracketed:
        return None
    near = _around(batch, batches)
    x, y = (np.log([value(t) for t in near]) for value in (lambda t: t.batch_tokens, lambda t: t.rate.value))
    return float(np.exp(np.interp(np.log(batch.value), x, y)))
