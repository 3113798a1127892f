"""One process a run directory, on whatever host: two trainings of one run would tear each other's files.

Claims are files, `.claim-1`, `.claim-2`, ..., and the highest number holds. Each is created exclusively
(O_EXCL, which holds on a shared folder too), written by its owner alone and never removed. So of all who find
one given up at once a single one gets the next number, and none can take away another's.
"""

import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from scalelaw.contracts import BadInput
from scalelaw.run import CLAIM, write_atomically

log = logging.getLogger(__name__)
HEARTBEAT = 5.0  # seconds between signs of life
STALE = 60.0  # seconds without one, after which a process that cannot be looked up counts as dead
PATIENCE = 15.0  # seconds a killed parent's last workers may take to notice and let go


@dataclass(frozen=True)
class Holder:
    """system: a kernel and a space of process ids; empty where there is no /proc. began: when the process
    did, in the kernel's ticks, since ids are given out again."""

    host: str
    system: str
    pid: int
    began: str
    at: str
    released: bool = False


UNKNOWN = Holder(host="an unknown host", system="", pid=0, began="", at="")


@contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Hold the directory for this process, until it lets go, dies or shows no sign of life for STALE seconds.

    Raises BadInput naming host and process when another process keeps it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    me = Holder(socket.gethostname(), _system(), os.getpid(), _began(os.getpid()) or "", time.ctime())
    number = _acquire(directory, me)
    over = threading.Event()
    threading.Thread(target=_beat, args=(directory, number, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with suppress(OSError):  # the folder may be gone, the disk full: then the claim grows stale
            write_atomically(_path(directory, number), json.dumps(asdict(me) | {"released": True}))


def _acquire(directory: Path, me: Holder) -> int:
    number, watched, deadline = 1, None, time.monotonic() + PATIENCE
    while True:
        path, mine = _path(directory, number), False
        with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            mine = True
            json.dump(asdict(me), file)
        superseded = _path(directory, number + 1).exists()
        if mine and not superseded:
            return number
        holder, beat = _read(path)
        here = holder.system == me.system != ""
        gone = _began(holder.pid) != holder.began if here else _now(directory) - beat > STALE
        if superseded or holder.released or gone:
            number, watched = number + 1, None
            continue
        watched = watched or beat
        # Of a process elsewhere one sign of life must be seen: it may have died since it gave the last.
        if (here or beat != watched) and time.monotonic() > deadline:
            who = f"process {holder.pid} on {holder.host}, since {holder.at}"
            raise BadInput(f"{directory} is being trained by another process: {who}")
        time.sleep(0.1)


def _beat(directory: Path, number: int, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT):
        with suppress(OSError):  # the folder may come back
            os.utime(_path(directory, number))
            # Paused or cut off so long that another went on: every write from here on would tear its files.
            if _path(directory, number + 1).exists() and not over.is_set():
                log.critical("%s was taken over by another process; this one ends", directory)
                os._exit(1)


def _path(directory: Path, number: int) -> Path:
    return directory / f"{CLAIM}{number}"


def _read(path: Path) -> tuple[Holder, float]:
    """The holder and the time of its last sign of life; of a torn or foreign file only the time is known."""
    beat = 0.0
    with suppress(OSError, ValueError, TypeError):
        with path.open("rb") as file:
            beat = os.fstat(file.fileno()).st_mtime
            holder = Holder(**json.load(file))
        if all(type(value) is type(getattr(UNKNOWN, key)) for key, value in asdict(holder).items()):
            return holder, beat
    return UNKNOWN, beat


def _now(directory: Path) -> float:
    """The time by the clock that stamps the folder's files, which need not be this host's."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_mtime


def _system() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _began(pid: int) -> str | None:
    """None when there is no such process, or only what its parent has not collected yet."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
