"""Fill in the middle (Bavarian et al. 2022): a piece of the text is moved to its end, all is learnt causally.

Worked example, T = 9 (six tokens of text, four marks); the middle is `c d`. PSM, and SPM:

    text       a  b  c  d  e  f
    PSM        <pre> a b <suf> e f <mid> c d <end>
    SPM        <pre> <suf> e f <mid> a b c d <end>

Every successor is asked for, as in causal_lm; there is no prefix. Cuts are drawn in the window, between any
two tokens (the paper's "context level", "token level"), so any of the three pieces may be empty.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalelaw.contracts import BadInput, Batch

MARKS = 4  # <pre>, <suf>, <mid>, <end>


@dataclass(frozen=True, kw_only=True)
class FillInTheMiddle:
    """rate: share of windows that are rearranged; the others are read as they are. spm: of those, the share
    told suffix first. The paper recommends 0.5 to 0.9, and 0.5.
    first: the id of `<pre>`; the other marks follow. `after` sets it.
    """

    rate: float
    spm: float
    first: int = 0

    def marks(self, window: int) -> int:
        return MARKS

    def after(self, vocab_size: int, window: int) -> "FillInTheMiddle":
        return replace(self, first=vocab_size)

    def check(self, window: int) -> None:
        """Raises BadInput naming `objective.rate`, `objective.spm`, or a window too short for the marks."""
        for name in ("rate", "spm"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"objective.{name}={getattr(self, name)} is not in [0, 1]: a share of windows")
        if window < MARKS:
            raise BadInput(f"fill in the middle needs a window of at least {MARKS} tokens, not {window}")

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        return [(0, 0, 1.0)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        rows, length = windows.shape
        moved, spm = torch.rand(2, rows, generator=generator)
        room = length - MARKS
        cuts = torch.randint(room + 1, (rows, 2), generator=generator).sort(dim=1).values.tolist()
        full = torch.stack(
            [
                self._arranged(row[:room], *cuts[b], spm=bool(spm[b] < self.spm))
                if moved[b] < self.rate
                else row
                for b, row in enumerate(windows)
            ]
        )
        prefix = torch.zeros(rows, dtype=torch.int64)
        return Batch.of(full[:, :-1].contiguous(), full[:, 1:].contiguous(), prefix)

    def _arranged(self, text: Tensor, begin: int, end: int, *, spm: bool) -> Tensor:
        before, middle, after = text[:begin], text[begin:end], text[end:]
        pre, suf, mid, eot = torch.arange(self.first, self.first + MARKS).split(1)
        if spm:
            return torch.cat([pre, suf, after, mid, before, middle, eot])
        return torch.cat([pre, before, suf, after, mid, middle, eot])
