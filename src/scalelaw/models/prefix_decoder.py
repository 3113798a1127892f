"""Prefix decoder: both directions inside the row's prefix, causal after it (Raffel et al. 2020, section 3.2).

The causal decoder's parameters under another mask: a checkpoint of one loads into the other.
"""

from functools import partial

import torch
from torch import Tensor

from scalelaw import masks
from scalelaw.contracts import Batch
from scalelaw.models import packing
from scalelaw.models.decoder import Decoder
from scalelaw.models.layers import Attend, attend, causal


class PrefixDecoder(Decoder):
    """Without a prefix in any row it is the causal decoder bit for bit.

    A row with prefix 0 among rows with longer ones is causal too, but its sums run in another order: its
    logits equal the causal decoder's to the rounding of fp32 (1e-6).
    Raises BadInput for a batch that has both a prefix and documents to be kept apart.
    """

    restores = True

    def attention(self, batch: Batch) -> Attend:
        window, longest = batch.tokens.shape[1], batch.longest
        if longest <= 1:  # one token is its own past and future: the causal decoder, bit for bit
            return packing.attention(batch, self.shape.head_dim)
        packing.refuse(batch)
        mixed = batch.shortest < longest
        head = masks.prefix(batch.prefix, longest) if mixed else None
        if longest == window:  # as in masked LM: nothing comes after
            return partial(attend, mask=head)
        tail = None if _unmasked(batch) else masks.causal(window - longest, window, batch.tokens.device)
        return partial(two_part, longest=longest, head=head, tail=tail)

    def pairs(self, window: int, prefix: int) -> int:
        return window * window if prefix <= 1 else prefix * prefix + (window - prefix) * window


def _unmasked(batch: Batch) -> bool:
    """Whether the tail is better had from causal attention of the whole window: it has more pairs then, but
    no mask, which on a GPU rules out the fast kernel of half precision. (By what these kernels are said to
    do; not measured.)"""
    half = batch.tokens.is_cuda and torch.is_autocast_enabled("cuda")
    return half and 2 * batch.longest <= batch.tokens.shape[1]


def two_part(
    q: Tensor, k: Tensor, v: Tensor, *, longest: int, head: Tensor | None, tail: Tensor | None
) -> Tensor:
    """Attention of queries before and after `longest`, apart. tail: the mask of those after it; None: they
    are taken from causal attention of the whole window.

    Exact: no query before the longest prefix's end may see past it, and all queries from there on are
    causal in every row. With its mask it is 10 to 20 % faster than one dense mask over the window (CPU, T 128
    and 256, half of it prefix), since keys after the prefix are not multiplied with queries inside it.
    """
    before = attend(q[:, :, :longest], k[:, :, :longest], v[:, :, :longest], mask=head)
    after = causal(q, k, v)[:, :, longest:] if tail is None else attend(q[:, :, longest:], k, v, mask=tail)
    return torch.cat((before, after), dim=2)
