"""The one loss of the house: projection to the vocabulary and cross-entropy, a chunk of positions at a time.

K models of a stack (1 for one alone), M positions each, E width, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from scalelaw.contracts import IGNORE

# Logits of a model alive at once, whatever the company, so that its sums are the same: 8 MB in float32 on a
# CPU, so that softmax and its gradient are taken in cache; on GPUs launches cost more than memory does. But
# never so few positions that their products with the table are slower than adding its gradient up.
LOGITS = {"cpu": 1 << 21, "gpu": 1 << 26}
POSITIONS = 128

Softmax = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]


def softmax(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """All that is taken of the logits (..., V) of positions whose labels are (...).

    exp (..., V): exp(logits - top), in the type of the logits. share (..., 1), float32: 1 / its sum, 0 where
    nothing is asked. nll (..., 1), float32, nats. The gradient of nll by the logits is share * exp, but at
    the label share * (exp - sum): the label's index (..., 1), int64, and exp - sum there (..., 1), in the
    type of the logits, come last. What held the logits may hold something else then.
    """
    ignored = labels[..., None] == IGNORE
    index = labels[..., None].masked_fill(ignored, 0)
    top = logits.amax(dim=-1, keepdim=True).float()
    score = logits.gather(-1, index).float() - top
    if torch.compiler.is_compiling():  # powers of two cost three quarters of those of e, a product nothing
        exp = ((logits.float() - top) * math.log2(math.e)).exp2()
    else:
        exp = logits.float().sub_(top).exp_()
    whole = exp.sum(dim=-1, keepdim=True)
    nll = (whole.log() - score).masked_fill(ignored, 0.0)
    share = whole.reciprocal().masked_fill(ignored, 0.0)
    return exp.to(logits.dtype), share, nll, index, (score.exp() - whole).to(logits.dtype)


def summed_nll(hidden: Tensor, weight: Tensor, labels: Tensor, by: Softmax = softmax) -> Tensor:
    """Summed cross-entropy in float32, nats: (K,), or () where `weight` is of one model alone.

    hidden: (..., E), M positions of each model in turn. weight: (V, E) or (K, V, E). labels: int64, one a
    position, `IGNORE` where nothing is asked. Equals cross_entropy(hidden @ weight.T) of all positions, but
    the (M, V) logits and their gradient never exist as a whole: both gradients are taken chunk by chunk on
    the way forward, as in cut-your-losses kernels (Wijmans et al. 2024; Hsu et al. 2024, Liger). Matmuls run
    in autocast's type where it is on; the softmax in float32. There is no second derivative. by:
    `softmax`, or what a compiler made of it.
    """
    K = 1 if weight.dim() == 2 else len(weight)
    table = weight.view(K, -1, weight.shape[-1])
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    positions, labels = hidden.reshape(K, -1, hidden.shape[-1]), labels.reshape(K, -1)
    step = max(LOGITS["cpu" if device == "cpu" else "gpu"] // table.shape[1], POSITIONS)
    # The sum is one of our own precision: autocast has no say inside.
    with torch.autocast(device, enabled=False):
        parts = -(-labels.shape[1] // step)
        if parts <= 1:  # nothing to gain
            logits = _product(positions, table.to(hidden.dtype).mT).float().flatten(0, 1)
            each = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE, reduction="none")
            nll: Any = each.view(K, -1).sum(dim=1)
        else:
            # In equal parts: a short last one would cost as many calls as a whole one.
            nll = _SummedNLL.apply(positions, table, labels, -(-labels.shape[1] // parts), by)
    return nll if weight.dim() == 3 else nll.sum()  # one number; of nll[0], a view, `fully_shard` warns


class _SummedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, step: int, by: Softmax) -> Tensor:
        K, M, _ = hidden.shape
        total = torch.zeros(K, dtype=torch.float32, device=hidden.device)
        wanted = any(ctx.needs_input_grad)
        to_hidden = torch.empty_like(hidden) if wanted else None
        to_weight = torch.empty(weight.shape, dtype=torch.float32, device=weight.device) if wanted else None
        kind, weight = weight.dtype, weight.to(hidden.dtype)  # here: its gradient is not to be rounded so
        for i in range(0, M, step):
            part = hidden[:, i : i + step]
            exp, share, nll, index, at_label = by(_product(part, weight.mT), labels[:, i : i + step])
            total += nll.sum(dim=(1, 2))
            if to_hidden is None or to_weight is None:
                continue
            # The division is left to the sides of the products that are E wide and not V. Not by `scatter`:
            # of bfloat16 on CPUs it takes a float32 copy of all the logits and back.
            at = torch.arange(index.numel(), device=index.device)
            exp.view(-1, exp.shape[-1])[at, index.flatten()] = at_label.flatten()
            to_hidden[:, i : i + step] = _product(exp, weight) * share
            product = _product(exp.mT, (part * share).to(part.dtype))
            if i:
                to_weight += product
            else:
                to_weight.copy_(product)
        if wanted:
            ctx.slopes, ctx.kind = (to_hidden, to_weight), kind
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        if ctx.slopes is None:
            raise RuntimeError("the gradient of this loss is scaled where it lies, and can be taken once")
        (to_hidden, to_weight), ctx.slopes = ctx.slopes, None
        by_model = upstream[0].view(-1, 1, 1)
        slopes = (to_hidden * by_model).to(to_hidden.dtype), to_weight.mul_(by_model).to(ctx.kind)
        return *slopes, None, None, None


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of K pairs; of one pair without the cost of a batch."""
    return (a[0] @ b[0])[None] if len(a) == 1 else a @ b
