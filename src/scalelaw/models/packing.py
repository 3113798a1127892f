"""Documents packed end to end in a window, each of them causal and none seen by another.

A window holds T tokens of text whatever its documents' lengths: nothing is padded. `Batch.segments` numbers
the documents, and a position sees those before it that have its own number, exactly. Rotary positions tell
distances only, so they need not begin anew with a document: its logits are those it has alone in a window.
The first document of a row may have begun before the window; what lies there is unseen, with or without this.
The FLOPs counted are those of the whole T x T rectangle, as for any causal attention: an upper bound where
pairs that are masked are not computed.
"""

from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from scalelaw import masks
from scalelaw.contracts import BadInput, Batch
from scalelaw.models.layers import Attend, causal

# From this window on, a CPU attends to each document by itself instead of under one mask of T x T. Forward
# and backward of 4,096 tokens, width 128, 4 heads, one thread of a busy machine, in ms: mask / each document,
# for documents of T / 4 tokens on average and, below, of 4 T. Nested tensors have no causal attention on CPUs
# (torch 2.13).
#
#     T        128          256          512          1024
#     fp32     12.4 / 21.6  19.3 / 18.8  56.4 / 33.0  103.8 / 43.5
#              11.8 / 15.6  19.2 / 21.2  55.3 / 48.6  108.5 / 66.9
#     bf16     61.5 / 105   40.0 / 84.1  57.9 / 70.8  91.5 / 64.4
#              52.1 / 63.2  39.7 / 49.8  57.6 / 58.7  87.1 / 63.4
LONG = 512
BLOCK = 128  # FlexAttention's: a window no longer than this has no block to pass over
NARROWEST = 16  # FlexAttention has no kernel for a smaller head_dim


def attention(batch: Batch, head_dim: int) -> Attend:
    """Causal attention, inside each document where the batch numbers them."""
    segments = batch.segments
    if segments is None:
        return causal
    window = segments.shape[1]
    if segments.is_cuda and window > BLOCK and head_dim >= NARROWEST and find_spec("triton"):
        return partial(by_block, blocks=blocks(segments))
    if segments.device.type == "cpu" and window >= LONG:
        return partial(_uncompiled(by_document), lengths=lengths(segments))
    return partial(F.scaled_dot_product_attention, attn_mask=masks.documents(segments))


def refuse(batch: Batch) -> None:
    """Raises BadInput for a batch whose documents are numbered: attention in both directions mixes them."""
    if batch.segments is not None:
        raise BadInput("objective.documents=true needs causal attention, without an encoder or a prefix")


def lengths(segments: Tensor) -> Tensor:
    """(documents,) int64: how many tokens each has in its row, row after row."""
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    first = begins.flatten().nonzero().flatten()
    return first.diff(append=first.new_tensor([segments.numel()]))


def by_document(q: Tensor, k: Tensor, v: Tensor, *, lengths: Tensor) -> Tensor:
    """Each document by itself, cut out of the batch and put back. `lengths`: (documents,), in order."""
    sizes = lengths.tolist()
    flat = (x.transpose(1, 2).flatten(0, 1).split(sizes) for x in (q, k, v))  # each of (n, H, D)
    documents = ((x.transpose(0, 1)[None] for x in qkv) for qkv in zip(*flat, strict=True))
    attended = torch.cat([causal(*qkv)[0] for qkv in documents], dim=1)  # (H, B * T, D)
    return attended.unflatten(1, (len(q), -1)).transpose(0, 1)


def blocks(segments: Tensor) -> BlockMask:
    """Which blocks of keys a block of queries has to look at, and which pairs of them."""

    def own(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (segments[row, query] == segments[row, key])

    rows, window = segments.shape
    return create_block_mask(own, rows, None, window, window, device=str(segments.device), BLOCK_SIZE=BLOCK)


def by_block(q: Tensor, k: Tensor, v: Tensor, *, blocks: BlockMask) -> Tensor:
    """FlexAttention (Dong et al. 2024): compiled with the block around it, or else by itself."""
    attend = flex_attention if torch.compiler.is_compiling() else _compiled(flex_attention)
    attended = attend(q, k, v, block_mask=blocks)
    assert isinstance(attended, Tensor)  # it returns more when asked to
    return attended


@cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function)


@cache
def _uncompiled(function: Callable) -> Callable:
    """`by_document` makes another number of calls in each batch, and would be compiled for each anew."""
    return torch.compiler.disable(function)
