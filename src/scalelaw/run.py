"""Run: the frozen record of one training run, and the only bridge between training and analysis.

A run's directory holds `run.json` (this record, written once, at the end) and `metrics.jsonl` (one object a
line, append-only). Both are plain text; nothing else is needed to fit a law or draw a curve.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SCHEMA = 3
RECORD = "run.json"
METRICS = "metrics.jsonl"
WEIGHTS = "model.safetensors"  # of a finished run that kept them
LOG = "log.txt"  # what a run that was started as a job printed
CLAIM = ".claim-"  # touched every few seconds by a process that lives, whether it gets on or hangs
DECISIONS = "decisions.json"  # in the folder of a study that chooses its own runs: every round, and why
SWEEP = "sweep.json"  # in a study's folder: what was started, for those who look on from elsewhere
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
    """None of a run that did not finish, and of one whose objective never asks for what follows a text."""
    loss_objective: float | None
    bits_per_byte: float | None
    bayes_loss: float | None = None
    """What `loss` would be for whoever knows the process that wrote the text, on the same tokens; exact. None
    where no one does."""
    losses: dict[str, float] = field(default_factory=dict)
    """Of a mixture of objectives: "loss_NAME" on each part, and "loss_causal", which is `loss` where the
    prefix is read in one direction only."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """By task, how its held-out items were answered at the end: scalelaw.evaluate.score."""
    measures: dict[str, float | None] = field(default_factory=dict)
    """What was measured at the end beside losses, as "measure.figure" (scalelaw.measures); None where it
    could not be had."""
    parent: str | None = None
    """The run that this one went on from: with whose weights it started, a stage of that one; or, for a run
    that started from nothing, that took its first steps for it."""
    reason: str | None = None
    """Why the run is not finished, in one line; None when it is."""
    timing: dict[str, float] = field(default_factory=dict)
    """Seconds, tokens per second: everything that differs from one execution to the next."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Command, commit, machine, library versions, data checksums."""
    config: dict[str, Any] = field(default_factory=dict)
    started: str | None = None
    """When training first began, and `ended`, when this record was written: ISO 8601, UTC."""
    ended: str | None = None
    host: str | None = None
    """The machine that ended it, by its network name."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(STATUSES)}")

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def told(self) -> float | None:
        """The common loss, or that of the objective where nothing taught the common one."""
        return self.loss_objective if self.loss is None else self.loss

    def row(self) -> dict[str, Any]:
        """One flat row of the runs table: the same bytes for the same config, seed and machine.

        What differs from one execution to the next and what is nested stays in the record; each entry of
        `parameters` becomes `N_<name>`. `bayes_loss`, `losses` and `measures` are there where they are known.
        """
        flat = {name: getattr(self, name) for name in FLAT}
        if self.bayes_loss is not None:
            flat["bayes_loss"] = self.bayes_loss
        flat |= self.losses | {name: value for name, value in self.measures.items() if value is not None}
        return flat | {f"N_{name}": count for name, count in self.parameters.items()}

    def save(self, directory: Path) -> None:
        write_atomically(Path(directory) / RECORD, json.dumps(asdict(self), indent=1, allow_nan=False))

    @classmethod
    def load(cls, directory: Path) -> "Run":
        """Read a record, whichever schema it was written in.

        Raises ValueError naming the file when it is torn or no record; NewerRecord, which is one, when this
        version cannot know what it says.
        """
        path = os.path.join(directory, RECORD)
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is not a run record: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
            raise ValueError(f"{path} is not a run record: it names no schema")
        if content["schema"] > SCHEMA:
            raise NewerRecord(
                f"{path} is a record of schema {content['schema']}, and this version of scalelaw reads up to "
                f"{SCHEMA}: it takes the version that wrote it{_written_by(content)}, or a later one"
            )
        try:
            content = migrate(content)
            missing, unknown = REQUIRED - content.keys(), content.keys() - KNOWN
            if missing or unknown:
                raise ValueError(f"missing {sorted(missing)}, unknown {sorted(unknown)}")
            return cls(**content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


class NewerRecord(ValueError):
    """A record that a later version of this package wrote: not to be read, and not to be written over."""


KNOWN = {f.name for f in fields(Run)}
REQUIRED = {f.name for f in fields(Run) if f.default is MISSING and f.default_factory is MISSING}
APART = ("parameters", "timing", "provenance", "config", "bayes_loss", "losses", "scores", "measures")
APART += ("started", "ended", "host", "schema")
FLAT = [f.name for f in fields(Run) if f.name not in APART]


def _written_by(content: dict[str, Any]) -> str:
    try:
        return f" ({content['provenance']['versions']['scalelaw']})"
    except (KeyError, TypeError):
        return ""


def _to_2(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 says when a run was trained and on which host; what was not recorded is not known."""
    return content | {"started": None, "ended": None, "host": None}


