"""Run: the frozen record of one training run, and the only bridge between training and analysis.

A run's directory holds `run.json` (this record, written once, at the end) and `metrics.jsonl` (one object a
line, append-only). Both are plain text; nothing else is needed to fit a law or draw a curve.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SCHEMA = 1
RECORD = "run.json"
METRICS = "metrics.jsonl"
STATUSES = ("finished", "diverged", "interrupted", "failed")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What was trained, on how much, at what cost, and what came of it.

    Units: counts of parameters, tokens and FLOPs; losses in nats per token of the validation set.
    N leaves embeddings and the output head out (Kaplan 2020); `parameters` holds every other convention.
    D is the training tokens read (inputs and targets); C the training FLOPs of all matmuls and attention
    as executed; C_6ND the usual 6 N D.
    `loss` is the common measure: NLL of the same target tokens given the same prefix, whatever the
    architecture. `loss_objective` is the validation loss on the run's own training objective.
    """

    run: str
    name: str
    status: str
    architecture: str
    objective: str
    data: str
    study: str
    seed: int
    depth: int
    width: int
    N: int
    N_total: int
    parameters: dict[str, int] = field(default_factory=dict)
    D: int
    D_target: int
    unique_tokens: int
    window: int
    batch_tokens: int
    steps: int
    step: int
    learning_rate: float
    C: float
    C_6ND: float
    loss: float | None
    loss_objective: float | None
    bits_per_byte: float | None
    bayes_loss: float | None = None
    """What `loss` would be for whoever knows the process that wrote the text, on the same tokens; exact. None
    where no one does."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """By task, how its held-out items were answered at the end: scalelaw.evaluate.score."""
    parent: str | None = None
    reason: str | None = None
    """Why the run is not finished, in one line; None when it is."""
    timing: dict[str, float] = field(default_factory=dict)
    """Seconds, tokens per second: everything that differs from one execution to the next."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Command, commit, machine, library versions, data checksums."""
    config: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(STATUSES)}")

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    def row(self) -> dict[str, Any]:
        """One flat row of the runs table: the same bytes for the same config, seed and machine.

        Timing, provenance, config and scores stay in the record; each entry of `parameters` becomes
        `N_<name>`.
        """
        nested = ("parameters", "timing", "provenance", "config", "scores", "schema")
        flat = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in nested}
        return flat | {f"N_{name}": count for name, count in self.parameters.items()}

    def save(self, directory: Path) -> None:
        write_atomically(Path(directory) / RECORD, json.dumps(asdict(self), indent=1, allow_nan=False))

    @classmethod
    def load(cls, directory: Path) -> "Run":
        """Read a record. Raises ValueError naming the file when it is unreadable or of another schema."""
        path = Path(directory) / RECORD
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not a run record: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{path} is not a run record of schema {SCHEMA}")
        known = {f.name for f in fields(cls)}
        missing = {
            f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
        } - content.keys()
        if missing or content.keys() - known:
            raise ValueError(f"{path}: missing {sorted(missing)}, unknown {sorted(content.keys() - known)}")
        return cls(**content)


def records(root: Path) -> Iterator[tuple[Path, Run]]:
    """Every run record below `root` with its directory, in the order of the paths."""
    for path in sorted(Path(root).rglob(RECORD)):
        yield path.parent, Run.load(path.parent)


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics file. A torn last line, as a kill leaves it, is left out."""
    path = Path(directory) / METRICS
    if not path.exists():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
    return rows


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` in one step, so that a reader or a crash never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
