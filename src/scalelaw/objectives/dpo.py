"""Direct preference optimisation: the right answer before a wrong one (Rafailov et al. 2023, eq. 7).

    loss = -log sigmoid(beta [log p(right) / p0(right) - log p(wrong) / p0(wrong)])

p0 is the model that the run started from. It is fitted to what is preferred by a Bradley-Terry model whose
reward is beta log p / p0, so that a larger beta keeps closer to the start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scalelaw.contracts import SEPARATOR, Architecture, BadInput, Batch, Source
from scalelaw.objectives.items import items, laid, log_p


@dataclass(frozen=True)
class Pairs(Batch):
    """2 n rows: the right answers, then a wrong one to each of the same questions."""

    @property
    def asked(self) -> int:
        return len(self.tokens) // 2

    @property
    def forwards(self) -> list[tuple[int, int, int, int, int]]:
        [(rows, window, prefix, start, passes)] = super().forwards
        return [(rows, window, prefix, start, passes + 1)]  # p0's


@dataclass(frozen=True, kw_only=True)
class DPO:
    """beta: of the loss above. prefix: read questions in both directions.

    The wrong answer is one that is right for another item of the batch, each of those that differ equally
    likely; where all are the same, it is to say nothing."""

    beta: float
    prefix: bool

    cut_by_text = True

    def check(self, window: int) -> None:
        if not self.beta > 0:
            raise BadInput(f"objective.beta={self.beta!r} has to be positive")

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """As if windows were read as they are: which items they hold only the text knows. What a run did cost
        is counted on its batches."""
        return [(window // 2, window // 2 - 1, 1.0)] if self.prefix else [(0, 0, 1.0)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        right, wrong = [], []
        found = items(windows)
        for question, answer in found:
            others = [other for _, other in found if other != answer] or [[SEPARATOR]]
            drawn = int(torch.randint(len(others), (1,), generator=generator))
            right.append((question, answer))
            wrong.append((question, others[drawn]))
        batch = laid([*right, *wrong], prefix=self.prefix)
        return Pairs(**vars(batch))

    def against(
        self, start: Architecture, source: Source, window: int
    ) -> Callable[[Architecture, Batch], Tensor]:
        def loss(model: Architecture, batch: Batch) -> Tensor:
            with torch.no_grad():
                before = log_p(start, batch)
            right, wrong = (log_p(model, batch) - before).chunk(2)
            return -F.logsigmoid(self.beta * (right - wrong)).sum()

        return loss
