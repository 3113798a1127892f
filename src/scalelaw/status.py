"""What every run of a study is doing, told by the files it leaves: for a sweep that runs elsewhere.

Reads folders only, so a network folder will do. `sweep.json`, where a launcher has left it, names the runs
that are still to come.
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from scalelaw.progress import FILE as PROGRESS
from scalelaw.progress import read
from scalelaw.run import CLAIM, LOG, METRICS, RECORD, SWEEP, Run, folders

MARKS = {RECORD, PROGRESS, METRICS, LOG}  # a folder with one of them is a run's
# In the order in which they are worth looking at.
STATES = ("running", "stalled", "failed", "diverged", "interrupted", "waiting", "finished")
GOING, BAD = ("running", "waiting"), ("stalled", "failed", "diverged", "interrupted")
SLOW_STEPS = 10  # a run is not stalled before it has missed so many steps of the length it had
TAIL = 4096  # bytes of a log that may hold its last words


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run. loss: nats per token, at the end the validation loss, before it the last training loss.

    rate: tokens per second. left: seconds. flops: spent so far; whole: of the whole run.
    """

    name: str
    directory: Path
    state: str
    reason: str | None = None
    architecture: str | None = None
    N: int | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    rate: float | None = None
    left: float | None = None
    flops: float = 0.0
    whole: float | None = None


@dataclass(frozen=True)
class Sight:
    """All runs below a folder at one moment, the most telling first. at: that moment, seconds since 1970."""

    runs: list[Seen]
    at: float
    sweeps: list[dict[str, Any]] = field(default_factory=list)
    """What launchers have left: command, commit, started, runs."""

    @property
    def counts(self) -> Counter[str]:
        return Counter(run.state for run in self.runs)

    @property
    def going(self) -> bool:
        return any(run.state in GOING for run in self.runs)

    @property
    def code(self) -> int:
        """0: all finished. 1: some run is in a bad way. 2: none is, and some are to come."""
        return 1 if any(run.state in BAD for run in self.runs) else 2 if self.going else 0

    @property
    def rate(self) -> float:
        return sum(run.rate or 0.0 for run in self.runs if run.state == "running")

    @property
    def left(self) -> float | None:
        """Seconds until the last run ends, if what runs now goes on at its pace and what waits follows at the
        same FLOPs a second; None where that cannot be known."""
        running = [run for run in self.runs if run.state == "running" and run.left is not None]
        waiting = [run for run in self.runs if run.state == "waiting"]
        if not running:
            return None
        longest = max(run.left or 0.0 for run in running)
        if not waiting:
            return longest
        todo = [_todo(run) for run in (*running, *waiting)]
        pace = sum((_todo(run) or 0.0) / run.left for run in running if run.left)
        if None in todo or not pace:
            return None
        return max(longest, sum(flops or 0.0 for flops in todo) / pace)


def _todo(run: Seen) -> float | None:
    return None if run.whole is None else max(run.whole - run.flops, 0.0)


@dataclass(frozen=True)
class Listed:
    """A run as a sweep announces it. since: when, by the clock that stamps files."""

    name: str
    flops: float | None
    since: float


def look(root: Path, *, patience: float) -> Sight:
    """Every run at `root` and below, with those that a sweep there is still to start.

    patience: seconds without a change to any of its files before a run counts as stalled. Raises ValueError
    where there is no run.
    """
    root, now = Path(root), clock(root)
    files = dict(folders(root, {}))
    sweeps = [(folder, _sweep(folder / SWEEP)) for folder, names in files.items() if SWEEP in names]
    listed = {directory: run for folder, sweep in sweeps for directory, run in _listed(folder, sweep)}
    there = {folder for folder, names in files.items() if MARKS & set(names) and SWEEP not in names}
    if not there | listed.keys():
        raise ValueError(f"runs={root}: no run there")
    runs = [
        _seen(folder, files.get(folder, []), listed.get(folder), now, patience)
        for folder in there | listed.keys()
    ]
    runs.sort(key=lambda run: (STATES.index(run.state), run.name, run.directory))
    return Sight(runs, now, [sweep for _, sweep in sweeps if sweep])


def clock(root: Path) -> float:
    """Now, by the clock that stamps files at `root`: on a network folder the server's, not this machine's."""
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # a folder that is only to be read, or none
        return time.time()


