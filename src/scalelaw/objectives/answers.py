"""Only answers are learnt: what stands between an `ANSWER` token and the separator after it.

Worked example, T = 8; `?` is ANSWER, `|` the separator, `.` IGNORE.

    position   0  1  2  3  4  5  6  7
    token      a  b  ?  c  |  d  e  ?
    label      .  .  c  .  .  .  .  f

With a prefix, one answer's place is drawn for the batch; each row is then read whole up to that answer, and
asked for it and those after it. A row without any answer is a corpus's text, and learnt as text: whole, or,
with a prefix, its second half.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scalelaw.contracts import ANSWER, IGNORE, SEPARATOR, Batch


@dataclass(frozen=True, kw_only=True)
class Answers:
    """prefix: read what is before an answer in both directions, as prefix and encoder-decoder models can."""

    prefix: bool

    cut_by_text = True

    def check(self, window: int) -> None:
        pass

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """As if answers began in the middle: where they do only the text knows. What a run did cost is
        counted on its batches."""
        return [(window // 2, window // 2 - 1, 1.0)] if self.prefix else [(0, 0, 1.0)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        tokens, labels = windows[:, :-1].contiguous(), windows[:, 1:]
        place = torch.arange(tokens.shape[1])
        began, ended = (_last(tokens == mark, place) for mark in (ANSWER, SEPARATOR))
        asked = (began > ended) & (labels != SEPARATOR)
        text = ~(tokens == ANSWER).any(dim=1, keepdim=True)
        prefix = torch.zeros(len(windows), dtype=torch.int64)
        if self.prefix:
            prefix = self._prefix(tokens == ANSWER, text, generator)
        labels = labels.masked_fill(~(asked | text) | (place < prefix[:, None] - 1), IGNORE)
        return Batch.of(tokens, labels, prefix)

    @staticmethod
    def _prefix(marks: Tensor, text: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) tokens up to the marker that is drawn: of as many as every row with answers has."""
        counts = marks.sum(dim=1)
        fewest = int(counts[counts > 0].min()) if bool(counts.any()) else 1
        drawn = int(torch.randint(fewest, (1,), generator=generator))
        found = (marks.cumsum(dim=1) <= drawn).sum(dim=1) + 1
        return torch.where(text[:, 0], torch.full_like(found, marks.shape[1] // 2), found)


def _last(marked: Tensor, place: Tensor) -> Tensor:
    """(B, T) the last marked place up to each one, -1 before the first."""
    return torch.where(marked, place, -1).cummax(dim=1).values
