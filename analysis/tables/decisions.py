"""What a study that chose its own runs left of its decisions, round by round."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Round:
    """What was known before it, and what it chose."""

    runs: int
    flops: float
    fit: str | None
    """The status of the law's fit; None before the first."""
    widths: dict[str, tuple[float | None, float]]
    """Of each interval asked for: its width, None where it is open, and the one wanted."""
    chosen: Counter[tuple[float, float]]
    """Runs at each (N, D)."""
    why: str


@dataclass(frozen=True)
class Decisions:
    law: str
    stopped: str | None
    rounds: list[Round]


def read(path: Path) -> Decisions:
    """What `experiments.adaptive` wrote. Raises ValueError naming the file for anything else."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        stopped = None if told["stopped"] is None else str(told["stopped"])
        return Decisions(str(told["law"]), stopped, [_round(entry) for entry in list(told["rounds"])])
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        why = f"no record of decisions ({type(error).__name__}: {error})"
        raise ValueError(f"{path}: {why}") from error


def _round(entry: Any) -> Round:
    return Round(
        runs=int(entry["runs"]),
        flops=float(entry["flops"]),
        fit=None if entry["fit"] is None else str(entry["fit"]["status"]),
        widths={
            str(name): (float(known["width"]) if known["interval"] else None, float(known["wanted"]))
            for name, known in entry["intervals"].items()
        },
        chosen=Counter((float(run["N"]), float(run["D"])) for run in entry["chosen"]),
        why=str(entry["why"]),
    )
