"""The user's text: a .txt, .jsonl or .parquet file, a folder of them, or the name of a dataset on the hub."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scalelaw.contracts import BadInput
from scalelaw.data.split import BLANK_LINE, Document

# A single file is divided into sections that are split by hash. Long sections leave few seams across which
# a sentence could be told from its neighbour; but a small file must still give enough of them to choose from.
SECTION = 32 * 1024  # characters
SECTIONS = 40  # at least, so that one is about half of a 5 % share
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
EXTRA = "pip install 'scalelaw[text]'"


@dataclass(frozen=True)
class Corpus:
    """Documents to be read when asked, and what decides them."""

    documents: Callable[[], Iterable[Document]]
    identity: dict


def open_text(path: str | None, *, column: str, group: str | None, subset: str | None) -> Corpus:
    """Find what `path` names, without reading it.

    - a .txt file: sections of whole paragraphs, each a document
    - a .jsonl or .parquet file: each row a document, its text in `column`
    - a folder: every such file below it, a .txt being one document
    - otherwise a dataset of the hub, its `train` split and the configuration `subset`

    Raises BadInput naming the path where there is nothing of the kind.
    """
    if not path:
        raise BadInput("data.path is missing: give a .txt, .jsonl or .parquet file, a folder or a hub name")
    place = Path(path).expanduser()
    fields = Fields(column, group)
    if place.exists():
        files = text_files(place)
        return Corpus(
            lambda: (d for f in files for d in read(f, fields, alone=not place.is_dir())),
            {
                "path": place.name,
                "column": column,
                "group": group,
                "files": [[str(f.absolute()), f.stat().st_size, f.stat().st_mtime_ns] for f in files],
            },
        )
    if place.suffix in READERS or not HUB_NAME.fullmatch(path):
        raise BadInput(f"data.path={path}: no such file or folder")
    return Corpus(
        lambda: read_hub(path, fields, subset),
        {"path": path, "column": column, "group": group, "subset": subset},
    )


def text_files(place: Path) -> list[Path]:
    if place.is_dir():
        files = sorted(f for f in place.rglob("*") if f.suffix in READERS and f.is_file())
        if not files:
            raise BadInput(f"data.path={place}: no {', '.join(READERS)} file in this folder")
        return files
    if place.suffix not in READERS:
        raise BadInput(f"data.path={place}: {place.suffix or 'no extension'} is none of {', '.join(READERS)}")
    return [place]


@dataclass(frozen=True)
class Fields:
    """The columns of a row that make a document."""

    column: str
    group: str | None

    def document(self, row: object, where: str) -> Document:
        """Raises BadInput naming the place where a column is missing or holds no text."""
        if not isinstance(row, dict):
            raise BadInput(f"{where}: not an object with a column {self.column!r}")
        for name in (self.column, self.group):
            if name is not None and name not in row:
                raise BadInput(f"{where}: no column {name!r}, only {', '.join(sorted(map(str, row)))}")
        text = row[self.column]
        if not isinstance(text, str):
            raise BadInput(f"{where}: column {self.column!r} holds {type(text).__name__}, not text")
        return Document(text, None if self.group is None else str(row[self.group]))


def read(file: Path, fields: Fields, *, alone: bool) -> Iterator[Document]:
    yield from READERS[file.suffix](file, fields, alone)


def read_txt(file: Path, fields: Fields, alone: bool) -> Iterator[Document]:
    text = decoded(file)
    if not alone:
        yield Document(text)
    else:
        for section in sections(text):
            yield Document(section)


def sections(text: str) -> Iterator[str]:
    """Consecutive paragraphs (lines, where there are no paragraphs) gathered to the length of a section."""
    divider = "\n\n" if len(blocks := BLANK_LINE.split(text.strip())) > 1 else "\n"
    blocks = blocks if len(blocks) > 1 else text.strip().split("\n")
    length, section = min(SECTION, len(text) // SECTIONS), []
    for block in blocks:
        section.append(block)
        if sum(map(len, section)) >= length:
            yield divider.join(section)
            section = []
    if section:
        yield divider.join(section)


def read_jsonl(file: Path, fields: Fields, alone: bool) -> Iterator[Document]:
    for number, line in enumerate(decoded(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{file}, line {number}: not JSON ({error})") from None
        yield fields.document(row, f"{file}, line {number}")


def read_parquet(file: Path, fields: Fields, alone: bool) -> Iterator[Document]:
    datasets = hub_library(str(file))
    try:
        rows = datasets.Dataset.from_parquet(str(file), keep_in_memory=True)
    except Exception as error:
        raise BadInput(f"{file} is not a parquet file ({first_line(error)})") from None
    for number, row in enumerate(rows):
        yield fields.document(row, f"{file}, row {number}")


def read_hub(name: str, fields: Fields, subset: str | None) -> Iterator[Document]:
    datasets = hub_library(name)
    try:
        rows = datasets.load_dataset(name, subset, split="train")
    except Exception as error:  # the library raises a dozen kinds, from no network to no such configuration
        raise BadInput(
            f"data.path={name}: neither a file here nor a dataset the hub gave ({first_line(error)})"
        ) from None
    for number, row in enumerate(rows):
        yield fields.document(row, f"{name}, row {number}")


def decoded(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None


def hub_library(what: str):
    try:
        import datasets
    except ImportError:
        raise BadInput(f"data.path={what} needs the datasets library: {EXTRA}") from None
    return datasets


def first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


READERS = {".txt": read_txt, ".jsonl": read_jsonl, ".parquet": read_parquet}
