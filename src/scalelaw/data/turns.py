"""Whose turn it is in a stream that several share."""

from collections.abc import Sequence

import numpy as np

TURNS = 1000  # windows in which each has its share


def turn(counts: Sequence[int], position: int, seed: int) -> tuple[int, int]:
    """Who gives the window at `position`, and how many windows that one gave before.

    counts: windows of each in every `TURNS`, which they sum to, in an order that the seed draws.
    """
    number, place = divmod(position, TURNS)
    order = np.random.default_rng([seed, number]).permutation(np.repeat(np.arange(len(counts)), counts))
    mine = int(order[place])
    return mine, number * counts[mine] + int((order[:place] == mine).sum())
