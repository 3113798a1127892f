"""Encoder-decoder and prefix decoder in one: the decoder reads the prefix's last tokens in both directions.

A prefix of P tokens, the last d of them the decoder's own; with P = 5 and d = 3 in a window of 8:

    position   0  1  2  3  4  5  6  7
    encoder    x  x  x
    decoder          x  x  x  x  x  x      2, 3 and 4 see each other, and causality begins after them

As in the encoder-decoder, the token the decoder begins with is the last that the encoder reads: d = 1 is that
model, and d = P all but the prefix decoder.
"""

from functools import partial

from torch import Tensor

from scalelaw import masks
from scalelaw.contracts import BadInput, Batch
from scalelaw.models import packing
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.layers import attend, rotation
from scalelaw.shape import Shape


class HybridEncoderDecoder(EncoderDecoder):
    """decoder_prefix: the share of each row's prefix that is the decoder's own, in whole tokens, at least 1.

    Raises BadInput for what an encoder-decoder refuses, and for labels before the decoder begins.
    """

    def __init__(self, shape: Shape, vocab_size: int, *, tie_embeddings: bool, decoder_prefix: float) -> None:
        if not 0 <= decoder_prefix <= 1:
            raise BadInput(
                f"architecture.decoder_prefix={decoder_prefix} is not in [0, 1]: a share of the prefix"
            )
        super().__init__(shape, vocab_size, tie_embeddings=tie_embeddings)
        self.decoder_prefix = float(decoder_prefix)

    def begin(self, prefix: int) -> int:
        """As of an encoder-decoder; it never falls as the prefix grows."""
        return prefix - max(1, int(self.decoder_prefix * prefix))

    def hidden(self, batch: Batch) -> Tensor:
        if batch.shortest < 1 or self._plain(batch.longest):
            return super().hidden(batch)
        packing.refuse(batch)
        window = batch.tokens.shape[1]
        first, read = self.begin(batch.shortest), self.begin(batch.longest) + 1
        _asked_after(first, batch.start)
        own = (self.decoder_prefix * batch.prefix.double()).long().clamp(min=1)
        begun = batch.prefix - own  # (B,), `begin` of each row
        attend_prefix = partial(attend, mask=masks.within(begun + 1, read) if first + 1 < read else None)
        attend_target = partial(attend, mask=masks.own_prefix(begun, batch.prefix, first, window))

        embedded = self.embedding(batch.tokens)  # (B, T, E)
        turn = rotation(window, self.shape.head_dim, batch.tokens.device)
        memory = self.encoder(embedded[:, :read], 0, turn[:, :read], attend_prefix)  # (B, read, E)
        return self.decoder(
            embedded[:, first:], batch.start - first, turn[:, first:], attend_target, memory, attend_prefix
        )

    def flops(self, *, window: int, prefix: int, start: int) -> int:
        """Exact if all rows share the prefix, or the first label stands at the shortest one's end."""
        if prefix < 1 or self._plain(prefix):
            return super().flops(window=window, prefix=prefix, start=start)
        first, read = self.begin(min(prefix, start + 1)), self.begin(prefix) + 1
        _asked_after(first, start)
        tokens = window - first
        decoder = self.decoder.flops(tokens, tokens * tokens, read)
        return self.encoder.flops(read, read * read) + decoder + self.head_flops(window - start)

    def _plain(self, longest: int) -> bool:
        """Whether no row's decoder has more than one token of the prefix: then it is an encoder-decoder."""
        return self.begin(longest) == longest - 1


def _asked_after(first: int, start: int) -> None:
    if start < first:
        raise BadInput(
            f"a label at position {start} stands before position {first}, where the decoder begins"
        )
