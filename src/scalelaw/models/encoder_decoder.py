"""Encoder-decoder: a bidirectional encoder reads the prefix, a causal decoder the rest, looking across.

T positions of the window, P of them the batch's longest prefix.
"""

from functools import partial

from torch import Tensor

from scalelaw import masks
from scalelaw.contracts import BadInput, Batch
from scalelaw.models import cache, packing
from scalelaw.models.base import LanguageModel
from scalelaw.models.cache import Reader
from scalelaw.models.layers import Attend, Block, CrossBlock, Stack, attend, causal, rotation
from scalelaw.shape import Shape


class EncoderDecoder(LanguageModel):
    """Two stacks with their own parameters and one embedding, counted once (T5; Raffel et al. 2020).

    Each stack has `shape.depth` blocks: about twice the parameters of a decoder-only model of that shape, at
    about its cost, since a token passes through one of the stacks only (Raffel et al. 2020, section 3.2.2).
    The decoder's first input is the last token of the prefix, where the first label stands: no start symbol
    is needed. Rotary positions tell distances inside each stack; the window's own positions are used in both,
    though any offset would give the same logits.
    Raises BadInput for a batch with an empty prefix in some row, or with documents to be kept apart.
    """

    def __init__(self, shape: Shape, vocab_size: int, *, tie_embeddings: bool) -> None:
        super().__init__(shape, vocab_size, tie_embeddings)
        depth = shape.depth
        self.encoder = Stack([Block(shape, writes=2 * depth) for _ in range(depth)], shape.width)
        self.decoder = Stack([CrossBlock(shape, writes=3 * depth) for _ in range(depth)], shape.width)

    def hidden(self, batch: Batch) -> Tensor:
        packing.refuse(batch)
        if batch.shortest < 1:
            raise BadInput("an encoder-decoder has nothing to encode in a row with prefix 0")
        window, longest = batch.tokens.shape[1], batch.longest
        first = _first(batch.shortest, batch.start)
        attend_prefix, attend_target = _attention(batch, first)

        embedded = self.embedding(batch.tokens)  # (B, T, E)
        turn = rotation(window, self.shape.head_dim, batch.tokens.device)
        memory = self.encoder(embedded[:, :longest], 0, turn[:, :longest], attend_prefix)  # (B, P, E)
        return self.decoder(
            embedded[:, first:], batch.start - first, turn[:, first:], attend_target, memory, attend_prefix
        )

    def flops(self, *, window: int, prefix: int, start: int) -> int:
        """Exact if all rows share the prefix, or the first label stands before the shortest one's end."""
        if prefix < 1:
            raise BadInput("an encoder-decoder has nothing to encode in a row with prefix 0")
        read = window - _first(prefix, start)
        encoder = self.encoder.flops(prefix, prefix * prefix)
        return encoder + self.decoder.flops(read, read * read, prefix) + self.head_flops(window - start)

    def begin(self, prefix: int) -> int:
        """The decoder's first position for a prefix of so many tokens: the last that the encoder reads."""
        return prefix - 1

    def read(self, prompt: Tensor, more: int) -> tuple[Reader, Tensor]:
        """The encoder reads its part of the prompt once, the decoder the rest and all that comes after."""
        length = prompt.shape[1]
        if length < 1:
            raise BadInput("an encoder-decoder has nothing to encode in an empty prompt")
        first = self.begin(length)
        turn = rotation(length + more, self.shape.head_dim, prompt.device)
        memory = self.encoder(self.embedding(prompt[:, : first + 1]), 0, turn[:, : first + 1], attend)
        own = cache.caches(self.decoder, attend, length - first + more)
        across = cache.caches(self.decoder, attend, first + 1)
        reader = Reader(self.decoder, turn[:, first:], own, memory, across)
        return reader, reader(self.embedding(prompt[:, first:]))

    def kept(self, prompt: int, more: int) -> int:
        return 2 * self.shape.depth * self.shape.width * (prompt + 1 + more)

    def token_flops(self, prompt: int, after: int) -> int:
        # The second term is of the keys and values looked across at: what a pass over no position costs.
        first = self.begin(prompt)
        kept = self.decoder.flops(0, 0, first + 1)
        return self.decoder.flops(1, prompt + after + 1 - first, first + 1) - kept + self.head_flops(1)


def _attention(batch: Batch, first: int) -> tuple[Attend, Attend]:
    """Of the encoder and the look across: a row's prefix and no further. Of the decoder: its target.

    A row's target begins at its own prefix's end, whatever the other rows' prefixes, so that a row's logits
    do not depend on the company it is in. Masks are built only where the rows' plain ranges do not say it.
    """
    window, longest = batch.tokens.shape[1], batch.longest
    inside = masks.within(batch.prefix, longest) if batch.shortest < longest else None
    attend_prefix = partial(attend, mask=inside)
    if first == longest - 1:
        return attend_prefix, causal
    begun = masks.target(batch.prefix, first, window)
    return attend_prefix, partial(attend, mask=begun)


def _first(shortest: int, start: int) -> int:
    """Where the decoder begins: at the first label, or earlier if tokens after a prefix would go unread."""
    return min(start, shortest - 1)
