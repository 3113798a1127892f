"""What all engines share: bundles are handed over, and looked after until each has ended."""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from hydra.core.utils import setup_globals

from hydra_plugins.scalelaw_local._pool import Watch
from hydra_plugins.scalelaw_local._worker import Job, Task, run_bundle, told


class Handle(Protocol):
    """One bundle at the engine."""

    jobs: list[Job]

    def begun(self) -> bool: ...

    def over(self) -> bool: ...

    def why(self) -> str | None:
        """Of one that is over: None when it came to its end, whatever its runs say; else what stopped it."""
        ...


class Engine(ABC):
    every: float
    """Seconds between looks."""

    @abstractmethod
    def submit(self, bundles: Sequence[list[Job]]) -> list[Handle]: ...

    def ask(self, name: str, jobs: Sequence[Job]) -> list[Any]:
        return told(name, jobs)

    def run(self, bundles: Sequence[list[Job]], watch: Watch) -> None:
        """As `Pool.run`; the engine decides how many run at a time, and in which order."""
        waiting, running = self.submit(bundles), list[Handle]()
        while waiting or running:
            for handle in [handle for handle in waiting if handle.begun() or handle.over()]:
                waiting.remove(handle)
                running.append(handle)
                for job in handle.jobs:
                    watch.started(job)
            for handle in [handle for handle in running if handle.over()]:
                running.remove(handle)
                if again := watch.ended(handle.jobs, handle.why()):
                    waiting += self.submit(again)
            watch.tick()
            time.sleep(max(self.every, watch.interval))


def work(task: Task, jobs: Sequence[Job]) -> None:
    """What the engine runs. The record names the commit that is checked out when the job starts."""
    for job in jobs:
        job.directory.mkdir(parents=True, exist_ok=True)
    setup_globals()
    with _voice_given_back():
        run_bundle(task, jobs)


@contextmanager
def _voice_given_back() -> Iterator[None]:
    """Runs speak into their own logs, and the engine into its own again when they are over."""
    sys.stdout.flush()
    sys.stderr.flush()
    streams, files = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for number, file in enumerate(files, start=1):
            os.dup2(file, number)
            os.close(file)
