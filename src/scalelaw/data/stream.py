"""The source of training and validation windows over tokens on disk.

The stream is a pure function of (seed, position): no state to save, nothing to fast-forward.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from scalelaw.contracts import BadInput
from scalelaw.data.tokens import Tokenizer

PIECE = 1024  # tokens of a limited source that stay together: many windows, and of many documents


class TokenSource:
    """Windows over two arrays of tokens; the `Source` of scalelaw.contracts.

    train, validation: (tokens,) unsigned integers, usually memory-mapped.
    """

    def __init__(
        self, *, train: np.ndarray, validation: np.ndarray, tokenizer: Tokenizer, manifest: dict
    ) -> None:
        self._train = train
        self._validation = validation
        self.tokenizer = tokenizer
        self.manifest = manifest
        self.vocab_size: int = tokenizer.vocab_size
        self.token_bytes: np.ndarray = tokenizer.token_bytes

    def limited(self, tokens: int) -> "TokenSource":
        """The source with so many of its training tokens, in pieces spread evenly over all of them.

        Raises BadInput where there are not so many, or not a piece is asked for.
        """
        if not isinstance(tokens, int) or not PIECE <= tokens <= self.train_tokens:
            raise BadInput(f"data.train_tokens={tokens}: takes {PIECE} to {self.train_tokens} tokens")
        count = tokens // PIECE
        starts = np.arange(count) * ((self.train_tokens - PIECE) / max(1, count - 1))
        pieces = [self._train[start : start + PIECE] for start in starts.astype(int)]
        return TokenSource(
            train=np.concatenate(pieces),
            validation=self._validation,
            tokenizer=self.tokenizer,
            manifest=self.manifest | {"train_tokens_used": count * PIECE},
        )

    @property
    def train_tokens(self) -> int:
        """Unique training tokens: one epoch, but for the fewer than `window` that fill no window."""
        return len(self._train)

    def windows(self, position: int, rows: int, *, window: int, seed: int) -> Tensor:
        """(rows, window + 1) int64: windows `position` .. `position + rows` of the stream `seed` orders.

        An epoch is a shuffle of windows that share no input token. The corpus counts as a ring cut at a place
        drawn anew each epoch, so that boundaries move and every epoch has the same number of windows.
        Raises BadInput where the training tokens are fewer than one window.
        """
        count = self.epoch_windows(window)
        epochs, ranks = np.divmod(np.arange(position, position + rows), count)
        starts = np.empty(rows, dtype=np.int64)
        for epoch in np.unique(epochs):
            cut, order = shuffle(count, self.train_tokens, seed, int(epoch))
            here = epochs == epoch
            starts[here] = cut + order[ranks[here]] * window
        return gather(self._train, starts, window)

    def epoch_windows(self, window: int) -> int:
        """Windows in one epoch. Raises BadInput for none."""
        return fitting(self.train_tokens, window, f"corpus {self.manifest['name']}: training text")

    def validation(self, rows: int, *, window: int) -> Tensor:
        """(rows, window + 1) int64, disjoint in their inputs and evenly spread; all there are, if fewer.

        Raises BadInput where the validation tokens are fewer than one window.
        """
        count = fitting(len(self._validation), window, f"corpus {self.manifest['name']}: validation text")
        rows = min(rows, count)
        return gather(self._validation, np.arange(rows) * count // rows * window, window)


def fitting(tokens: int, window: int, what: str) -> int:
    """How many windows of `window` inputs, each with a successor, lie end to end in `tokens`."""
    if tokens < window + 1:
        raise BadInput(f"{what} has {tokens} tokens, fewer than the {window + 1} of one window")
    return (tokens - 1) // window


@lru_cache(maxsize=16)  # a few runs side by side, and a batch may span the end of an epoch and the next
def shuffle(count: int, tokens: int, seed: int, epoch: int) -> tuple[int, np.ndarray]:
    """Where the ring of tokens is cut in this epoch, and the (count,) order of its windows."""
    rng = np.random.default_rng([seed, epoch])
    cut = int(rng.integers(tokens))
    order = rng.permutation(count)
    order.setflags(write=False)
    return cut, order


def gather(tokens: np.ndarray, starts: np.ndarray, window: int) -> Tensor:
    """(len(starts), window + 1) int64, going round the end of the array to its beginning."""
    indices = (starts[:, None] + np.arange(window + 1)) % len(tokens)
    return torch.from_numpy(tokens[indices].astype(np.int64))
