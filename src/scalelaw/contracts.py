"""What a batch, a source, an objective and an architecture are: the seams of the training side.

Tensor dimensions: B rows, T positions of a window, V vocabulary, E model width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

IGNORE = -100  # the label torch's cross-entropy leaves out by default
SEPARATOR = 0  # the token that ends a document, whatever the tokenizer
TRAINING = 3  # forward passes that a forward and a backward pass cost
ANSWER = 1  # the token after which a task's answer begins; in bytes a control character that no text holds


class BadInput(ValueError):
    """A value the user gave cannot be used; the message names it. Doors print it as one line."""


@dataclass(frozen=True)
class Batch:
    """One batch in the form every architecture reads.

    `labels[b, t]` is what the model must say at position t, having read what row b may see from there:
    every token before `prefix[b]`, and every token up to and including t. An objective is free to choose
    tokens, labels and prefix; an architecture only decides how it wires that visibility.

    tokens: (B, T) int64.
    labels: (B, T) int64, `IGNORE` where nothing is asked.
    prefix: (B,) int64, how many leading tokens are visible to each other in both directions, 0 to T.
    start: the first position at which any row is asked to predict. Logits exist from here on.
    shortest, longest: the range of `prefix` as plain numbers, so that no model has to ask the device.
    segments: (B, T) int64, the number of each token's document in its row, never falling; tokens of another
        document are out of sight. None: the whole row is in sight.
    """

    tokens: Tensor
    labels: Tensor
    prefix: Tensor
    start: int
    shortest: int
    longest: int
    segments: Tensor | None = None

    @classmethod
    def of(cls, tokens: Tensor, labels: Tensor, prefix: Tensor, segments: Tensor | None = None) -> "Batch":
        """Build a batch from (B, T) tokens, (B, T) labels and (B,) prefix lengths, all on the CPU.

        Raises BadInput for a prefix outside 0..T, or labels that ask for nothing.
        """
        shortest, longest = int(prefix.min()), int(prefix.max())
        if shortest < 0 or longest > tokens.shape[1]:
            raise BadInput(
                f"prefix lengths {shortest}..{longest} do not fit a window of {tokens.shape[1]} tokens"
            )
        asked = (labels != IGNORE).any(dim=0).nonzero()
        if len(asked) == 0:
            raise BadInput("no label in the batch: there is nothing to learn from it")
        return cls(tokens, labels, prefix, int(asked[0]), shortest, longest, segments)

    def to(self, device: torch.device) -> "Batch":
        return replace(
            self,
            tokens=self.tokens.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            prefix=self.prefix.to(device, non_blocking=True),
            segments=None if self.segments is None else self.segments.to(device, non_blocking=True),
        )

    @cached_property
    def targets(self) -> int:
        """Tokens that are asked for."""
        return int((self.labels != IGNORE).sum())

    @property
    def asked(self) -> int:
        """What the loss of the batch is a sum over, and its mean taken over."""
        return self.targets

    @property
    def forwards(self) -> list[tuple[int, int, int, int, int]]:
        """The passes that a training step takes: rows, window, longest prefix, start, and how many; a
        backward pass counts as two."""
        rows, window = self.tokens.shape
        return [(rows, window, self.longest, self.start, TRAINING)]


class Source(Protocol):
    """Where tokens come from. Windows are (rows, T + 1) int64: T inputs and their successors."""

    vocab_size: int
    train_tokens: int
    """Unique training tokens: one epoch."""
    token_bytes: np.ndarray
    """(V,) bytes of text each token stands for, so that losses can be told in bits per byte."""
    manifest: dict
    """What the tokens are: name, sha256 of train and validation tokens, counts, licence."""

    def windows(self, position: int, rows: int, *, window: int, seed: int) -> Tensor:
        """Training windows `position` .. `position + rows` of the endless stream that `seed` orders.

        A pure function of its arguments: the position is all there is to checkpoint.
        """
        ...

    def validation(self, rows: int, *, window: int) -> Tensor:
        """The same `rows` validation windows each time, spread evenly over the validation tokens."""
        ...


@dataclass(frozen=True)
class Exam:
    """Held-out items of a task, to be scored on their answers alone.

    papers: by length, (n, Q + A) int64 questions, each ending in `ANSWER`, with their answers; and Q.
    chance: exact match of the best answer given without the ability, measured on these items.
    chance_nll, chance_brier: those of the answers' own token frequencies, a token.
    memory: (facts, choices) where the items are facts, each with equally likely values. None: a rule.
    """

    papers: tuple[tuple[Tensor, int], ...]
    chance: float
    chance_nll: float
    chance_brier: float
    memory: tuple[int, int] | None = None


@runtime_checkable
class Examined(Protocol):
    """A source that also holds exams, by the names of their tasks."""

    exams: Mapping[str, Exam]


@runtime_checkable
class Remembering(Protocol):
    """A source that also holds other text, by name, on which the model's loss is told."""

    others: Mapping[str, Source]
    older: str
    """Which of them is what was learnt before."""


