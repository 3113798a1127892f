"""Fact recall: `s1.7 r3 -> v9`. Facts are drawn once and have to be remembered; nothing else says them.

Every fact is told subject first; and asked relation first, but for a held-out share of the facts, which are
tested in that form. What is stored is then told apart from what was only seen said (Allen-Zhu and Li 2023,
Physics of Language Models 3.1: the asked form is learnt from other facts). A subject is spelt in two digits,
so that what is stored of it cannot lie in an embedding of its own, which N does not count.
"""

from math import isqrt

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.tasks.task import Items, Task, at_least, below, zipf


class FactRecall(Task):
    """subjects x relations facts, each one of `values`, equally likely: log2(values) bits a fact.

    exponent: subjects are told with frequencies rank ** -exponent; 0 tells all alike. Tests ask all alike.
    held_out: share of the facts that are never trained on in the form tested. seed: decides the facts.
    """

    def __init__(
        self, *, subjects: int, relations: int, values: int, exponent: float, held_out: float, seed: int
    ) -> None:
        at_least("fact_recall", 1, subjects=subjects, relations=relations)
        at_least("fact_recall", 2, values=values)
        if not 0 < held_out < 1:
            raise BadInput(f"fact_recall: held_out={held_out} lies between 0 and 1")
        self.name = f"fact_recall_{subjects * relations}"
        self.base = isqrt(subjects - 1) + 1
        digits = range(self.base)
        self.symbols = [f"s{i}." for i in digits] + [f"{i} " for i in digits]
        self.symbols += [f"r{i} " for i in range(relations)] + [f"v{i}" for i in range(values)]
        self.subjects, self.relations, self.values = subjects, relations, values
        self.table = np.random.default_rng([seed, 1]).integers(values, size=(subjects, relations))
        self.frequency = zipf(subjects, exponent)
        every = np.indices((subjects, relations)).reshape(2, -1).T
        self.kept = below(every, held_out, seed).reshape(subjects, relations)
        if not self.kept.any():
            raise BadInput(f"fact_recall: held_out={held_out} of {len(every)} facts leaves none to test")
        self.space = 2 * self.table.size - int(self.kept.sum())

    def training(self, rng: np.random.Generator, n: int) -> Items:
        subject = rng.choice(self.subjects, n, p=self.frequency)
        relation = rng.integers(self.relations, size=n)
        asked = (rng.random(n) < 0.5) & ~self.kept[subject, relation]
        return self._items(subject, relation, asked)

    spelt = 2
    """Digits of a subject, which come first where a fact is told."""

    def told(self) -> Items:
        """All facts as they are told, subject by subject."""
        subject, relation = np.indices(self.table.shape).reshape(2, -1)
        return self._items(subject, relation, np.zeros(self.table.size, dtype=bool))

    def testing(self, rng: np.random.Generator, n: int) -> Items:
        subject, relation = np.nonzero(self.kept)
        chosen = rng.permutation(len(subject))[:n]
        return self._items(subject[chosen], relation[chosen], np.ones(len(chosen), dtype=bool))

    def _items(self, subject: np.ndarray, relation: np.ndarray, asked: np.ndarray) -> Items:
        high, low = subject // self.base, self.base + subject % self.base
        asks = 2 * self.base + relation
        told = np.stack((high, low, asks), axis=1)
        questions = np.where(asked[:, None], np.roll(told, 1, axis=1), told)
        return Items(questions, self._say(self.table[subject, relation]))

    def _say(self, value: np.ndarray) -> np.ndarray:
        return 2 * self.base + self.relations + value[:, None]

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """The relation's commonest value."""
        relation = questions.max(axis=1) - 2 * self.base
        usual = np.array([np.bincount(column).argmax() for column in self.table.T])
        return {"usual value": self._say(usual[relation])}

    def memory(self) -> tuple[int, int]:
        return self.table.size, self.values
