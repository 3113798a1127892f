"""Flag: what is suspected of some rows of a table. And how checks look at its columns."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

DROP, WARN = "drop", "warn"


@dataclass(frozen=True)
class Flag:
    """What is suspected of some rows: kind, the rows as the table's index names them, a sentence, and whether
    to drop them ("drop") or only to say so ("warn")."""

    kind: str
    rows: list[int]
    why: str
    severity: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def named(table: pd.DataFrame, mask: Any) -> list[int]:
    """The rows of a mask (n,), as the table's index names them."""
    return table.index[np.asarray(mask, dtype=bool)].tolist()


def optional(table: pd.DataFrame, name: str) -> np.ndarray:
    """A column (n,) that a table may have or not: what is no number in it is NaN, and compares as nothing."""
    values = pd.Series(pd.to_numeric(pd.Series(table[name]), errors="coerce"))
    return values.to_numpy(dtype=float, na_value=np.nan)