@runtime_checkable
class Known(Protocol):
    """A source of a language whose process is known."""

    def bayes(self, rows: int, *, window: int) -> Tensor | None:
        """(rows, window + 1) nats of every token of `validation`, given those before it, by the process
        itself. None where it is not known after all."""
        ...


class Objective(Protocol):
    """Turns windows of text into a Batch: (B, T + 1) int64 tokens and a seeded generator."""

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch: ...

    def check(self, window: int) -> None:
        """Raises BadInput, naming the key, when the objective cannot be had in windows of T = `window`."""
        ...

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """The batches of `rows` rows to expect, as (longest prefix, start, probability).

        What prices a run before it starts."""
        ...


@runtime_checkable
class CutByText(Protocol):
    """An objective that may cut its batches where the text says, whatever `splits` expects."""

    @property
    def cut_by_text(self) -> bool: ...


@runtime_checkable
class Marked(Protocol):
    """An objective with marks: tokens of its own, such as a mask. Their ids follow the source's."""

    def marks(self, window: int) -> int:
        """How many, in windows of T = `window`."""
        ...

    def after(self, vocab_size: int, window: int) -> Objective:
        """The same objective with its marks at the ids from `vocab_size` on."""
        ...


@runtime_checkable
class Restoring(Protocol):
    """An objective that may ask at position t for token t itself, and never for what follows it."""

    restores: bool


@runtime_checkable
class Mixed(Protocol):
    """An objective that draws one of several for each batch."""

    parts: Mapping[str, Objective]

    def weights(self) -> Mapping[str, float]:
        """How often each part is drawn, adding up to 1."""
        ...


@runtime_checkable
class Referring(Protocol):
    """An objective with a loss of its own, which refers to the model that the run started from."""

    def against(
        self, start: "Architecture", source: Source, window: int
    ) -> "Callable[[Architecture, Batch], Tensor]":
        """The loss of a batch for a model, summed over `batch.asked`; the same for the same model and batch.

        start: a copy that stays as it is, of the model before its first step."""
        ...


class Architecture(Protocol):
    """A torch module with a known cost."""

    def __call__(self, batch: Batch) -> Tensor:
        """Logits (B, T - batch.start, V), aligned with `batch.labels[:, batch.start:]`."""
        ...

    def nll(self, batch: Batch) -> Tensor:
        """Summed cross-entropy of the labels asked, nats in float32."""
        ...

    def flops(self, *, window: int, prefix: int, start: int) -> int:
        """Matmul and attention FLOPs of one forward pass over one row; training costs three times that.

        prefix: the longest in the batch. Rows with shorter ones are padded to it, and cost the same.
        """
        ...

    def rate_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Every parameter once, by how scalelaw.optim scales its rate: "vector", "head", "read", "write"."""
        ...
