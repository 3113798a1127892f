"""Causal decoder: every position sees itself and all before it in its document, prefix or not."""

from scalelaw.contracts import Batch
from scalelaw.models import packing
from scalelaw.models.decoder import Decoder
from scalelaw.models.layers import Attend


class CausalDecoder(Decoder):
    def attention(self, batch: Batch) -> Attend:
        return packing.attention(batch, self.shape.head_dim)

    def pairs(self, window: int, prefix: int) -> int:
        return window * window
