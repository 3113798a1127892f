"""Masked language modelling (Devlin et al. 2019, section 3.1): hidden tokens are told from both sides.

Worked example, T = 8, two tokens hidden; `_` is the mask, `.` IGNORE. Labels stand where their tokens do.

    text       a  b  c  d  e  f  g  h
    token      a  b  _  d  e  f  _  h
    prefix     x  x  x  x  x  x  x  x
    label      .  .  c  .  .  .  g  .

The window's last token, the successor of the T-th, is not read.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalelaw.contracts import IGNORE, BadInput, Batch


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """rate: the share of tokens asked for, the same number in every row, as in BERT's own code, at least 1.
    masked, random: of those, the shares that are shown as the mask and as a token drawn from the vocabulary;
    the rest is shown as it is. BERT: 0.15, 0.8, 0.1.
    mask: the mask's id, the first after the vocabulary; `after` sets it.
    """

    rate: float
    masked: float
    random: float
    mask: int = 0

    restores = True

    def marks(self, window: int) -> int:
        return 1

    def after(self, vocab_size: int, window: int) -> "MaskedLM":
        return replace(self, mask=vocab_size)

    def check(self, window: int) -> None:
        """Raises BadInput naming `objective.rate`, `.masked` or `.random` for what is no share."""
        if not 0 < self.rate <= 1:
            raise BadInput(f"objective.rate={self.rate} is not in (0, 1]: a share of the window's tokens")
        for name in ("masked", "random"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"objective.{name}={getattr(self, name)} is not in [0, 1]")
        if self.masked + self.random > 1:
            raise BadInput(f"objective.masked={self.masked} and .random={self.random} exceed 1 together")

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """The whole window is read in both directions and passes the head."""
        return [(window, 0, 1.0)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        text = windows[:, :-1].contiguous()
        rows, window = text.shape
        rank = torch.rand(rows, window, generator=generator).argsort(dim=1).argsort(dim=1)
        asked = rank < max(1, round(self.rate * window))
        fate = torch.rand(rows, window, generator=generator)
        drawn = torch.randint(self.mask, (rows, window), generator=generator)
        shown = torch.where(
            fate < self.masked, self.mask, torch.where(fate < self.masked + self.random, drawn, text)
        )
        labels = text.masked_fill(~asked, IGNORE)
        batch = Batch.of(torch.where(asked, shown, text), labels, torch.full((rows,), window))
        return replace(batch, start=0)  # all batches are cut alike, so that runs can be trained together
