"""One file -> one table as it stands: CSV, TSV, JSON, JSON lines, Parquet; text may be gzipped."""

import csv
import gzip
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

KINDS = ".csv, .tsv, .json, .jsonl or .parquet"
SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read(path: Path) -> pd.DataFrame:
    """The file's table: names are strings and differ from one another, cells are as the file has them.

    Objects inside a JSON object become columns with dots: {"model": {"params": 1}} is `model.params`.
    Raises ValueError in one line naming the file, and the line or row where there is one.
    """
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix != ".gz"), "")
    try:
        if kind in SEPARATORS:
            table = _separated(path, SEPARATORS[kind])
        elif kind in (".jsonl", ".ndjson"):
            table = pd.DataFrame(list(_lines(path)))
        elif kind == ".json":
            table = pd.DataFrame(_array(path))
        elif kind in (".parquet", ".pq"):
            table = _parquet(path)
        else:
            raise BadTable(f"{path}: a table is {KINDS}, or a folder of runs")
    except BadTable:
        raise
    except Exception as error:  # whatever a library finds wrong with the bytes of a file
        why = " ".join(str(error).split()) or type(error).__name__
        raise BadTable(f"{path}: cannot be read as {kind[1:]} ({why})") from error
    table.columns = [str(name) for name in table.columns]
    return table


class BadTable(ValueError):
    """What is wrong with a table, in one line that names it."""


def flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything below a mapping; a list is a value."""
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def once(names: Iterable[str], where: str) -> None:
    """Raise BadTable for a name that comes twice: a reader would drop or rename one of the two columns."""
    for name, times in Counter(names).items():
        if times > 1 and name:  # columns without a name cannot be asked for
            raise BadTable(f"{where}: column {' '.join(name.split())} appears {times} times")


def _text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _separated(path: Path, separator: str) -> pd.DataFrame:
    with _text(path) as file:
        rows = csv.reader(file, delimiter=separator)
        header = [name.strip() for name in next((row for row in rows if row), [])]
    if not header:
        raise BadTable(f"{path}: empty")
    once(header, str(path))
    with warnings.catch_warnings():
        # Without index_col=False, cells beyond the header would make the first column an index; with it, they
        # are cut off with a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(
                path,
                sep=separator,
                index_col=False,
                skipinitialspace=True,
                encoding="utf-8-sig",
                low_memory=False,
            )
        except (pd.errors.ParserError, pd.errors.ParserWarning):
            _check_width(path, separator, len(header))
            raise
    return table.rename(columns=str.strip)


def _check_width(path: Path, separator: str, width: int) -> None:
    with _text(path) as file:
        rows = [row for row in csv.reader(file, delimiter=separator) if row]
    for number, row in enumerate(rows[1:], start=1):
        if len(row) > width:
            raise BadTable(
                f"{path}, row {number}: {len(row)} cells for {width} columns "
                "(write numbers without thousands separators)"
            )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise BadTable(f"column {twice[0]} appears twice")
    return dict(pairs)


def _row(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise BadTable(f"{where}: not an object of columns and values")
    if not any(isinstance(value, dict) for value in content.values()):
        return content
    pairs = list(flat(content))
    once((name for name, _ in pairs), where)
    return dict(pairs)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with _text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                yield _row(_json(line, where), where)


def _array(path: Path) -> list[dict[str, Any]]:
    with _text(path) as file:
        content = _json(file.read(), str(path))
    if not isinstance(content, list):
        raise BadTable(f"{path}: a table in JSON is a list of objects, one a row")
    return [_row(row, f"{path}, row {number}") for number, row in enumerate(content, start=1)]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except BadTable as error:
        raise BadTable(f"{where}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise BadTable(f"{where}: not JSON ({error})") from error


def _parquet(path: Path) -> pd.DataFrame:
    from pyarrow import parquet  # what pandas reads it with: an extra that other tables do not need

    once(parquet.read_schema(path).names, str(path))
    table = pd.read_parquet(path)
    if any(name is not None for name in table.index.names):
        table = table.reset_index()  # a column that pandas wrote as the index
    return table
