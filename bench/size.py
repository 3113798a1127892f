"""The sizes every contestant of one comparison shares."""

from dataclasses import dataclass

import torch
from torch import Tensor

FFN_STEP = 16
BATCHES = 8  # cycled through: enough that no batch is still in cache when it comes again


@dataclass(frozen=True, kw_only=True)
class Size:
    """width d, depth blocks a stack, rows B of window T tokens, a vocabulary of V.

    An encoder-decoder reads the first half of each window with its encoder and the rest with its decoder.
    """

    width: int
    depth: int
    rows: int
    window: int
    vocabulary: int

    @property
    def heads(self) -> int:
        """Of 64, or of 32 where that would leave a single one."""
        return max(2, self.width // 64)

    @property
    def prefix(self) -> int:
        return self.window // 2

    @property
    def tokens(self) -> int:
        """Of a step, whatever part of them is predicted."""
        return self.rows * self.window

    @property
    def gated(self) -> int:
        """Hidden units of a gated FFN: 8/3 d, the parameters of a plain one of 4 d."""
        return -(-8 * self.width // (3 * FFN_STEP)) * FFN_STEP

    def windows(self) -> list[Tensor]:
        """Batches of random tokens, (B, T + 1) each: nothing to learn, and the same for all."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.rows, self.window + 1)
        return [torch.randint(self.vocabulary, shape, generator=generator) for _ in range(BATCHES)]
