"""The keys and values of a text read so far, kept, so that each further token costs the pass of one token.

A mask is all that attention knows of an architecture, and a cache is an `Attend` like any mask, one a layer:
the layers do not know that they are read a token at a time.

B rows, T positions, P of them the prompt's, E width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scalelaw.contracts import Batch
from scalelaw.models.layers import Attend, Stack, attend


class Cache:
    """An `Attend` of whose calls each sees the keys and values of all before it and of itself.

    The first call, the prompt's, is under `first`. Later ones may see all there is, whatever the
    architecture: a token after the prompt sees all before it. What a stack looks across at comes whole with
    the first call, and nothing of it with later ones. room: positions to make place for.
    """

    def __init__(self, first: Attend, room: int) -> None:
        self.first, self.room, self.length = first, room, 0
        self.keys, self.values = torch.empty(0), torch.empty(0)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        before, self.length = self.length, self.length + k.shape[2]
        if before == 0:
            self.keys, self.values = (x.new_empty(*x.shape[:2], self.room, x.shape[3]) for x in (k, v))
        self.keys[:, :, before : self.length] = k
        self.values[:, :, before : self.length] = v
        if before == 0:
            return self.first(q, k, v)
        return attend(q, self.keys[:, :, : self.length], self.values[:, :, : self.length])

    @property
    def bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class Reader:
    """A stack that goes on where it stopped reading.

    turn: `rotation` of all positions to come. own: a cache a block. memory: (B, P, E), what the blocks look
    across at, and across: a cache a block for it; None and empty for a stack that does not.
    """

    def __init__(
        self,
        stack: Stack,
        turn: Tensor,
        own: Sequence[Cache],
        memory: Tensor | None = None,
        across: Sequence[Cache] = (),
    ) -> None:
        self.stack, self.turn, self.own, self.memory, self.across = stack, turn, own, memory, across
        self.position = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The next T positions, (B, T, E), to the stack's output at the last of them, (B, E)."""
        turn = self.turn[:, self.position : self.position + x.shape[1]]
        for number, block in enumerate(self.stack.blocks):
            crossing = () if self.memory is None else (self.memory, self.across[number])
            x = block(x, turn, self.own[number], *crossing)
        self.position += x.shape[1]
        if self.memory is not None:
            self.memory = self.memory[:, :0]  # the caches hold its keys and values
        return self.stack.norm(x[:, -1])

    @property
    def bytes(self) -> int:
        """Those of all keys and values kept."""
        return sum(cache.bytes for cache in (*self.own, *self.across))


def caches(stack: Stack, first: Attend, room: int) -> list[Cache]:
    return [Cache(first, room) for _ in stack.blocks]


def prompt(tokens: Tensor) -> Batch:
    """(B, P) tokens as a batch that gives them all and asks for what comes after the last."""
    rows, length = tokens.shape
    prefix = torch.full((rows,), length, device=tokens.device)
    return Batch(tokens, tokens, prefix, length - 1, length, length)
