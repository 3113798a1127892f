"""What a measure is: figures about a model that tell how it works, beside the loss that tells how well.

None of them has a say in training: each looks at a copy of the model, on validation windows that are the same
for every run, with randomness of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scalelaw.contracts import IGNORE, BadInput, Batch, Objective, Source

SEED = 0  # of what a measure draws: directions, probes, splits. The same for every run, so that runs compare.

Figures = Mapping[str, float | None]
"""By name; None where a figure cannot be had of this model."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured.

    model: a copy of the run's, in float32, with nothing compiled; a measure leaves its weights as they were.
    fresh: makes the model as it was before its first step.
    rows: of the run's own batches. seed: the run's, which orders its training text.
    """

    model: Any
    fresh: Callable[[], Any]
    source: Source
    objective: Objective
    window: int
    rows: int
    seed: int

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def windows(self, rows: int) -> Tensor:
        """(rows, T + 1) validation windows, always the same."""
        return self.source.validation(rows, window=self.window)

    def batch(self, rows: int) -> Batch:
        """Those under the run's own objective, with one fixed draw of its splits."""
        drawn = self.objective(self.windows(rows), torch.Generator().manual_seed(SEED))
        return drawn.to(self.device)


class Measure(ABC):
    """along: measure at every evaluation of a run, not at its end alone."""

    def __init__(self, *, along: bool) -> None:
        if not isinstance(along, bool):
            raise BadInput(f"along is true or false, not {along!r}")
        self.along = along

    def check(self, subject: Subject) -> None:  # noqa: B027 (most take any subject)
        """Raises BadInput, before any work, where the subject has nothing that could be measured."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Figures: ...


def checked(measures: Mapping[str, Measure], subject: Subject) -> None:
    """Raises BadInput naming the measure whose subject this cannot be."""
    for name, measure in measures.items():
        try:
            measure.check(subject)
        except BadInput as error:
            raise BadInput(f"measures.{name}: {error}") from None


def measured(measures: Mapping[str, Measure], subject: Subject, *, end: bool) -> dict[str, float | None]:
    """All figures as "measure.figure"; before a run's end only of measures that go along."""
    return {
        f"{name}.{figure}": value
        for name, measure in measures.items()
        if end or measure.along
        for figure, value in measure(subject).items()
    }


def summed_nll(model: Any, batch: Batch) -> Tensor:
    """Nats of all targets, differentiable as often as one likes: `LanguageModel.nll` is so but once."""
    labels = batch.labels[:, batch.start :].flatten()
    logits = model(batch).flatten(0, 1)
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")


def mean_nll(model: Any, batch: Batch) -> Tensor:
    """Nats a target token."""
    return summed_nll(model, batch) / (batch.labels != IGNORE).sum()


def counts(name: str, **values: object) -> None:
    """Raises BadInput naming the knob that is not a whole number of at least 1."""
    for knob, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{name}.{knob} must be a whole number of at least 1, not {value!r}")


def increasing(name: str, values: Sequence[float]) -> list[float]:
    """The values as they are. Raises BadInput naming the knob unless they are positive and increase."""
    found = list(values)
    if not found or found[0] <= 0 or any(b <= a for a, b in pairwise(found)):
        raise BadInput(f"{name} must be positive numbers that increase, not {found}")
    return found
