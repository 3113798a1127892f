"""Tasks as text to train on: alone, one token a symbol, or mixed in shares into the bytes of a corpus.

An item is its question, the token `ANSWER`, its answer, the token `SEPARATOR`. A window begins with an item
and holds as many as fit; what room is left at its end is filled with separators.

m items a window, L tokens an item, w tokens a symbol at most.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from scalelaw.contracts import ANSWER, SEPARATOR, BadInput, Exam
from scalelaw.data.stream import TokenSource
from scalelaw.data.turns import TURNS, turn
from scalelaw.tasks.exam import exam
from scalelaw.tasks.planted import Planted
from scalelaw.tasks.task import Items, Task

NOTHING = -1  # room that a shorter symbol leaves in a table
BLOCK = 1024  # windows drawn at a time: numpy's cost of a call is that of some hundred items
FIRST = 2  # tokens before a task's own symbols: SEPARATOR and ANSWER
TESTS = 1 << 32  # where the seeds of held-out items begin: no run's seed is as large


class Writing:
    """How a task's symbols become tokens. table: (symbols, w) tokens, `NOTHING` after shorter ones."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    @classmethod
    def symbols(cls, task: Task) -> "Writing":
        return cls(np.arange(FIRST, FIRST + len(task.symbols))[:, None])

    @classmethod
    def bytes(cls, task: Task) -> "Writing":
        encoded = [np.frombuffer(symbol.encode(), dtype=np.uint8) for symbol in task.symbols]
        table = np.full((len(encoded), max(map(len, encoded))), NOTHING)
        for row, tokens in zip(table, encoded, strict=True):
            row[: len(tokens)] = tokens
        return cls(table)

    def part(self, symbols: np.ndarray) -> np.ndarray:
        """(n, symbols) to (n, symbols * w) tokens, with `NOTHING` among them."""
        return self.table[symbols].reshape(len(symbols), -1)

    def items(self, items: Items) -> np.ndarray:
        """(n, L) tokens, marker and separator included, with `NOTHING` among them."""
        n = len(items.questions)
        marks = [np.full((n, 1), mark) for mark in (ANSWER, SEPARATOR)]
        return np.hstack((self.part(items.questions), marks[0], self.part(items.answers), marks[1]))


def closed(tokens: np.ndarray) -> np.ndarray:
    """Rows without the room between their tokens: all of it comes last."""
    if (tokens != NOTHING).all():
        return tokens
    return np.take_along_axis(tokens, (tokens == NOTHING).argsort(axis=1, kind="stable"), axis=1)


