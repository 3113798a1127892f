"""Prefix language modelling (Raffel et al. 2020, section 3.2): read a prefix whole, predict what follows it.

Worked example, T = 8 and a prefix of 3; `.` is IGNORE. The last prefix token says the first target.

    position   0  1  2  3  4  5  6  7
    token      a  b  c  d  e  f  g  h
    prefix     x  x  x
    label      .  .  d  e  f  g  h  i
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scalelaw.contracts import IGNORE, BadInput, Batch

DRAWS = 4096  # the mean cost of a batch is then known to half a per cent


class PrefixLM:
    """Each window is divided at a drawn point into a prefix and its targets.

    prefix: how many tokens the prefix has: None draws from 1 to T - 1, a pair [low, high] from low to high,
    each length equally likely; a number fixes it.
    per_row: draw for every row. Otherwise one draw serves the whole batch, so that attention needs no mask
    of its own for each row and an encoder no padding; the split of any one window is distributed the same.
    """

    def __init__(self, *, prefix: int | Sequence[int] | None, per_row: bool) -> None:
        self.prefix = prefix
        self.per_row = per_row

    def check(self, window: int) -> None:
        """Raises BadInput naming `objective.prefix` and the window where they do not fit each other."""
        self.range(window)

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """How batches of `rows` rows come out, as (longest prefix, start, probability).

        Exact for a shared split. With `per_row` a batch reaches from its earliest start to its longest
        prefix; these are drawn, since their joint distribution has T^2 / 2 cases.
        """
        low, high = self.range(window)
        if not self.per_row:
            return [(prefix, prefix - 1, 1 / (high - low + 1)) for prefix in range(low, high + 1)]
        drawn = np.random.default_rng(0).integers(low, high + 1, (DRAWS, rows))
        return [(int(row.max()), int(row.min()) - 1, 1 / DRAWS) for row in drawn]

    def range(self, window: int) -> tuple[int, int]:
        """The shortest and the longest prefix to draw for windows of T = `window` inputs."""
        said = f"objective.prefix={self.prefix} with a window of {window} tokens"
        ends = [1, window - 1] if self.prefix is None else self.prefix
        try:
            low, high = (ends, ends) if isinstance(ends, int) else ends
        except (TypeError, ValueError):
            raise BadInput(f"{said}: give a number, a pair [low, high] or null") from None
        whole = all(isinstance(end, int) for end in (low, high))
        if not whole or not 1 <= low <= high <= window:
            raise BadInput(f"{said}: a prefix has 1 to {window} tokens")
        return low, high

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        """(B, T + 1) int64 on the CPU to a Batch; the generator's state decides the splits."""
        rows, window = windows.shape[0], windows.shape[1] - 1
        low, high = self.range(window)
        draws = torch.randint(low, high + 1, (rows if self.per_row else 1,), generator=generator)
        prefix = draws.expand(rows).contiguous()
        given = torch.arange(window) < prefix[:, None] - 1
        labels = windows[:, 1:].masked_fill(given, IGNORE)
        return Batch.of(windows[:, :-1].contiguous(), labels, prefix)
