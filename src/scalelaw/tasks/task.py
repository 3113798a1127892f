"""What an ability is: questions with answers, some to train on, others held out.

n items, Q symbols a question, A symbols an answer, both the same for all items of a task. Symbols are numbers
into `Task.symbols`, the pieces of text they stand for; scalelaw.tasks.source turns them into tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.data.split import scramble

UNBOUNDED = 1 << 53  # distinct questions, where there are more than a float can count
TRIES = 1000  # draws of a batch before a side is taken to be empty


class Items(NamedTuple):
    questions: np.ndarray
    """(n, Q) int64 symbols."""
    answers: np.ndarray
    """(n, A) int64 symbols."""


class Task(ABC):
    """An ability whose items are drawn; everything about them is decided by the arguments and the generator.

    name: how scores are called; it names the dial that decides how hard the ability is.
    symbols: the pieces of text, as they are written one after the other.
    space: distinct questions there are to train on.
    """

    name: str
    symbols: Sequence[str]
    space: int

    @abstractmethod
    def training(self, rng: np.random.Generator, n: int) -> Items:
        """n items to learn from."""

    @abstractmethod
    def testing(self, rng: np.random.Generator, n: int) -> Items:
        """Up to n items, each once, that training never asks in this form."""

    @abstractmethod
    def shortcuts(self, questions: np.ndarray) -> Mapping[str, np.ndarray]:
        """(n, A) answers of rules that do without the ability: chance is measured on the best of them."""

    def exams(self, rng: np.random.Generator, n: int) -> Mapping[str, Items]:
        """Held-out items by the name of their scores: several where parts have thresholds of their own."""
        return {self.name: self.testing(rng, n)}

    def memory(self) -> tuple[int, int] | None:
        """(facts, choices of each) where the items are facts to be held in memory, each answered by one
        symbol of equally likely ones; None where they follow from a rule."""
        return None


class Rule(Task):
    """An ability that is a rule: what is held out is a share of all questions, by a hash of the question.

    held_out: share of the questions never trained on, in (0, 1). seed: another seed holds others out.
    """

    def __init__(self, *, held_out: float, seed: int) -> None:
        if not 0 < held_out < 1:
            raise BadInput(f"held_out={held_out}: the share of questions held out lies between 0 and 1")
        self.held_out, self.seed = held_out, seed

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> Items:
        """n items of either side."""

    @property
    @abstractmethod
    def questions(self) -> int:
        """Distinct questions of both sides."""

    @property
    def space(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return max(1, min(self.questions - round(self.held_out * self.questions), UNBOUNDED))

    def training(self, rng: np.random.Generator, n: int) -> Items:
        return self._side(rng, n, held_out=False)

    def testing(self, rng: np.random.Generator, n: int) -> Items:
        items = self._side(rng, 2 * n, held_out=True)  # so that n are left where some come again
        first = np.sort(np.unique(items.questions, axis=0, return_index=True)[1])[:n]
        return Items(items.questions[first], items.answers[first])

    def is_held_out(self, questions: np.ndarray) -> np.ndarray:
        """(n,) bool."""
        return below(questions, self.held_out, self.seed)

    def _side(self, rng: np.random.Generator, n: int, *, held_out: bool) -> Items:
        share = self.held_out if held_out else 1 - self.held_out
        kept: list[Items] = []
        found = 0
        for _ in range(TRIES):
            items = self.draw(rng, int(1.2 * (n - found) / share) + 8)
            mine = self.is_held_out(items.questions) == held_out
            kept.append(Items(items.questions[mine], items.answers[mine]))
            found += int(mine.sum())
            if found >= n:
                return Items(*(np.concatenate(parts)[:n] for parts in zip(*kept, strict=True)))
        raise BadInput(f"{self.name}: held_out={self.held_out} leaves a side without questions")


def below(rows: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(n,) bool: whether the hash of each row of (n, Q) symbols falls below `share`."""
    mixed = np.full(len(rows), seed, dtype=np.uint64)
    for column in rows.T.astype(np.uint64):
        mixed = scramble(mixed ^ scramble(column))
    return mixed < np.uint64(min(int(share * 2**64), 2**64 - 1))


def at_least(task: str, least: int, **knobs: int) -> None:
    """Raises BadInput naming the task and the knob that is not a whole number of at least that."""
    for name, value in knobs.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise BadInput(f"{task}: {name} must be a whole number of at least {least}, not {value!r}")


def zipf(count: int, exponent: float) -> np.ndarray:
    """(count,) probabilities proportional to rank ** -exponent."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def several(rng: np.random.Generator, n: int, of: int, many: int) -> np.ndarray:
    """(n, many) int64: in each row `many` different numbers below `of`, in random order."""
    return rng.permuted(np.tile(np.arange(of), (n, 1)), axis=1)[:, :many]


def shuffled(rng: np.random.Generator, parts: np.ndarray) -> np.ndarray:
    """(n, parts, ...) with the parts of each row in random order."""
    order = rng.random(parts.shape[:2]).argsort(axis=1)
    return parts[np.arange(len(parts))[:, None], order]