def _sweep(path: Path) -> dict[str, Any]:
    """What a launcher announced; {} when that cannot be read: its runs are then seen once they start."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for run in content["runs"]:
            _ = run["name"] + run["directory"], float(run["flops"] or 0)
        return content
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _listed(folder: Path, sweep: dict[str, Any]) -> Iterator[tuple[Path, Listed]]:
    since = _stamp(folder / SWEEP)
    for run in sweep.get("runs", ()):
        yield folder / run["directory"], Listed(run["name"], run["flops"], since)


def _seen(folder: Path, names: Sequence[str], listed: Listed | None, now: float, patience: float) -> Seen:
    since = listed.since if listed else 0.0
    if RECORD in names and (status := _status(folder / RECORD)):
        run, when = _ended(folder, status), status.st_mtime
    else:
        run, when = _under_way(folder, names, now, patience)
    if run.state != "finished" and when < since:
        # The sweep that is going on now has not come to it yet.
        before = f"goes on from step {run.step:,}" if run.step else None
        run = replace(run, state="waiting", reason=before, left=None)
    if listed:
        run = replace(run, name=listed.name, whole=run.whole or listed.flops)
    return run


@cache
def _of_record(directory: str, changed: int, size: int) -> Seen:
    """A record does not change: while a study is watched each is read once."""
    folder = Path(directory)
    try:
        run = Run.load(folder)
    except (OSError, ValueError) as error:
        return Seen(name=folder.name, directory=folder, state="failed", reason=str(error))
    return Seen(
        name=run.name,
        directory=folder,
        state=run.status,
        reason=run.reason,
        architecture=run.architecture,
        N=run.N,
        step=run.step,
        steps=run.steps,
        loss=run.loss,
        rate=run.timing.get("tokens_per_second"),
        flops=run.C,
        whole=run.C * run.steps / run.step if run.step else None,
    )


def _ended(folder: Path, status: os.stat_result) -> Seen:
    return _of_record(str(folder), status.st_mtime_ns, status.st_size)


def _under_way(folder: Path, names: Sequence[str], now: float, patience: float) -> tuple[Seen, float]:
    """A run without a record, and when its files last changed."""
    stamps = {name: _stamp(folder / name) for name in names}
    last = max(stamps.values(), default=0.0)
    beat = max((at for name, at in stamps.items() if name.startswith(CLAIM)), default=0.0)
    moved = max((at for name, at in stamps.items() if not name.startswith(CLAIM)), default=last)
    state = read(folder) if PROGRESS in names else None
    words = last_words(folder / LOG) if LOG in names else None
    seen = Seen(name=folder.name, directory=folder, state="running", reason=None if state else "starting")
    step_seconds = 0.0
    if state is not None:
        step_seconds = state.left / max(state.steps - state.step, 1)
        seen = replace(
            seen,
            architecture=state.architecture,
            N=state.N,
            step=state.step,
            steps=state.steps,
            loss=state.loss,
            rate=state.rate,
            left=state.left,
            flops=state.flops,
            whole=state.flops * state.steps / state.step if state.step else None,
        )
    elif words and words.error and _stamp(folder / LOG) >= last:
        return replace(seen, state="failed", reason=words.line), last
    limit = max(patience, SLOW_STEPS * step_seconds)
    if now - moved > limit:
        why = f"no sign of life for {span(now - last)}"
        if now - beat <= patience:
            why = f"no progress for {span(now - moved)}, though its process lives"
        why += f"; last words: {words.line}" if words else ""
        seen = replace(seen, state="stalled", reason=why, rate=None, left=None)
    return seen, last


@dataclass(frozen=True)
class Words:
    """The last line of a log, and whether it is that of a traceback."""

    line: str
    error: bool


def last_words(log: Path) -> Words | None:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().decode("utf-8", errors="replace").rstrip().splitlines()
    except OSError:
        return None
    if not lines:
        return None
    error = any(line.startswith("Traceback (most recent call last)") for line in lines)
    return Words(lines[-1].strip(), error and not lines[-1].startswith(" "))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # it was there a moment ago
        return None


def _stamp(path: Path) -> float:
    status = _status(path)
    return status.st_mtime if status else 0.0


def span(seconds: float) -> str:
    """12 s, 3:05 min, 5:07 h, 2.5 d."""
    minutes, rest = divmod(round(seconds), 60)
    hours, sixtieth = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours / 24:.1f} d"
    if hours:
        return f"{hours}:{sixtieth:02d} h"
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
