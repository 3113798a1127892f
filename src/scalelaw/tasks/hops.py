"""k-hop composition: `ab ca bc 2 a` asks what `a` leads to in two steps, which is c.

A step is one symbol, so that following it is one lookup. A construction for k hops needs floor(log2 k) + 2
layers (Sanford et al. 2024, Transformers, parallel computation, and logarithmic depth).
"""

import string

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.tasks.task import Items, Rule, at_least, shuffled


class Hops(Rule):
    """All steps of one cycle through `nodes` letters, in random order, then how many to take, and from where.

    hops: the most, below nodes; training asks for 1 to `hops` alike, each has an exam of its own. On one
    cycle no shorter walk ends where k steps do; but whoever looks up a single step, forward and backward, can
    leave three letters out: chance is 1 / (nodes - 3), not 1 / nodes.
    """

    def __init__(self, *, hops: int, nodes: int, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("hops", 1, hops=hops)
        if not max(hops + 1, 4) <= nodes <= len(string.ascii_letters):
            raise BadInput(f"hops: nodes={nodes} has to be more than hops={hops}, at least 4 and at most 52")
        self.name = f"hops_{hops}"
        self.hops, self.nodes = hops, nodes
        letters = string.ascii_letters[:nodes]
        self.symbols = list(letters) + [f"{a}{b} " for a in letters for b in letters]
        self.counts = len(self.symbols)
        self.symbols += [f"{k} " for k in range(1, hops + 1)]

    @property
    def questions(self) -> int:
        factorial = int(np.prod(np.arange(1, self.nodes + 1, dtype=object)))
        return factorial * factorial * self.hops

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        walk = rng.permuted(np.tile(np.arange(self.nodes), (n, 1)), axis=1)
        steps = self.nodes * (1 + walk) + np.roll(walk, -1, axis=1)
        k = rng.integers(1, self.hops + 1, size=(n, 1))
        questions = np.concatenate((shuffled(rng, steps), self.counts + k - 1, walk[:, :1]), axis=1)
        return Items(questions, np.take_along_axis(walk, k, axis=1))

    def exams(self, rng: np.random.Generator, n: int) -> dict[str, Items]:
        every = self.testing(rng, 2 * n * self.hops)
        k = every.questions[:, -2] - self.counts + 1
        parts = {f"hops_{i}": k == i for i in range(1, self.hops + 1)}
        return {
            name: Items(every.questions[mine][:n], every.answers[mine][:n]) for name, mine in parts.items()
        }

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """The first letter left when a lookup each way has ruled others out; of no use for one step."""
        told, led = np.divmod(questions[:, :-2] - self.nodes, self.nodes)
        start = questions[:, -1:]
        after, before = np.empty((2, len(questions), self.nodes), dtype=np.int64)
        np.put_along_axis(after, told, led, axis=1)
        np.put_along_axis(before, led, told, axis=1)
        near = [np.take_along_axis(way, start, axis=1) for way in (after, before)]
        ruled_out = np.any([told == letter for letter in (start, *near)], axis=0)
        left = np.take_along_axis(told, ruled_out.argmin(axis=1)[:, None], axis=1)
        lookup = questions[:, -2:-1] == self.counts  # one step is the ability of a single lookup
        return {"not a neighbour": np.where(lookup, start, left)}
