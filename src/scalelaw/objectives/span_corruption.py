"""Span corruption (Raffel et al. 2020, section 3.1.4): spans of text are cut out, and told after the rest.

Worked example, T = 11: seven tokens of text, two spans of three tokens in all; `1 2 3` are sentinels, `.` is
IGNORE. Each span leaves its sentinel behind; the targets are the spans, each after its sentinel, and one more
sentinel, which ends them.

    text       a  b  c  d  e  f  g
    cut              x        x  x
    sequence   a  b  1  d  e  2  1  c  2  f  g  3
    position   0  1  2  3  4  5  6  7  8  9 10
    prefix     x  x  x  x  x  x
    label      .  .  .  .  .  1  c  2  f  g  3

As for a prefix LM, the prefix's last token says the first target. The sequence has T + 1 tokens, as any other
objective's: with k spans it holds T - 2 k of text, since a span costs two sentinels and the end costs one. T5
chooses the length of the text so that the corrupted text fills its window; here both parts share one window.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalelaw.contracts import IGNORE, BadInput, Batch


@dataclass(frozen=True, kw_only=True)
class SpanCorruption:
    """rate: share of the text that is cut out. span: mean length of the spans, in tokens; T5: 0.15 and 3.

    Both are met as nearly as whole tokens and spans can. Text begins with what is kept and ends with a span,
    between them all lengths of at least 1 are equally likely: T5's own draw. So a single span is the text's
    end, as a prefix LM's target is.
    sentinel: the id of the first sentinel; `after` sets it.
    """

    rate: float
    span: float
    sentinel: int = 0

    def marks(self, window: int) -> int:
        return self._sizes(window)[2] + 1

    def after(self, vocab_size: int, window: int) -> "SpanCorruption":
        return replace(self, sentinel=vocab_size)

    def check(self, window: int) -> None:
        """Raises BadInput naming `objective.rate`, `.span` or the window where no such spans can be cut."""
        if not 0 < self.rate < 1:
            raise BadInput(f"objective.rate={self.rate} is not in (0, 1): a share of the text")
        if not self.span >= 1:
            raise BadInput(f"objective.span={self.span}: a span has at least 1 token")
        text, cut, spans = self._sizes(window)
        if not spans <= cut <= text - spans:
            raise BadInput(
                f"objective.rate={self.rate} and objective.span={self.span} cut {cut} of {text} tokens in "
                f"{spans} spans, which a window of {window} tokens has no room for"
            )

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """Always the same: how much is cut, and in how many spans, the window says."""
        text, cut, spans = self._sizes(window)
        return [(text - cut + spans, text - cut + spans - 1, 1.0)]

    def _sizes(self, window: int) -> tuple[int, int, int]:
        """Tokens of text, of those in spans, and spans. From spans = rate (T - 2 spans) / span."""
        spans = max(1, round(window * self.rate / (self.span + 2 * self.rate)))
        text = window - 2 * spans
        return text, max(1, round(text * self.rate)), spans

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        rows, window = len(windows), windows.shape[1] - 1
        text, cut, spans = self._sizes(window)
        lengths = torch.stack(
            [_parts(text - cut, spans, rows, generator), _parts(cut, spans, rows, generator)], dim=2
        ).flatten(1)  # (B, 2 spans): kept, cut, kept, cut ...
        cuts = torch.arange(2 * spans) % 2 == 1
        number = torch.arange(spans).repeat_interleave(2) + self.sentinel
        sequence = [
            _told(row[:text], lengths[b].tolist(), cuts.tolist(), number) for b, row in enumerate(windows)
        ]
        end = torch.full((rows, 1), self.sentinel + spans)
        full = torch.cat([torch.stack(sequence), end], dim=1)  # (B, T + 1)
        prefix = text - cut + spans
        given = torch.arange(window) < prefix - 1
        labels = full[:, 1:].masked_fill(given, IGNORE)
        return Batch.of(full[:, :-1].contiguous(), labels, torch.full((rows,), prefix))


def _parts(total: int, parts: int, rows: int, generator: torch.Generator) -> Tensor:
    """(rows, parts) positive lengths that add up to `total`, every such division equally likely."""
    ends = (
        torch.rand(rows, total - 1, generator=generator).argsort(dim=1)[:, : parts - 1].sort(dim=1).values + 1
    )
    edge = torch.zeros(rows, 1, dtype=torch.int64)
    return torch.cat([edge, ends, edge + total], dim=1).diff(dim=1)


def _told(text: Tensor, lengths: list[int], cuts: list[bool], number: Tensor) -> Tensor:
    """What is kept of one row's text, a sentinel for each span, and then each span after its sentinel."""
    pieces = text.split(lengths)
    kept, told = [], []
    for piece, cut, mark in zip(pieces, cuts, number.split(1), strict=True):
        kept.append(mark if cut else piece)
        told += [mark, piece] if cut else []
    return torch.cat([*kept, *told])
