"""Multitask sparse parity: `t3 aBCd...` asks for the parity of the few bits that task 3 looks at.

A bit is a letter, capital for 1, a letter of its own for each place: which bit it is needs no position.

Tasks come with frequencies rank ** -(alpha + 1): each is learnt with a jump of its own, and their sum is a
power law (Michaud et al. 2023, The quantization model of neural scaling).
"""

import string

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.tasks.task import Items, Rule, at_least, several, zipf


class SparseParity(Rule):
    """tasks, each looking at `subset` of `bits` bits. alpha: how fast their frequencies fall."""

    def __init__(
        self, *, tasks: int, bits: int, subset: int, alpha: float, held_out: float, seed: int
    ) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("sparse_parity", 1, tasks=tasks, bits=bits, subset=subset)
        if not subset <= bits <= len(string.ascii_lowercase):
            raise BadInput(f"sparse_parity: bits={bits} has to lie between subset={subset} and 26")
        self.name = f"sparse_parity_{subset}of{bits}"
        self.tasks, self.bits = tasks, bits
        self.frequency = zipf(tasks, alpha + 1)
        self.subsets = several(np.random.default_rng([seed, 2]), tasks, bits, subset)
        letters = string.ascii_lowercase[:bits]
        self.symbols = [*letters, *letters.upper(), "0", "1"] + [f"t{i} " for i in range(tasks)]

    @property
    def questions(self) -> int:
        return self.tasks * 2**self.bits

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        return self._of(rng, rng.choice(self.tasks, size=n, p=self.frequency))

    def _of(self, rng: np.random.Generator, task: np.ndarray) -> Items:
        bits = rng.integers(2, size=(len(task), self.bits))
        seen = np.take_along_axis(bits, self.subsets[task], axis=1)
        told = np.arange(self.bits) + self.bits * bits
        questions = np.column_stack((2 * self.bits + 2 + task, told))
        return Items(questions, self._say(seen.sum(axis=1, keepdims=True) % 2))

    def _say(self, bit: np.ndarray) -> np.ndarray:
        return 2 * self.bits + bit

    def exams(self, rng: np.random.Generator, n: int) -> dict[str, Items]:
        """One a task, from the commonest on."""
        found = {}
        for task in range(self.tasks):
            every = self._of(rng, np.full(int(2 * n / self.held_out), task))
            mine = np.flatnonzero(self.is_held_out(every.questions))
            mine = mine[np.unique(every.questions[mine], axis=0, return_index=True)[1]][:n]
            found[f"{self.name}_{task}"] = Items(every.questions[mine], every.answers[mine])
        return found

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """One bit of those that count."""
        first = self.subsets[questions[:, 0] - 2 * self.bits - 2, :1]
        return {"one bit": self._say(np.take_along_axis(questions[:, 1:], first, axis=1) // self.bits)}
