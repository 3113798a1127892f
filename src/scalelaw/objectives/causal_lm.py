"""Causal language modelling: every token is predicted from those before it."""

import torch
from torch import Tensor

from scalelaw.contracts import Batch


class CausalLM:
    """Inputs are the first T tokens of a window, labels their successors; there is no prefix."""

    def check(self, window: int) -> None:
        """Every window will do."""

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """The batches to expect, as (prefix, start, probability): always (0, 0)."""
        return [(0, 0, 1.0)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        tokens, labels = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
        return Batch.of(tokens, labels, torch.zeros(len(windows), dtype=torch.int64))
