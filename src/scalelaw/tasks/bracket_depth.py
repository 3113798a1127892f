"""Bracket depth: how many brackets of `(()(()` are still open? Counting, the simplest part of syntax."""

from math import comb

import numpy as np

from scalelaw.tasks.task import Items, Rule, at_least


class BracketDepth(Rule):
    """length: brackets of a text; none closes what was not opened."""

    def __init__(self, *, length: int, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("bracket_depth", 2, length=length)
        self.name = f"bracket_depth_{length}"
        self.length = length
        self.symbols = ["(", ")"] + [f" {i}" for i in range(length + 1)]

    @property
    def questions(self) -> int:
        return comb(self.length, self.length // 2)  # ballot sequences

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        depth = np.zeros(n, dtype=np.int64)
        closes = np.empty((n, self.length), dtype=np.int64)
        for i, drawn in enumerate(rng.integers(2, size=(self.length, n))):
            closes[:, i] = np.where(depth == 0, 0, drawn)
            depth += 1 - 2 * closes[:, i]
        return Items(closes, 2 + depth[:, None])

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """Count the second half only."""
        late = (1 - 2 * questions[:, self.length // 2 :]).sum(axis=1)
        return {"second half": 2 + np.maximum(late, self.length % 2)[:, None]}
