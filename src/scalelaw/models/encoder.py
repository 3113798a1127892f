"""Encoder: one stack, every position sees the whole window (Devlin et al. 2019)."""

from torch import Tensor

from scalelaw.contracts import BadInput, Batch
from scalelaw.models import packing
from scalelaw.models.base import LanguageModel
from scalelaw.models.layers import Block, Stack, attend, rotation
from scalelaw.shape import Shape


class Encoder(LanguageModel):
    """The computation of a prefix decoder whose prefix is the window, bit for bit; it has no other.

    It tells hidden tokens from both sides and cannot continue a text: no run of it has the common measure.
    Raises BadInput for a batch that hides anything of its window: a shorter prefix, documents kept apart.
    """

    restores, continues = True, False

    def __init__(self, shape: Shape, vocab_size: int, *, tie_embeddings: bool) -> None:
        super().__init__(shape, vocab_size, tie_embeddings)
        self.encoder = Stack([Block(shape, 2 * shape.depth) for _ in range(shape.depth)], shape.width)

    def hidden(self, batch: Batch) -> Tensor:
        packing.refuse(batch)
        window = batch.tokens.shape[1]
        _whole(batch.shortest, window)
        turn = rotation(window, self.shape.head_dim, batch.tokens.device)
        return self.encoder(self.embedding(batch.tokens), batch.start, turn, attend)

    def flops(self, *, window: int, prefix: int, start: int) -> int:
        _whole(prefix, window)
        return self.encoder.flops(window, window * window) + self.head_flops(window - start)


def _whole(prefix: int, window: int) -> None:
    if prefix < window:
        raise BadInput(
            f"an encoder sees its whole window of {window} tokens, not {prefix} of them: objective=masked_lm"
        )
