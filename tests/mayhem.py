"""A sweep to which everything happens: processes killed, files torn, the disk full, the W&B server gone.

Faults come at random moments, from a seeded generator, until as many have hit as were asked for; then the
sweep is started until it ends well. What a run left when it first finished must not change any more.
"""

import errno
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from commands import start
from wandb_server import Server

from scalelaw.run import RECORD, Run, records

PATIENCE = 300.0  # seconds for one start of the sweep


class Mayhem:
    """study: arguments of experiments.train, started in `folder`. pause: mean seconds between faults."""

    def __init__(
        self, study: list[str], folder: Path, *, seed: int, pause: float, env: dict[str, str] | None = None
    ) -> None:
        self.study, self.folder, self.pause, self.env = study, folder, pause, env or {}
        self.random = random.Random(seed)
        self.hit: Counter[str] = Counter()
        self.starts = 0
        self.finished: dict[str, tuple[int, int]] = {}
        """Of each finished run, its record's inode and time: written once."""
        self.kinds: dict[str, Callable[[subprocess.Popen], bool]] = {
            "worker killed": lambda sweep: self._signal(_workers(sweep.pid), signal.SIGKILL),
            "worker terminated": lambda sweep: self._signal(_workers(sweep.pid), signal.SIGTERM),
            "sweep killed": lambda sweep: self._signal([sweep.pid], signal.SIGKILL),
            "sweep terminated": lambda sweep: self._signal([sweep.pid], signal.SIGTERM),
            "all killed": self._power_cut,
            "checkpoint truncated": lambda sweep: self._truncate("checkpoint-*.safetensors"),
            "metrics torn": lambda sweep: (
                self._power_cut(sweep) and self._truncate("metrics.jsonl", most=200)
            ),
        }

    def run(self, faults: int) -> None:
        """Raises AssertionError when the sweep ends before all faults have hit, or does not end well."""
        while True:
            sweep = self._start()
            while sum(self.hit.values()) < faults and sweep.poll() is None:
                time.sleep(self.random.uniform(0, 2 * self.pause))
                rarest = min(self.hit[kind] for kind in self.kinds)  # none is left out
                kind = self.random.choice([kind for kind in self.kinds if self.hit[kind] == rarest])
                if sweep.poll() is None and self.kinds[kind](sweep):
                    self.hit[kind] += 1
                self._look()
            output, _ = sweep.communicate(timeout=PATIENCE)
            self._settle()
            self._look()
            if sweep.returncode == 0:
                assert sum(self.hit.values()) == faults, f"it ended after {self.hit}:\n{output}"
                return
            assert self.starts < 3 * faults + 10, f"it does not end:\n{output}"

    def _start(self) -> subprocess.Popen:
        self.starts += 1
        return start("experiments.train", *self.study, cwd=self.folder, env=self.env)

    def _signal(self, processes: list[int], number: int) -> bool:
        if not processes:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.random.choice(processes), number)
            return True
        return False

    def _power_cut(self, sweep: subprocess.Popen) -> bool:
        """Every process of the sweep at once."""
        for process in [*_descendants(sweep.pid), sweep.pid]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        sweep.wait(timeout=PATIENCE)
        return True

    def _tear(self, sweep: subprocess.Popen) -> bool:
        """The end of a metrics file that did not reach the disk before the power went."""
        return self._power_cut(sweep) and self._truncate("metrics.jsonl", most=200)

    def _truncate(self, pattern: str, most: int | None = None) -> bool:
        """Cut a file of a run that is not finished at a random byte, `most` bytes from its end at most."""
        files = [
            path
            for path in self.folder.rglob(pattern)
            if path.parent.name not in self.finished and path.stat().st_size
        ]
        if not files:
            return False
        path = self.random.choice(sorted(files))
        size = path.stat().st_size
        with suppress(FileNotFoundError):  # the run has replaced it meanwhile
            os.truncate(path, self.random.randrange(max(0, size - most) if most else 0, size))
            return True
        return False

    def fill(self, sweep: subprocess.Popen) -> bool:
        """No byte left on the disk, for a while."""
        filler = self.folder / "filler"
        try:
            with filler.open("wb") as file:
                while True:
                    file.write(b"\0" * 65536)
                    file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        time.sleep(self.random.uniform(0, 2 * self.pause))
        filler.unlink()
        return True

    def silence(self, server: Server) -> bool:
        """W&B's server is gone for a while."""
        server.stop()
        time.sleep(self.random.uniform(0, 2 * self.pause))
        server.start()
        return True

    def _settle(self) -> None:
        """Wait for workers that outlived their sweep: they write a last checkpoint."""
        deadline = time.monotonic() + PATIENCE
        while _working_in(self.folder) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _look(self) -> None:
        for path in self.folder.rglob(RECORD):
            with suppress(ValueError, FileNotFoundError):
                if Run.load(path.parent).finished:
                    status = path.stat()
                    seen = (status.st_ino, status.st_mtime_ns)
                    assert self.finished.setdefault(path.parent.name, seen) == seen, f"{path} finished twice"


def table(folder: Path) -> list[dict]:
    return [run.row() for _, run in records(folder / "outputs")]


def tmpfs(folder: Path, megabytes: int) -> bool:
    """Mount a small disk at `folder`; False where that is not allowed."""
    folder.mkdir()
    if shutil.which("mount") is None:
        return False
    size = f"size={megabytes}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False
    )
    return mounted.returncode == 0


def _parents() -> dict[int, int]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
    return found


def _descendants(root: int) -> list[int]:
    parents, found, new = _parents(), [], {root}
    while new := {child for child, parent in parents.items() if parent in new}:
        found += new
    return found


def _workers(root: int) -> list[int]:
    """The processes that train: those that a child of the sweep has forked."""
    parents = _parents()
    servers = {child for child, parent in parents.items() if parent == root}
    return [child for child, parent in parents.items() if parent in servers]


def _working_in(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if path.readlink() == folder.resolve():
                found.append(int(path.parent.name))
    return found