def _to_3(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 3 has the losses of a mixture's parts; there were no mixtures before."""
    return content | {"losses": {}}


# From schema k to k + 1: what is added, renamed or dropped, with nothing guessed.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _to_2, 2: _to_3}


def migrate(content: dict[str, Any]) -> dict[str, Any]:
    """A record's content as this version would have written it, from any schema up to SCHEMA.

    Raises ValueError for a schema that never was.
    """
    while (schema := content["schema"]) != SCHEMA:
        if schema not in MIGRATIONS:
            raise ValueError(f"there is no schema {schema}")
        content = MIGRATIONS[schema](content) | {"schema": schema + 1}
    return content


def folders(root: Path, unread: dict[str, str] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from `root` down with the names of its files, in the order of the paths.

    A run's own W&B folder is left out: it holds nothing of ours, and most of the files. One that cannot be
    listed is noted in `unread` with the reason, or raised as OSError where that is None.
    """

    def failed(error: OSError) -> None:
        if unread is None:
            raise error
        unread[str(error.filename)] = f"{error.filename}: {error.strerror}"

    for folder, below, names in os.walk(root, onerror=failed):
        if "wandb" in below and (RECORD in names or METRICS in names):
            below.remove("wandb")
        below.sort()
        yield Path(folder), names


def records(root: Path, unread: dict[str, str] | None = None) -> Iterator[tuple[Path, Run]]:
    """Every run record below `root` with its directory, in the order of the paths.

    One that cannot be read is noted in `unread`, path to the reason, and passed over; where that is None, it
    is raised as ValueError or OSError naming the file.
    """
    for directory, names in folders(root, unread):
        if RECORD not in names:
            continue
        try:
            run = Run.load(directory)
        except FileNotFoundError:
            continue  # a start that goes on with the run has taken its last record away just now
        except (ValueError, OSError) as error:
            if unread is None:
                raise
            unread[str(directory / RECORD)] = str(error)
        else:
            yield directory, run


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics file.

    A torn end, as a kill or a power cut leaves it (half a line, zeros in place of one), is left out: the run
    writes those rows again when it goes on. Raises ValueError naming file and line when anything after it is
    whole, since then nobody will.
    """
    rows, torn = intact(directory)
    if torn is not None:
        raise ValueError(torn)
    return rows


def intact(directory: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of a run's metrics file up to the first that is torn; and which one that is and why, where
    whole ones follow it: no kill does that, but two writers, or a disk that was full for a while, do."""
    path = Path(directory) / METRICS
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            rows.append(_row(line))
        except ValueError as error:
            follow = any(_whole(later) for later in lines[number:])
            return rows, f"{path}, line {number}: not a row ({error})" if follow else None
    return rows, None


def _row(line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8"))
    if not isinstance(row, dict):
        raise ValueError("not an object")
    return row


def _whole(line: bytes) -> bool:
    try:
        return bool(_row(line))
    except ValueError:
        return False


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
