"""What a run's weights are at its first step: drawn, or those that another run ended with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from scalelaw import weights
from scalelaw.contracts import BadInput, Source
from scalelaw.run import RECORD, Run
from scalelaw.shape import Shape


class Start(Protocol):
    parent: str | None
    """The id of the run whose weights these are."""

    def put(self, model: nn.Module, shape: Shape, source: Source) -> None:
        """Give a model, drawn already, the weights to start from."""
        ...


class Nothing:
    parent: str | None = None

    def put(self, model: nn.Module, shape: Shape, source: Source) -> None:
        pass


class Parent:
    """run: the folder of a finished run with its weights. A run that starts here is a stage of that one: its
    optimizer, schedule and stream of text begin anew, and another parent makes it another run.

    Raises BadInput naming `start.run` where there is no such run, or it is not finished.
    """

    def __init__(self, *, run: str) -> None:
        self.directory, self.record = Path(run), finished(Path(run))
        self.parent = self.record.run

    def put(self, model: nn.Module, shape: Shape, source: Source) -> None:
        """Raises BadInput where the parent has another shape or tokens of another meaning, or no weights."""
        said, theirs = f"start.run={self.directory}", self.record
        if (theirs.depth, theirs.width) != (shape.depth, shape.width):
            raise BadInput(
                f"{said}: a model of depth {theirs.depth} and width {theirs.width}, and this run has depth "
                f"{shape.depth} and width {shape.width}"
            )
        before = theirs.provenance.get("data", {})
        if vocabulary(before) != vocabulary(source.manifest):
            raise BadInput(
                f"{said}: its tokens are those of {_told(before)}, and this run's of "
                f"{_told(source.manifest)}: only what is written in bytes can follow on other text"
            )
        weights.load(self.directory, model)


NOTHING = Nothing()


def finished(directory: Path) -> Run:
    """The record of a run to start from. Raises BadInput naming `start.run`."""
    said = f"start.run={directory}"
    if not (directory / RECORD).exists():
        raise BadInput(f"{said}: no run record ({RECORD}) there")
    try:
        run = Run.load(directory)
    except ValueError as error:
        raise BadInput(f"{said}: {error}") from error
    if not run.finished:
        raise BadInput(f"{said} is {run.status}: only a finished run has weights to start from")
    return run


def vocabulary(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    """The same where tokens mean the same: bytes everywhere do; pieces are those of the text that they were
    found in, and a task's own symbols are its own."""
    if manifest.get("tokenizer") == "bytes":
        return ("bytes",)
    return tuple(manifest.get(key) for key in ("tokenizer", "vocab_size", "name", "train_sha256"))


def _told(manifest: Mapping[str, Any]) -> str:
    return f"{manifest.get('name')} in {manifest.get('tokenizer', 'symbols of its own')}"
