"""Who may see whom: boolean masks, True where a query (row) may attend to a key (column).

B rows of a batch, T positions of a window. The two-token prefix of a four-token window:

    causal(4, 4)    within(prefix 2, 4 keys)    prefix(prefix 2, 4)
    1 0 0 0         1 1 0 0                     1 1 0 0
    1 1 0 0                                     1 1 0 0
    1 1 1 0                                     1 1 1 0
    1 1 1 1                                     1 1 1 1

Two documents of two tokens each, packed into the same window:

    documents(segments 0 0 1 1)
    1 0 0 0
    1 1 0 0
    0 0 1 0
    0 0 1 1
"""

import torch
from torch import Tensor


def causal(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(queries, keys): the last `queries` positions of `keys`; each sees itself and all before it."""
    every = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return every.tril(diagonal=keys - queries)


def within(prefix: Tensor, keys: int) -> Tensor:
    """(B, 1, 1, keys): the keys inside each row's prefix, seen by every query of every head."""
    return (torch.arange(keys, device=prefix.device) < prefix[:, None])[:, None, None, :]


def prefix(prefix: Tensor, keys: int) -> Tensor:
    """(B, 1, keys, keys): both directions inside each row's prefix, causal after it.

    A query after the prefix sees the prefix by causality already, so the prefix's keys are open to all.
    """
    return causal(keys, keys, prefix.device) | within(prefix, keys)


def documents(segments: Tensor) -> Tensor:
    """(B, 1, T, T): causal inside each document, from the (B, T) number of every token's document."""
    own = segments[:, :, None] == segments[:, None, :]
    return (own & causal(segments.shape[1], segments.shape[1], segments.device))[:, None]


def target(prefix: Tensor, first: int, keys: int) -> Tensor:
    """(B, 1, keys - first, keys - first): causal from the last token of each row's prefix on.

    For positions `first` to `keys` of a window. Positions before a row's target see themselves alone: what
    lies there is read elsewhere, and a softmax needs one key. With first 0 and prefix 3 of 4 keys:

    1 0 0 0
    0 1 0 0
    0 0 1 0
    0 0 1 1
    """
    position = torch.arange(first, keys, device=prefix.device)
    begun = (position >= prefix[:, None] - 1)[:, None, None, :]  # by key
    itself = position[:, None] == position
    return begun & causal(keys - first, keys - first, prefix.device) | itself


def own_prefix(begun: Tensor, prefix: Tensor, first: int, keys: int) -> Tensor:
    """(B, 1, keys - first, keys - first): a decoder that begins before its row's prefix ends.

    For positions `first` to `keys` of a window: from `begun` on, both directions up to the prefix's end and
    causal after it. Positions before `begun` see themselves alone, as in `target`. With first 0, begun 1 and
    prefix 3 of 4 keys:

    1 0 0 0
    0 1 1 0
    0 1 1 0
    0 1 1 1
    """
    position = torch.arange(first, keys, device=prefix.device)
    inside = position >= begun[:, None]  # (B, keys - first)
    open_to = (position <= position[:, None]) | (position < prefix[:, None])[:, None, :]
    itself = position[:, None] == position
    return ((inside[:, None, :] & inside[:, :, None] & open_to) | itself)[:, None]
