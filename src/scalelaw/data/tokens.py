"""Tokenizers: text to token ids and back, with the bytes of text each token stands for.

Token 0 separates documents and stands for no text, whatever the tokenizer: a separator that text cannot
spell is what makes bits per byte exact.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from scalelaw.contracts import SEPARATOR, BadInput

FILE = "tokenizer.json"
END = "\0"  # how the separator is spelt where a token has to be spelt: no text holds it


class Tokenizer(Protocol):
    """`train` or `load` comes first; the rest holds only after it."""

    name: str

    @property
    def vocab_size(self) -> int: ...

    @property
    def token_bytes(self) -> np.ndarray:
        """(V,) int64: the tokens of a text have exactly its UTF-8 bytes in all."""
        ...

    def identity(self) -> dict:
        """Everything that decides the tokens of a text, the training text apart."""
        ...

    def train(self, texts: Sequence[str]) -> None: ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]: ...

    def decode(self, ids: Sequence[int] | np.ndarray) -> str: ...

    def save(self, directory: Path) -> None: ...

    def load(self, directory: Path) -> None: ...

    def portable(self) -> dict:
        """The same tokens under the same numbers, in the JSON of the tokenizers library."""
        ...


class Bytes:
    """UTF-8 bytes as tokens: V = 256 and nothing to learn. Byte 0, which no text holds, is the separator."""

    name = "bytes"
    vocab_size = 256

    @property
    def token_bytes(self) -> np.ndarray:
        counts = np.ones(self.vocab_size, dtype=np.int64)
        counts[SEPARATOR] = 0
        return counts

    def identity(self) -> dict:
        return {"tokenizer": self.name}

    def train(self, texts: Sequence[str]) -> None:
        pass

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the tokens. A character cut in two by a window's edge becomes U+FFFD."""
        return bytes(int(i) for i in ids if i != SEPARATOR).decode(errors="replace")

    def save(self, directory: Path) -> None:
        pass

    def load(self, directory: Path) -> None:
        pass

    def portable(self) -> dict:
        vocab = {written: byte for byte, written in enumerate(_alphabet()) if byte != SEPARATOR}
        return _portable(_byte_level(Backend(models.BPE(vocab=vocab, merges=[]))), shift=0)


class Bpe:
    """Byte-level byte-pair encoding (Radford et al. 2019), learnt from the training documents alone.

    The backend's id i is token i + 1: 0 stays the separator, and no string in the text can spell it.
    Raises BadInput where the text is too small for `vocab_size` entries, or that is below 257.
    """

    name = "bpe"

    def __init__(self, *, vocab_size: int) -> None:
        # 256 bytes, without which some text could not be written, and the separator.
        if not isinstance(vocab_size, int) or vocab_size < 257:
            raise BadInput(f"data.tokenizer.vocab_size={vocab_size}: byte-level BPE needs at least 257")
        self.vocab_size = vocab_size
        self._backend: Backend | None = None

    @property
    def backend(self) -> Backend:
        if self._backend is None:
            raise RuntimeError("this tokenizer was neither trained nor loaded")
        return self._backend

    @property
    def token_bytes(self) -> np.ndarray:
        # The byte-level alphabet writes each byte as one character.
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for token, index in self.backend.get_vocab().items():
            counts[index + 1] = len(token)
        return counts

    def identity(self) -> dict:
        return {
            "tokenizer": self.name,
            "vocab_size": self.vocab_size,
            "tokenizers": version("tokenizers"),
        }

    def train(self, texts: Sequence[str]) -> None:
        backend = _byte_level(Backend(models.BPE()))
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size - 1,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        reached = backend.get_vocab_size() + 1
        if reached != self.vocab_size:
            raise BadInput(
                f"data.tokenizer.vocab_size={self.vocab_size}: the training text yields only {reached}"
            )
        self._backend = backend

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        encodings = self.backend.encode_batch_fast(texts)
        return [np.asarray(encoding.ids, dtype=np.int64) + 1 for encoding in encodings]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.backend.decode([int(i) - 1 for i in ids if i != SEPARATOR])

    def save(self, directory: Path) -> None:
        (directory / FILE).write_text(self.backend.to_str(), encoding="utf-8")

    def load(self, directory: Path) -> None:
        path = directory / FILE
        try:
            content = path.read_text(encoding="utf-8")
            json.loads(content)
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{path} is not a tokenizer ({error}): delete {directory} to build it again"
            ) from None
        self._backend = Backend.from_str(content)

    def portable(self) -> dict:
        return _portable(self.backend, shift=1)


def _byte_level(backend: Backend) -> Backend:
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return backend


def _alphabet() -> list[str]:
    """The character that byte-level BPE writes each byte as: itself where it can be seen (Radford 2019)."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(256 + unseen.index(byte)) for byte in range(256)]


def _portable(backend: Backend, *, shift: int) -> dict:
    """The backend with its numbers shifted, and the separator, spelt END, where they leave room for it."""
    content = json.loads(backend.to_str())
    vocab = {token: number + shift for token, number in content["model"]["vocab"].items()}
    content["model"]["vocab"] = {END: SEPARATOR} | vocab
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [{"id": SEPARATOR, "content": END, "special": True, **plain}]
    return content
