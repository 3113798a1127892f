"""What doors that read a table share: its columns renamed, its parts, and where a result came from."""

import sys
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from analysis.tables import runs
from scalelaw.provenance import provenance

BY = "architecture"


def read(cfg: DictConfig) -> pd.DataFrame:
    """The table of `cfg.table` under the names of `cfg.columns`. Raises ValueError."""
    # A name that maps to itself may be missing.
    columns = {str(ours): str(theirs) for ours, theirs in cfg.columns.items() if ours != theirs}
    return runs.load(cfg.table, columns, history=bool(cfg.get("history", False)))


def parts(table: pd.DataFrame) -> dict[str | None, pd.DataFrame]:
    """The rows of each architecture, in the order of their names; under None all, where none is told."""
    if BY not in table:
        return {None: table}
    groups = pd.Series(table[BY])
    if groups.isna().any():
        row = table.index[int(groups.isna().argmax())]
        raise ValueError(f"{table.attrs.get('source', 'table')}, row {row}, column {BY}: is empty")
    return {str(name): table.loc[groups == name] for name in sorted(groups.unique(), key=str)}


def origin(module: str, cfg: DictConfig) -> dict[str, Any]:
    """What is needed to get the same result again: command, commit, machine, versions, settings."""
    # Where the result went is no part of it.
    words = [word for word in sys.argv[1:] if not word.startswith("hydra.")]
    command = " ".join(["python", "-m", module, *words])
    return provenance(command) | {"settings": OmegaConf.to_container(cfg, resolve=True)}
