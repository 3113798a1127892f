"""Induction: does a model go on as it did the last time a token came up? Olsson et al. 2022.

Told three ways: by what context is worth in text, by how a sequence without any order is said the second
time, and by heads that look at what followed last time. B rows, T positions, H heads, D head_dim.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalelaw import masks
from scalelaw.contracts import BadInput, Batch
from scalelaw.measures.measure import SEED, Figures, Measure, Subject, counts
from scalelaw.models.layers import CrossAttention, SelfAttention, rotate, rotation

FEWEST = 4  # different tokens, below which a sequence of them is hardly a sequence


class Induction(Measure):
    """rows: validation windows, and repeated sequences. early, late: places in a window, as shares of it,
    from and to."""

    def __init__(self, *, along: bool, rows: int, early: Sequence[float], late: Sequence[float]) -> None:
        super().__init__(along=along)
        counts("induction", rows=rows)
        if not 0 <= early[0] < early[1] <= late[0] < late[1] <= 1:
            raise BadInput(f"induction.early={early} has to lie before late={late}, both within 0 to 1")
        self.rows, self.early, self.late = rows, early, late

    def check(self, subject: Subject) -> None:
        if any(isinstance(module, CrossAttention) for module in subject.model.modules()):
            raise BadInput("is about decoders: an encoder-decoder does not read a sequence in one stack")

    def __call__(self, subject: Subject) -> Figures:
        """late_less_early: NLL in nats of the text's late tokens less that of its early ones (the paper's
        in-context learning score, negative where context helps). copying: NLL of a random sequence's first
        copy less its second's, nats a token. prefix_matching: of the head that does so most, the attention
        from a token of the second copy to what followed it in the first. The last two are None where the
        text has too few different tokens."""
        windows = subject.windows(self.rows)
        nll = each_nll(subject.model, causal(windows).to(subject.device))
        early, late = (nll[:, part(nll.shape[1], place)].mean() for place in (self.early, self.late))
        found: dict[str, float | None] = {"late_less_early": float(late - early)}
        found |= {"copying": None, "prefix_matching": None}
        if (twice := repeated(windows, subject.window, self.rows)) is None:
            return found
        batch, length = causal(twice).to(subject.device), twice.shape[1] // 2
        nll = each_nll(subject.model, batch)
        # The first token of the second copy cannot be known: only the copy says that it has begun.
        found["copying"] = float(nll[:, : length - 1].mean() - nll[:, length:].mean())
        heads = [prefix_matching(weights, length) for weights in attention(subject.model, batch)]
        found["prefix_matching"] = max(heads) if heads else None
        return found


def causal(windows: Tensor) -> Batch:
    """Every token of (B, T + 1) windows asked, given all before it."""
    return Batch.of(windows[:, :-1], windows[:, 1:], torch.zeros(len(windows), dtype=torch.int64))


def each_nll(model: Any, batch: Batch) -> Tensor:
    """(B, T) nats of every label."""
    with torch.no_grad():
        # Flat: over two dimensions of labels it has no deterministic kernel on GPUs.
        nll = F.cross_entropy(model(batch).flatten(0, 1), batch.labels.flatten(), reduction="none")
    return nll.view(batch.labels.shape)


def part(length: int, place: Sequence[float]) -> slice:
    """At least one position."""
    first = min(int(place[0] * length), length - 1)
    return slice(first, max(first + 1, round(place[1] * length)))


def repeated(windows: Tensor, window: int, rows: int) -> Tensor | None:
    """(rows, 2 L) tokens: L different ones of the text in random order, and the same again. L is half the
    window, or as many as the text has; None where those are too few."""
    known = np.unique(windows.numpy())
    length = min(window // 2, len(known))
    if length < FEWEST:
        return None
    once = np.random.default_rng(SEED).permuted(np.tile(known, (rows, 1)), axis=1)[:, :length]
    return torch.from_numpy(np.tile(once, 2))


def attention(model: Any, batch: Batch) -> list[Tensor]:
    """(B, H, T, T) of every self-attention in the order of the blocks, under a causal mask: how much of each
    key a query reads. Taken from the queries and keys of a forward pass, which does not keep it."""
    found: list[Tensor] = []
    turn = rotation(batch.tokens.shape[1], model.shape.head_dim, batch.tokens.device)
    with ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            if isinstance(module, SelfAttention):

                def keep(_qkv: Any, _inputs: Any, output: Tensor, own: SelfAttention = module) -> None:
                    found.append(_weights(output, own, turn))

                hooks.callback(module.qkv.register_forward_hook(keep).remove)
        model.hidden(batch)
    return found


def _weights(qkv: Tensor, own: SelfAttention, turn: Tensor) -> Tensor:
    heads = qkv.unflatten(-1, (-1, own.head_dim)).transpose(1, 2)  # (B, 3H, T, D)
    q, k = rotate(heads[:, : 2 * own.heads], turn).chunk(2, dim=1)
    score = q @ k.mT * own.head_dim**-0.5
    seen = masks.causal(score.shape[-1], score.shape[-1], score.device)
    return score.masked_fill(~seen, -torch.inf).softmax(dim=-1)


def prefix_matching(weights: Tensor, length: int) -> float:
    """Of (B, H, T, T) attention on a sequence of so many different tokens and its repetition: the mean
    weight, of the best head, from each token of the repetition on the one that followed it before."""
    query = torch.arange(length, weights.shape[-1], device=weights.device)
    return float(weights[:, :, query, query - length + 1].mean(dim=(0, 2)).max())
