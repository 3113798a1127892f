"""What doors that read a table share: the table with its columns renamed, its parts, and where a result came from."""

import sys
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from analysis import runs
from scalelaw.provenance import provenance

BY = "architecture"


def read(cfg: DictConfig) -> pd.DataFrame:
    """The table of `cfg.table` under the names of `cfg.columns`. Raises ValueError."""
    return runs.load(cfg.table, columns(cfg), history=bool(cfg.get("history", False)))


def columns(cfg: DictConfig) -> dict[str, str]:
    """The column map, less the entries that map a name to itself: those may be missing."""
    return {str(ours): str(theirs) for ours, theirs in cfg.columns.items() if ours != theirs}


def parts(table: pd.DataFrame) -> dict[str | None, pd.DataFrame]:
    """The rows of each architecture, in the order of their names; under None all of them where none is told."""
    if BY not in table:
        return {None: table}
    groups = pd.Series(table[BY])
    if groups.isna().any():
        row = table.index[int(groups.isna().argmax())]
        raise ValueError(f"{table.attrs.get('source', 'table')}, row {row}, column {BY}: is empty")
    return {str(name): table.loc[groups == name] for name in sorted(groups.unique(), key=str)}


def origin(cfg: DictConfig) -> dict[str, Any]:
    """What is needed to get the same result again: command, commit, machine, versions, settings."""
    command = " ".join(
        ["python", "-m", "experiments." + sys.argv[0].rsplit("/", 1)[-1].removesuffix(".py"), *sys.argv[1:]]
    )
    return provenance(command) | {"settings": OmegaConf.to_container(cfg, resolve=True)}
