"""Causal language modelling: every token is predicted from those before it.

With `documents`, from those before it in its own document. A window is cut from the text of many documents, a
separator after each, and holds as many as fit, without padding. The separator belongs to the document it ends
and is predicted there; at the separator nothing is asked, since the next document does not follow from it.
Worked example, T = 8; `|` is the separator and `.` is IGNORE.

    position   0  1  2  3  4  5  6  7
    token      a  b  |  c  d  e  |  f
    segment    0  0  0  1  1  1  1  2
    label      b  |  .  d  e  |  .  g

The common measure (scalelaw.evaluate) shows every model the whole window and asks for every token of its
target, first tokens of documents too; `loss_objective` is the loss of what is asked here.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalelaw.contracts import IGNORE, SEPARATOR, BadInput, Batch


@dataclass(frozen=True, kw_only=True)
class CausalLM:
    """Inputs are the first T tokens of a window, labels their successors; there is no prefix.

    documents: keep the documents of a window apart, both in what a token sees and in what is asked of it.
    """

    documents: bool = False

    def check(self, window: int) -> None:
        """Every window will do. Raises BadInput for `objective.documents` neither true nor false."""
        if not isinstance(self.documents, bool):
            raise BadInput(f"objective.documents is true or false, not {self.documents!r}")

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """The batches to expect, as (prefix, start, probability): always (0, 0)."""
        return [(0, 0, 1.0)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        tokens, labels = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
        prefix = torch.zeros(len(windows), dtype=torch.int64)
        if not self.documents:
            return Batch.of(tokens, labels, prefix)
        ends = tokens == SEPARATOR
        segments = ends.cumsum(dim=1) - ends.long()
        batch = Batch.of(tokens, labels.masked_fill(ends, IGNORE), prefix, segments)
        return replace(batch, start=0)  # every batch is cut alike, should all rows begin with a separator