class TaskSource:
    """One task alone; the `Source` of scalelaw.contracts, with an exam.

    items: held-out items to score. Raises BadInput where a window cannot hold an item.
    """

    def __init__(self, *, task: Task, items: int, writing: Writing | None = None) -> None:
        self.task, self.writing = task, writing or Writing.symbols(task)
        self.vocab_size = FIRST + len(task.symbols)
        self.token_bytes = np.array([0] * FIRST + [len(symbol.encode()) for symbol in task.symbols])
        tests = task.exams(np.random.default_rng(TESTS), items)
        written = np.concatenate([self.writing.items(each) for each in tests.values()])
        lengths = (written != NOTHING).sum(axis=1)
        self.longest = int(lengths.max())
        self.train_tokens = int(lengths.mean() * task.space)
        self.manifest = {"name": task.name, "source": "generated", "train_tokens": self.train_tokens}
        self.exams: Mapping[str, Exam] = {
            name: exam(task, each, self.writing.part) for name, each in tests.items()
        }
        self.block: tuple[tuple[int, int, int], np.ndarray] = ((-1, -1, -1), np.empty((0, 0)))

    def windows(self, position: int, rows: int, *, window: int, seed: int) -> Tensor:
        at = np.arange(position, position + rows)
        parts = [
            self._block(int(block), window, seed)[at[at // BLOCK == block] % BLOCK]
            for block in np.unique(at // BLOCK)
        ]
        return torch.from_numpy(np.concatenate(parts))

    def validation(self, rows: int, *, window: int) -> Tensor:
        return torch.from_numpy(self._packed(self._tests(rows, window), window))

    def bayes(self, rows: int, *, window: int) -> Tensor | None:
        """(rows, window + 1) nats of each token of `validation`, as whoever knows the language has it: -log p
        given all before it. None where that is not known."""
        if not isinstance(self.task, Planted):
            return None
        items = self._tests(rows, window)
        question, answer = self.task.log_probability(items)
        certain = np.zeros((len(answer), 1))
        nats = -np.hstack((question, certain, answer, certain)).reshape(rows, -1)[:, : window + 1]
        return torch.from_numpy(np.pad(nats, ((0, 0), (0, window + 1 - nats.shape[1]))))

    def _block(self, block: int, window: int, seed: int) -> np.ndarray:
        key = (block, window, seed)
        if self.block[0] != key:
            rng = np.random.default_rng([seed, block])
            drawn = self.task.training(rng, BLOCK * self._many(window))
            self.block = key, self._packed(drawn, window)
        return self.block[1]

    def _tests(self, rows: int, window: int) -> Items:
        """Held-out items for `rows` windows, over again where there are fewer."""
        wanted = rows * self._many(window)
        found = self.task.testing(np.random.default_rng(TESTS + 1), wanted)
        again = np.arange(wanted) % len(found.questions)
        return Items(*(part[again] for part in found))

    def _many(self, window: int) -> int:
        """Items a window; the last one's separator need not fit."""
        if window + 2 < self.longest:
            raise BadInput(
                f"window={window} cannot hold an item of {self.task.name}: it takes {self.longest - 2}"
            )
        return (window + 2) // self.longest

    def _packed(self, items: Items, window: int) -> np.ndarray:
        """(rows, window + 1) int64 from m items a row, in order."""
        tokens = self.writing.items(items)
        rows = closed(tokens.reshape(len(tokens) // self._many(window), -1))[:, : window + 1]
        rows = np.pad(rows, ((0, 0), (0, window + 1 - rows.shape[1])), constant_values=NOTHING)
        return np.where(rows == NOTHING, SEPARATOR, rows)


class Mixture:
    """A corpus in bytes with tasks mixed in, each a stated share of all windows.

    tasks, shares: by the same names; the corpus has the rest of the windows, which is none where the shares
    are 1 in all, as for a stage that learns the tasks alone. Of every thousand windows each has its share to
    the nearest one, in an order that the seed draws. The validation windows, and so the loss, are the
    corpus's own; the tasks have their exams. items: held-out items of each.
    Raises BadInput for shares of more than 1 in all, and for a corpus that is not in bytes.
    """

    def __init__(
        self, *, corpus: TokenSource, tasks: Mapping[str, Task], shares: Mapping[str, float], items: int
    ) -> None:
        if corpus.tokenizer.name != "bytes":
            raise BadInput("data.corpus.tokenizer: tasks are mixed into text in bytes, tokenizer=bytes")
        if set(tasks) != set(shares):
            raise BadInput(f"data.shares names {sorted(shares)}, data.tasks {sorted(tasks)}")
        self.counts = [round(TURNS * shares[name]) for name in tasks]
        if any(count < 1 for count in self.counts) or sum(self.counts) > TURNS:
            raise BadInput(f"data.shares={dict(shares)}: each at least {1 / TURNS}, at most 1 in all")
        self.corpus = corpus
        self.tasks = [TaskSource(task=t, items=items, writing=Writing.bytes(t)) for t in tasks.values()]
        self.vocab_size, self.token_bytes = corpus.vocab_size, corpus.token_bytes.copy()
        self.token_bytes[ANSWER] = 0
        self.train_tokens = corpus.train_tokens
        self.manifest = corpus.manifest | {"shares": dict(shares)}
        self.exams = {name: found for task in self.tasks for name, found in task.exams.items()}

    def windows(self, position: int, rows: int, *, window: int, seed: int) -> Tensor:
        parts = [*self.tasks, self.corpus]
        counts = [*self.counts, TURNS - sum(self.counts)]
        found = []
        for at in range(position, position + rows):
            mine, earlier = turn(counts, at, seed)
            found.append(parts[mine].windows(earlier, 1, window=window, seed=seed))
        return torch.cat(found)

    def validation(self, rows: int, *, window: int) -> Tensor:
        return self.corpus.validation(rows, window=window)
