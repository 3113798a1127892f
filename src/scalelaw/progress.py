"""How a run that is still going tells how far it is: one small file, replaced in place, read by anyone."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "progress.json"
EVERY = 2.0  # seconds; a rename can take milliseconds, and many runs may share a process


@dataclass(frozen=True)
class State:
    """loss: nats per token, the last training loss. rate: tokens per second. left: seconds. flops: so far."""

    step: int
    steps: int
    loss: float
    rate: float
    left: float
    flops: float = 0.0
    N: int | None = None
    architecture: str | None = None


class Progress:
    """Writes the state at most every two seconds; costs nothing in between."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self.last = 0.0

    def due(self) -> bool:
        return time.monotonic() - self.last >= EVERY

    def show(self, state: State) -> None:
        self.last = time.monotonic()
        temporary = self.path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(asdict(state)))
            temporary.replace(self.path)
        except OSError:
            pass  # a view of a run must never end it


def read(directory: Path) -> State | None:
    try:
        return State(**json.loads((Path(directory) / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
