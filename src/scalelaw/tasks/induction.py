"""Associative recall, the work of an induction head: `c4 a7 c4 b1 a` asks what followed `a`.

Keys come again with the value they had, so that whoever learns every token of the text (objective causal_lm
or prefix_lm) is asked for recall many times an item.
Olsson et al. 2022; Arora et al. 2023 (Zoology).
"""

import string

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.tasks.task import Items, Rule, at_least, several


class Induction(Rule):
    """pairs: how many a text has, of `keys` letters, each with one of `values` that is drawn anew."""

    def __init__(self, *, pairs: int, keys: int, values: int, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("induction", 1, pairs=pairs, keys=keys)
        at_least("induction", 2, values=values)
        if keys > len(string.ascii_letters):
            raise BadInput(f"induction: keys={keys} is more than there are letters")
        self.name = f"induction_{pairs}"
        self.pairs, self.keys, self.values = pairs, keys, values
        self.symbols = list(string.ascii_letters[:keys]) + [f"{i} " for i in range(values)]

    @property
    def questions(self) -> int:
        return (self.keys * self.values) ** self.pairs  # at most: a key has one value

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        keys = rng.integers(self.keys, size=(n, self.pairs))
        value_of = self.keys + rng.integers(self.values, size=(n, self.keys))
        told = np.stack((keys, np.take_along_axis(value_of, keys, axis=1)), axis=2).reshape(n, -1)
        order = several(rng, n, self.keys, self.keys)  # the first that was told is asked for
        there = (order[:, :, None] == keys[:, None]).any(axis=2)
        asked = np.take_along_axis(order, there.argmax(axis=1)[:, None], axis=1)
        return Items(np.concatenate((told, asked), axis=1), np.take_along_axis(value_of, asked, axis=1))

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """A value that was told, whatever the key: the last, or the commonest."""
        values = questions[:, 1:-1:2]
        counts = (values[:, :, None] == values[:, None]).sum(axis=2)
        usual = np.take_along_axis(values, counts.argmax(axis=1)[:, None], axis=1)
        return {"last": values[:, -1:], "commonest": usual}
