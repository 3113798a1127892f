"""Documents to training and validation text without leakage.

Whole groups of documents go to one side by the hash of their name, so that neither order nor later additions
move a document; then training paragraphs that repeat validation text are purged.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from scalelaw.contracts import BadInput

GRAM = 13  # words; the length at which GPT-3 (Brown et al. 2020, appendix C) calls an overlap contamination
# A third of a paragraph's 13-grams: boilerplate goes, a paragraph that only quotes a sentence stays.
SHARED = 1 / 3
BLANK_LINE = re.compile(r"\n\s*\n")
# Scripts that put no spaces between words count by character.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")


@dataclass(frozen=True)
class Document:
    """A text, and the name of what it must not be separated from: its own content unless told otherwise."""

    text: str
    group: str | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Split:
    """Texts of either side, in the order of the documents' content hashes, and what was done to get there.

    leakage: the share of the validation text's 13-grams that the training text still holds.
    """

    train: list[str]
    validation: list[str]
    train_groups: frozenset[str]
    validation_groups: frozenset[str]
    documents: int
    purged_paragraphs: int
    leakage: float


def clean(text: str) -> str:
    """One kind of line end, no NUL (it separates documents), no lone surrogate, no blank margins."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return text.encode(errors="replace").decode().strip()


def position(group: str, *, source: str, salt: str) -> float:
    """Where sha256(salt + source + group) puts the group in [0, 1)."""
    digest = hashlib.sha256(f"{salt}\0{source}\0{group}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def split(documents: Iterable[Document], *, source: str, salt: str, share: float) -> Split:
    """Clean, drop duplicates, divide by group and purge. The order of `documents` changes nothing.

    share: expected share of groups in validation, in (0, 1); one group goes there at least, and one stays.
    Raises BadInput for an empty corpus or one with a single group.
    """
    unique = distinct(documents)
    groups = {document.group or digest for digest, document in unique.items()}
    held_out = hold_out(groups, source=source, salt=salt, share=share)
    train, validation = [], []
    for digest, document in unique.items():
        side = validation if (document.group or digest) in held_out else train
        side.append(document.text)
    kept, purged, leakage = purge(train, validation)
    if not kept:
        raise BadInput(f"corpus {source}: all training text repeats validation text")
    return Split(
        train=kept,
        validation=validation,
        train_groups=frozenset(groups - held_out),
        validation_groups=frozenset(held_out),
        documents=len(unique),
        purged_paragraphs=purged,
        leakage=leakage,
    )


def distinct(documents: Iterable[Document]) -> dict[str, Document]:
    """Cleaned documents with any text, each once, in the order of their digests, which are the keys.

    The same text in two groups belongs to the one that sorts first.
    """
    cleaned = (Document(clean(document.text), document.group) for document in documents)
    keyed = [(document.digest, document.group or "", document) for document in cleaned if document.text]
    unique: dict[str, Document] = {}
    for digest, _, document in sorted(keyed, key=lambda entry: entry[:2]):
        unique.setdefault(digest, document)
    return unique


def hold_out(groups: Iterable[str], *, source: str, salt: str, share: float) -> set[str]:
    """The groups whose position is below `share`; the first of all if none is, and never the last of all."""
    if not isinstance(share, float) or not 0 < share < 1:
        raise BadInput(f"data.validation={share}: the share of groups held out lies between 0 and 1")
    places = {group: position(group, source=source, salt=salt) for group in groups}
    ranked = sorted(places, key=places.__getitem__)
    if not ranked:
        raise BadInput(f"corpus {source} holds no text")
    if len(ranked) == 1:
        raise BadInput(f"corpus {source} holds a single document or group: a validation split needs 2")
    return {group for group in ranked[:-1] if places[group] < share} or {ranked[0]}


def purge(train: Sequence[str], validation: Sequence[str]) -> tuple[list[str], int, float]:
    """Drop training paragraphs that repeat each other or share a third of their 13-grams with validation.

    Paragraphs too short to hold a 13-gram stay. Returns the texts left, the number of paragraphs dropped and
    the share of validation 13-grams still found in them.
    """
    vocabulary: dict[str, int] = {}
    held_out, _ = grams([p for text in validation for p in BLANK_LINE.split(text)], vocabulary)
    paragraphs = [BLANK_LINE.split(text) for text in train]
    flat = list(chain.from_iterable(paragraphs))
    hashes, owners = grams(flat, vocabulary)
    shared = np.isin(hashes, held_out)
    counts = np.bincount(owners, minlength=len(flat))
    drop = np.bincount(owners, weights=shared, minlength=len(flat)) >= SHARED * np.maximum(counts, 1)
    drop |= repeated(flat, counts > 0)
    kept, at = [], 0
    for document in paragraphs:
        gone = drop[at : at + len(document)]
        at += len(document)
        if not gone.any():
            kept.append("\n\n".join(document))
        elif not gone.all():
            kept.append("\n\n".join(p for p, dropped in zip(document, gone, strict=True) if not dropped))
    leaked = np.isin(held_out, hashes[~drop[owners]])
    return kept, int(drop.sum()), float(leaked.mean()) if len(leaked) else 0.0


def repeated(paragraphs: Sequence[str], long_enough: np.ndarray) -> np.ndarray:
    """(paragraphs,) bool: whether an earlier paragraph says exactly the same, asked of the long ones only."""
    seen: set[str] = set()
    again = np.zeros(len(paragraphs), dtype=bool)
    for i in map(int, np.flatnonzero(long_enough)):
        again[i] = paragraphs[i] in seen
        seen.add(paragraphs[i])
    return again


def grams(paragraphs: Sequence[str], vocabulary: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Every run of 13 words inside a paragraph, as a 64-bit hash, and the index of its paragraph.

    vocabulary: numbers words, and grows; hashes are comparable between calls that share it. Two different
    runs out of 10 million collide somewhere with probability 3e-6.
    """
    words = [WORD.findall(paragraph.lower()) for paragraph in paragraphs]
    lengths = np.array([len(w) for w in words], dtype=np.int64)
    ids = np.fromiter(
        (vocabulary.setdefault(word, len(vocabulary)) for word in chain.from_iterable(words)),
        dtype=np.uint64,
        count=int(lengths.sum()),
    )
    runs = len(ids) - GRAM + 1
    if runs < 1:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    mixed = scramble(ids)
    hashes = np.zeros(runs, dtype=np.uint64)
    for offset in range(GRAM):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + mixed[offset : offset + runs]
    owners = np.repeat(np.arange(len(paragraphs)), lengths)
    inside = owners[:runs] == owners[GRAM - 1 :]
    return hashes[inside], owners[:runs][inside]


def scramble(ids: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014): spreads small integers over 64 bits."""
    x = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
