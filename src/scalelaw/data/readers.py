"""The user's text: a .txt, .jsonl or .parquet file, a folder of them, or the name of a dataset on the hub."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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

    name: str
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
            place.resolve().name,
            lambda: (d for file in files for d in READERS[file.suffix](file, fields, place.is_file())),
            {"column": column, "group": group, "files": len(files), "state": state(files)},
        )
    if place.suffix in READERS or not HUB_NAME.fullmatch(path):
        raise BadInput(f"data.path={path}: no such file or folder")
    return Corpus(
        path,
        lambda: read_hub(path, fields, subset),
        {"column": column, "group": group, "hub": path, "subset": subset},
    )


def state(files: Sequence[Path]) -> str:
    """Changes with any file's place, size or time of writing; content is too long to read on every run."""
    listing = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


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

    def check(self, present: Collection[str], where: str) -> list[str]:
        """The columns to read. Raises BadInput naming the one that is missing."""
        wanted = [self.column] if self.group is None else [self.column, self.group]
        for name in wanted:
            if name not in present:
                raise BadInput(f"{where}: no column {name!r}, only {', '.join(sorted(present)) or 'none'}")
        return wanted

    def document(self, row: dict, where: str) -> Document:
        """Raises BadInput naming the place where the text is not text."""
        text, group = row[self.column], row[self.group] if self.group else None
        if not isinstance(text, str):
            raise BadInput(f"{where}: column {self.column!r} holds {type(text).__name__}, not text")
        return Document(text, None if group is None else str(group))


def read_txt(file: Path, fields: Fields, alone: bool) -> Iterator[Document]:
    """One document, or the sections of a file that is the whole corpus."""
    text = decoded(file)
    yield from map(Document, sections(text) if alone else [text])


def sections(text: str) -> Iterator[str]:
    """Consecutive paragraphs (lines, where there are no paragraphs) gathered to the length of a section."""
    wanted = min(SECTION, len(text) // SECTIONS)
    divider, blocks = "\n\n", BLANK_LINE.split(text)
    if len(blocks) == 1:
        divider, blocks = "\n", text.split("\n")
    section, length = [], 0
    for block in blocks:
        section.append(block)
        length += len(block)
        if length >= wanted:
            yield divider.join(section)
            section, length = [], 0
    if section:
        yield divider.join(section)


def read_jsonl(file: Path, fields: Fields, alone: bool) -> Iterator[Document]:
    for number, line in enumerate(decoded(file).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{where}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise BadInput(f"{where}: not an object with a column {fields.column!r}")
        fields.check(row, where)
        yield fields.document(row, where)


def read_parquet(file: Path, fields: Fields, alone: bool) -> Iterator[Document]:
    datasets = hub_library(str(file))
    try:
        table = datasets.Dataset.from_parquet(str(file), keep_in_memory=True)
    except Exception as error:  # of the library's and of pyarrow's kinds
        raise BadInput(f"{file}: not a parquet file ({first_line(error)})") from None
    yield from read_table(table, fields, str(file))


def read_hub(name: str, fields: Fields, subset: str | None) -> Iterator[Document]:
    datasets = hub_library(name)
    try:
        table = datasets.load_dataset(name, subset, split="train")
    except Exception as error:  # the library raises a dozen kinds, from no network to no such configuration
        raise BadInput(
            f"data.path={name}: neither a file here nor a dataset the hub gave ({first_line(error)})"
        ) from None
    yield from read_table(table, fields, name)


def read_table(table, fields: Fields, where: str) -> Iterator[Document]:
    wanted = fields.check(table.column_names, where)
    for number, row in enumerate(table.select_columns(wanted), start=1):
        yield fields.document(row, f"{where}, row {number}")


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
