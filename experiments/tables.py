"""What doors that read a table share: its columns renamed, its parts, and where a result came from."""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from analysis import fits
from analysis.law import Law
from analysis.tables import runs
from scalelaw.provenance import provenance

BY = "architecture"


def read(cfg: DictConfig, table: str | None = None) -> pd.DataFrame:
    """The table of `cfg.table`, or another like it, under the names of `cfg.columns`. Raises ValueError."""
    source = cfg.table if table is None else table
    # A name that maps to itself may be missing.
    return runs.load(source, _columns(cfg), history=bool(cfg.get("history", False)))


def own_up(unread: Mapping[str, str]) -> None:
    """Name what could not be read, and end with status 1: there is a result, but not of everything."""
    for why in unread.values():
        print(f"left out: {why}", file=sys.stderr)
    if unread:
        sys.exit(1)


def points(cfg: DictConfig, law: Law) -> pd.DataFrame:
    """The table of `cfg.forecast`, columns named as in `cfg.table` or as here. Raises ValueError."""
    theirs = set(runs.load(cfg.forecast))
    mapped = {ours: name for ours, name in _columns(cfg).items() if name in theirs}
    there = runs.load(cfg.forecast, mapped).sort_index()
    if "C" in law.inputs and "C" not in there and {"N", "D"} <= set(there):
        there["C"] = 6 * there.N * there.D
    try:
        law.logs(there)
    except ValueError as error:
        raise ValueError(f"{cfg.forecast}: {error}") from error
    return there


def _columns(cfg: DictConfig) -> dict[str, str]:
    return {str(ours): str(theirs) for ours, theirs in cfg.columns.items() if ours != theirs}


def number(cfg: DictConfig, name: str, *, whole: bool = False, least: float | None = None) -> float | int:
    """The knob `name` as a number. Raises ValueError naming it for anything else, or one too small."""
    value = cfg[name]
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or (whole and value != int(value)) or (least is not None and value < least):
        kind = "a whole number" if whole else "a number"
        raise ValueError(
            f"{name}={value}: has to be {kind}" + ("" if least is None else f" of at least {least:g}")
        )
    return int(value) if whole else float(value)


def parts(table: pd.DataFrame) -> dict[str | None, pd.DataFrame]:
    """The rows of each architecture, in the order of their names; under None all, where none is told."""
    if BY not in table or bool(np.asarray(table[BY].isna()).all()):
        return {None: table}
    return {**fits.parts(table, BY)}


def listed(made: Mapping[str, Any], said: Iterable[str]) -> str:
    """What was found, a line each, in Markdown, under what is needed to get it again. made: an `origin`."""
    return "\n- ".join([f"{signed(made)}.\n", *said]) + "\n"


def signed(made: Mapping[str, Any]) -> str:
    """Where a page's figures are from, to begin it with. made: an `origin`."""
    return f"`{made['command']}`, commit {made['commit']}, {made['machine']}"


def origin(module: str, cfg: DictConfig) -> dict[str, Any]:
    """What is needed to get the same result again: command, commit, machine, versions, settings."""
    # Where the result went is no part of it.
    words = [word for word in sys.argv[1:] if not word.startswith("hydra.")]
    command = " ".join(["python", "-m", module, *words])
    return provenance(command) | {"settings": OmegaConf.to_container(cfg, resolve=True)}
