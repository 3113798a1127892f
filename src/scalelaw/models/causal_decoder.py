"""Causal decoder: every position sees itself and all before it, prefix or not."""

from scalelaw.contracts import Batch
from scalelaw.models.decoder import Decoder
from scalelaw.models.layers import Attend, causal


class CausalDecoder(Decoder):
    def attention(self, batch: Batch) -> Attend:
        return causal

    def pairs(self, window: int, prefix: int) -> int:
        return window * window
