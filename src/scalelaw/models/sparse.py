"""Any architecture with a mixture of experts in place of each FFN."""

from collections.abc import Callable
from typing import Any

from scalelaw.models.base import LanguageModel
from scalelaw.models.moe import SparseFeedForward
from scalelaw.shape import Shape


def sparse(
    shape: Shape,
    vocab_size: int,
    *,
    dense: Callable[[Shape, int], LanguageModel],
    experts: int,
    active: int,
    balance: float,
) -> LanguageModel:
    """The model that `dense` makes, each FFN become `experts` of its size, of which a token takes `active`.

    With one expert it is the dense model. balance: weight of each block's auxiliary loss, in nats per token.
    """
    model = dense(shape, vocab_size)
    for block in model.blocks():
        writes: Any = block.get_submodule("ffn").writes
        block.ffn = SparseFeedForward(shape, writes, experts=experts, active=active, balance=balance)
    return model
