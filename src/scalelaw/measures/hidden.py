"""Hidden states: what the blocks of a model leave in its residual stream."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalelaw.contracts import BadInput, Batch

LAYERS = ("first", "middle", "last")


def layer(name: str, blocks: int) -> int:
    """Which of so many blocks is meant. Raises BadInput for another name."""
    if name not in LAYERS:
        raise BadInput(f"layers are {', '.join(LAYERS)}, not {name!r}")
    return {"first": 0, "middle": (blocks - 1) // 2, "last": blocks - 1}[name]


def named(layers: Sequence[str]) -> list[str]:
    """The names as they are. Raises BadInput for one that is no layer's."""
    for name in layers:
        layer(name, 1)
    return list(layers)


def states(model: Any, batch: Batch, layers: Sequence[str]) -> Mapping[str, Tensor]:
    """By layer, (B, positions, E): what that block writes out. A decoder's has all T positions; the blocks of
    an encoder-decoder are the encoder's and then the decoder's, each with its own."""
    kept: dict[str, Tensor] = {}
    blocks = model.blocks()
    with ExitStack() as hooks, torch.no_grad():
        for name in layers:

            def keep(_module: Any, _inputs: Any, output: Tensor, name: str = name) -> None:
                kept[name] = output

            handle = blocks[layer(name, len(blocks))].register_forward_hook(keep)
            hooks.callback(handle.remove)
        model.hidden(batch)
    return kept


def points(states: Tensor) -> np.ndarray:
    """(n, E) float64: every position of every row, each different one once."""
    flat = states.detach().double().cpu().numpy().reshape(-1, states.shape[-1])
    return np.unique(flat, axis=0)
