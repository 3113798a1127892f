"""Items cut out of windows, each to be read alone, as exams read them.

n items, L tokens of the longest one less one. Worked example of a row, L = 6, of the question `a b ?` and the
answer `c d`; `?` is ANSWER, `|` the separator that fills, `.` IGNORE.

    position   0  1  2  3  4  5
    token      a  b  ?  c  |  |
    label      .  .  c  d  .  .
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from scalelaw.contracts import ANSWER, IGNORE, SEPARATOR, Architecture, BadInput, Batch

Item = tuple[list[int], list[int]]
"""A question, `ANSWER` at its end, and the answer."""


def items(windows: Tensor) -> list[Item]:
    """Those of (B, T + 1) windows, in order; a corpus's text has none. Raises BadInput for none."""
    found = []
    for row in windows.tolist():
        piece: list[int] = []
        for token in (*row, SEPARATOR):
            if token != SEPARATOR:
                piece.append(token)
                continue
            if ANSWER in piece[:-1]:
                end = piece.index(ANSWER) + 1
                found.append((piece[:end], piece[end:]))
            piece = []
    if not found:
        raise BadInput("data: no window of the batch holds a question with an answer; data=mixture has them")
    return found


def laid(pairs: Sequence[Item], *, prefix: bool) -> Batch:
    """A row an item, only its answer asked. prefix: read the question in both directions."""
    longest = max(len(question) + len(answer) for question, answer in pairs) - 1
    tokens = torch.full((len(pairs), longest), SEPARATOR)
    labels = torch.full((len(pairs), longest), IGNORE)
    for row, (question, answer) in enumerate(pairs):
        whole = torch.tensor(question + answer)
        tokens[row, : len(whole) - 1] = whole[:-1]
        labels[row, len(question) - 1 : len(whole) - 1] = whole[len(question) :]
    given = torch.tensor([len(question) if prefix else 0 for question, _ in pairs])
    return Batch.of(tokens, labels, given)


def log_p(model: Architecture, batch: Batch) -> Tensor:
    """(n,) log probability of what each row asks for, summed over its tokens, nats."""
    labels = batch.labels[:, batch.start :]
    logits = model(batch).float().flatten(0, 1)
    nll = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE, reduction="none")
    return -nll.view(labels.shape).sum(dim=1)
