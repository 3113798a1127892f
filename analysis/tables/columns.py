"""The columns of a table: those a user maps, those that are numbers, those that are not there."""

import difflib
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

from analysis.law import complaint, unusable
from analysis.tables.files import BadTable

# What tables in circulation call the four quantities; the first in this order is the best guess.
NEAR = {
    "N": ("^n$", "^n_(non|total|with)", "param", "model.?size", "non.?embedding"),
    "D": ("^d$", "token", "^data.?size$"),
    "C": ("^c$", "^c_", "flop", "compute"),
    "loss": ("^loss$", "(val|eval|test|final).*loss", "loss$", "nll", "entropy"),
}
SHOWN = 20  # column names in an error: as many as still make one readable line


def mapped(table: pd.DataFrame, columns: Mapping[str, str], source: str) -> pd.DataFrame:
    """The table with its columns renamed. columns: name here -> name in the table; one may serve twice.

    What is named here replaces a column that happens to have that name. Raises BadTable for a name that the
    table does not have.
    """
    moved = {ours: theirs for ours, theirs in columns.items() if theirs != ours}
    for ours, theirs in moved.items():
        if theirs not in table:
            near = difflib.get_close_matches(str(theirs), table.columns, n=1)
            hint = f" (perhaps {near[0]!r})" if near else ""
            raise BadTable(f"{source}: no column {theirs} to take as {ours}{hint}; {listed(table)}")
    rest = table.drop(columns=[name for name in {*moved, *moved.values()} if name in table])
    return pd.concat([rest, *(pd.Series(table[theirs], name=ours) for ours, theirs in moved.items())], axis=1)


def one_line(value: Any) -> str:
    """The value as text without line breaks: every complaint is one line."""
    return " ".join(str(value).split())


def listed(table: pd.DataFrame) -> str:
    """The table's column names, as the end of a sentence."""
    names = [one_line(name) for name in table.columns]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"it has {', '.join(names[:SHOWN])}{more}"


def absent(table: pd.DataFrame, name: str) -> str:
    """What to say of a column that is not there: what it may be called instead, and what there is."""
    near = sorted(
        (place, "train" in str(theirs).casefold(), len(str(theirs)), str(theirs))
        for theirs in table.columns
        for place, pattern in enumerate(NEAR.get(name, ()))
        if re.search(pattern, str(theirs).rsplit(".")[-1].casefold())
    )
    hint = f"; perhaps columns.{name}={near[0][-1]!r}" if near else ""
    return f"no column {name}{hint}; {listed(table)}"


def numbers(table: pd.DataFrame, name: str, source: str) -> np.ndarray:
    """Column `name` as floats (n,), NaN where it is empty. Raises BadTable naming the row of what is none."""
    column = table[name]
    if isinstance(column, pd.DataFrame):
        raise BadTable(f"{source}: column {name} appears {column.shape[1]} times")
    if is_numeric_dtype(column) and not (is_bool_dtype(column) or is_complex_dtype(column)):
        return column.to_numpy(dtype=float, na_value=np.nan)
    cells = column.tolist()
    values = [_number(cell) for cell in cells]
    if None in values:
        at = values.index(None)
        raise BadTable(f"{source}, row {table.index[at]}, column {name}: {_complaint(cells[at])}")
    return np.array(values, dtype=float)


def check_positive(table: pd.DataFrame, name: str) -> np.ndarray:
    """Column `name` (n,) as floats, every one a positive number that has a logarithm.

    Raises ValueError naming source, row and column otherwise: no such column, empty, text, zero, infinite.
    """
    source = table.attrs.get("source", "table")
    if name not in table:
        raise BadTable(f"{source}: {absent(table, name)}")
    values = numbers(table, name, source)
    if (bad := unusable(values)).any():
        row, told = table.index[int(bad.argmax())], complaint(values[bad][0])
        raise BadTable(f"{source}, row {row}, column {name}: {told}")
    return values


def _number(cell: Any) -> float | None:
    """The cell's value, NaN for an empty one, None for what is no number."""
    if cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, str | int | float | Decimal | np.number):
        return None
    if isinstance(cell, str) and "_" in cell:  # Python's own separator, and nobody else's
        return None
    try:
        return float(cell)
    except (ValueError, TypeError, OverflowError):
        return None


SUFFIXES = {"k": "e3", "m": "e6", "b": "e9", "g": "e9", "t": "e12"}


def _complaint(cell: Any) -> str:
    """What is wrong with a cell that is no number, and what to write where that can be told."""
    shown = one_line(repr(cell))
    told = f"{shown if len(shown) <= 60 else shown[:57] + '...'} is not a number"
    text = cell.strip() if isinstance(cell, str) else ""
    if re.fullmatch(r"[+-]?\d{1,3}([, _']\d{3})+(\.\d+)?", text):
        return f"{told}: write {re.sub('[, _]', '', text).replace(chr(39), '')}"
    if found := re.fullmatch(r"([+-]?\d+(?:\.\d+)?) ?([kmbgt])", text.casefold()):
        return f"{told}: write {found[1]}{SUFFIXES[found[2]]}"
    return told
