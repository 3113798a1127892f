"""Several objectives, one of them drawn for every batch: UniLM (Dong et al. 2019), UL2 (Tay et al. 2022).

A model whose mask follows the batch's prefix then switches its mode with the objective: causal in one batch,
both directions inside the prefix in the next. With `modes`, each batch says which of them it is by a token
before its text (UL2's mode tokens), which takes the place of one token of text:

    position   0  1  2  3  4  5  6  7
    token      m  a  b  c  d  e  f  g     prefix_lm of T = 7 with a prefix of 3, told by its mode m
    prefix     x  x  x  x
    label      .  .  .  d  e  f  g  h

The common measure (scalelaw.evaluate) shows no mode token, whatever the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scalelaw.contracts import IGNORE, BadInput, Batch, Marked, Objective


@dataclass(frozen=True)
class Moded:
    """`part` on one token less, after the token `mode`, which a prefix takes in."""

    part: Objective
    mode: int

    @property
    def restores(self) -> bool:
        return getattr(self.part, "restores", False)

    @property
    def cut_by_text(self) -> bool:
        return getattr(self.part, "cut_by_text", False)

    def check(self, window: int) -> None:
        self.part.check(window - 1)

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        return [(p + (p > 0), start + 1, share) for p, start, share in self.part.splits(window - 1, rows)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        inner = self.part(windows[:, :-1], generator)
        first = inner.tokens[:, :1]
        segments = inner.segments
        return Batch(
            torch.cat([torch.full_like(first, self.mode), inner.tokens], dim=1),
            torch.cat([torch.full_like(first, IGNORE), inner.labels], dim=1),
            inner.prefix + (inner.prefix > 0),
            inner.start + 1,
            inner.shortest + (inner.shortest > 0),
            inner.longest + (inner.longest > 0),
            None if segments is None else torch.cat([segments[:, :1], segments], dim=1),
        )


class Mixture:
    """parts: the objectives by name. shares: by the same names, how often each is drawn, up to a factor.

    modes: begin every batch with the token of its part. Parts of one kind have their other marks in common
    (UL2's denoisers share sentinels); those of different kinds have marks of their own.
    """

    def __init__(self, *, parts: Mapping[str, Objective], shares: Mapping[str, float], modes: bool) -> None:
        self.shares, self.modes = dict(shares), modes
        self.parts: dict[str, Objective] = dict(parts)
        if modes:
            self.parts = {name: Moded(part, number) for number, (name, part) in enumerate(parts.items())}

    def check(self, window: int) -> None:
        """Raises BadInput naming `objective.parts`, `objective.shares`, or what a part names."""
        if not self.parts:
            raise BadInput("objective.parts is empty: a mixture draws from at least one objective")
        if set(self.parts) != set(self.shares):
            named = f"{', '.join(self.shares)} and objective.parts {', '.join(self.parts)}"
            raise BadInput(f"objective.shares names {named}: each part has one share")
        for name, share in self.shares.items():
            if not 0 < share < float("inf"):
                raise BadInput(f"objective.shares.{name}={share}: a share is a positive number")
        for name, part in self.parts.items():
            try:
                part.check(window)
            except BadInput as error:
                raise BadInput(f"objective.parts.{name}: {error}") from None

    def weights(self) -> dict[str, float]:
        """The shares by part, in the parts' order, adding up to 1."""
        total = sum(self.shares.values())
        return {name: self.shares[name] / total for name in self.parts}

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        return [
            (prefix, start, weight * share)
            for name, weight in self.weights().items()
            for prefix, start, share in self.parts[name].splits(window, rows)
        ]

    def marks(self, window: int) -> int:
        return self.modes * len(self.parts) + sum(self._kinds(window).values())

    def after(self, vocab_size: int, window: int) -> "Mixture":
        first, begins = vocab_size + self.modes * len(self.parts), {}
        for kind, marks in self._kinds(window).items():
            begins[kind], first = first, first + marks
        bound = {}
        for name, part in self.parts.items():
            inner, room = self._inner(part, window)
            own = inner.after(begins[type(inner)], room) if isinstance(inner, Marked) else inner
            bound[name] = Moded(own, vocab_size + part.mode) if isinstance(part, Moded) else own
        return Mixture(parts=bound, shares=self.shares, modes=False)

    def _kinds(self, window: int) -> dict[type, int]:
        """How many marks the parts of each kind need, the most that one of them does."""
        kinds: dict[type, int] = {}
        for part in self.parts.values():
            inner, room = self._inner(part, window)
            if isinstance(inner, Marked):
                kinds[type(inner)] = max(kinds.get(type(inner), 0), inner.marks(room))
        return kinds

    @staticmethod
    def _inner(part: Objective, window: int) -> tuple[Objective, int]:
        return (part.part, window - 1) if isinstance(part, Moded) else (part, window)

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        weights = torch.tensor(list(self.weights().values()), dtype=torch.float64)
        drawn = int(torch.multinomial(weights, 1, generator=generator))
        return list(self.parts.values())[drawn](windows, generator)
