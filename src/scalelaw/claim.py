"""One process a run directory: two trainings of the same run would tear each other's files."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scalelaw.contracts import BadInput

try:
    import fcntl
except ImportError:  # no file locks of this kind on Windows; the launcher's unique directories must do
    fcntl = None

PATIENCE = 15.0  # seconds a killed parent's last workers may take to notice and let go


@contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Hold the directory for this process. The lock dies with the process, however it dies.

    Raises BadInput when another process keeps it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    with (directory / ".lock").open("w") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BadInput(f"{directory} is being trained by another process") from None
                time.sleep(0.1)
        yield
