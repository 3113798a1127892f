"""Associative recall: `c4 a7 b1 a` asks which value `a` came with.

Key and value are one symbol, so that one layer can do it, given a size that grows with the pairs; the two
steps of an induction head are asked for by scalelaw.tasks.induction. Arora et al. 2023 (Zoology).
"""

import string

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.tasks.task import Items, Rule, at_least, several


class Recall(Rule):
    """pairs: how many a text has, of different keys among `keys` letters, each with one of `values`."""

    def __init__(self, *, pairs: int, keys: int, values: int, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("recall", 1, pairs=pairs)
        at_least("recall", 2, values=values)
        if not pairs <= keys <= len(string.ascii_letters):
            raise BadInput(f"recall: keys={keys} has to lie between pairs={pairs} and 52")
        self.name = f"recall_{pairs}"
        self.pairs, self.keys, self.values = pairs, keys, values
        letters = string.ascii_letters[:keys]
        self.symbols = [*letters, *map(str, range(values))]
        self.symbols += [f"{letter}{value} " for letter in letters for value in range(values)]

    @property
    def questions(self) -> int:
        ordered = np.prod(np.arange(self.keys - self.pairs + 1, self.keys + 1, dtype=object))
        return int(ordered) * self.values**self.pairs * self.pairs

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        keys = several(rng, n, self.keys, self.pairs)
        values = rng.integers(self.values, size=keys.shape)
        told = self.keys + self.values + keys * self.values + values
        asked = rng.integers(self.pairs, size=(n, 1))
        key, value = (np.take_along_axis(of, asked, axis=1) for of in (keys, values))
        return Items(np.concatenate((told, key), axis=1), self.keys + value)

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """A value that was told, whatever its key: the last, or the commonest."""
        values = self.keys + (questions[:, :-1] - self.keys - self.values) % self.values
        counts = (values[:, :, None] == values[:, None]).sum(axis=2)
        usual = np.take_along_axis(values, counts.argmax(axis=1)[:, None], axis=1)
        return {"last": values[:, -1:], "commonest": usual}
