"""A corpus after another: what is learnt now, and what was learnt before and may be forgotten."""

from collections.abc import Mapping

import torch
from torch import Tensor

from scalelaw.contracts import BadInput, Source
from scalelaw.data.turns import TURNS, turn


class Shift:
    """Text of `after` to learn from, with a share `replay` of the windows from `before`; the `Source` of
    scalelaw.contracts. The validation windows, and so the loss, are those of `after`; the loss on those of
    `before` is told beside it.

    Raises BadInput for a share outside [0, 1), and for corpora that are not both in bytes.
    """

    older = "before"

    def __init__(self, *, before: Source, after: Source, replay: float) -> None:
        if not 0 <= replay < 1:
            raise BadInput(f"data.replay={replay!r}: a share of the windows lies between 0 and 1")
        for name, part in (("before", before), ("after", after)):
            if part.manifest.get("tokenizer") != "bytes":
                raise BadInput(f"data.{name}.tokenizer: corpora follow each other in bytes, tokenizer=bytes")
        again = round(TURNS * replay)
        self.parts, self.counts = (before, after), (again, TURNS - again)
        self.vocab_size, self.token_bytes = after.vocab_size, after.token_bytes
        self.train_tokens = after.train_tokens
        self.others: Mapping[str, Source] = {self.older: before}
        self.manifest = after.manifest | {"replay": replay, self.older: before.manifest}

    def windows(self, position: int, rows: int, *, window: int, seed: int) -> Tensor:
        found = []
        for at in range(position, position + rows):
            mine, earlier = turn(self.counts, at, seed)
            found.append(self.parts[mine].windows(earlier, 1, window=window, seed=seed))
        return torch.cat(found)

    def validation(self, rows: int, *, window: int) -> Tensor:
        return self.parts[1].validation(rows, window=window)
