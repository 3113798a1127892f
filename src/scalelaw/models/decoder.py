"""A decoder-only transformer, open in one place: which attention its mask asks for."""

from abc import abstractmethod

from torch import Tensor

from scalelaw.contracts import Batch
from scalelaw.models import cache
from scalelaw.models.base import LanguageModel
from scalelaw.models.cache import Reader
from scalelaw.models.layers import Attend, Block, Stack, rotation
from scalelaw.shape import Shape


class Decoder(LanguageModel):
    """One stack over all T positions; Llama's block (Touvron et al. 2023)."""

    def __init__(self, shape: Shape, vocab_size: int, *, tie_embeddings: bool) -> None:
        super().__init__(shape, vocab_size, tie_embeddings)
        writes = 2 * shape.depth
        self.decoder = Stack([Block(shape, writes) for _ in range(shape.depth)], shape.width)

    @abstractmethod
    def attention(self, batch: Batch) -> Attend:
        """How all layers attend on this batch."""

    @abstractmethod
    def pairs(self, window: int, prefix: int) -> int:
        """Query-key products that `attention` computes on a CPU, per head and row."""

    def hidden(self, batch: Batch) -> Tensor:
        turn = rotation(batch.tokens.shape[1], self.shape.head_dim, batch.tokens.device)
        return self.decoder(self.embedding(batch.tokens), batch.start, turn, self.attention(batch))

    def flops(self, *, window: int, prefix: int, start: int) -> int:
        return self.decoder.flops(window, self.pairs(window, prefix)) + self.head_flops(window - start)

    def read(self, prompt: Tensor, more: int) -> tuple[Reader, Tensor]:
        room = prompt.shape[1] + more
        own = cache.caches(self.decoder, self.attention(cache.prompt(prompt)), room)
        reader = Reader(self.decoder, rotation(room, self.shape.head_dim, prompt.device), own)
        return reader, reader(self.embedding(prompt))

    def kept(self, prompt: int, more: int) -> int:
        return 2 * self.shape.depth * self.shape.width * (prompt + more)

    def token_flops(self, prompt: int, after: int) -> int:
        return self.decoder.flops(1, prompt + after + 1) + self.head_flops(1)
