"""Processes that stay: so many bundles of jobs at a time, and what dies costs the bundle it had."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from hydra_plugins.scalelaw_local._worker import Job, Question, Task, work

STILL = "hydra_plugins.scalelaw_local._still"
GRACE = 30.0  # seconds a run gets to write its checkpoint when it is stopped


@dataclass(frozen=True)
class Watch:
    """Who is told while bundles run. started: of every job. ended: of every bundle, with the reason where its
    worker did not live to its end; what it returns is run as well, last. tick: at least every `interval`
    seconds."""

    started: Callable[[Job], None]
    ended: Callable[[list[Job], str | None], list[list[Job]]]
    tick: Callable[[], None]
    interval: float


@dataclass
class Worker:
    """One process and its bundle. deadline: when it is to be stopped. stopped: when it was asked to."""

    process: BaseProcess
    pipe: connection.Connection
    slot: int
    jobs: list[Job] = field(default_factory=list)
    deadline: float = float("inf")
    stopped: float | None = None


class Pool:
    """Workers, made when they are first needed, one a slot.

    slots: the environment of each. threads: of a worker. preload: modules imported once, before the workers
    are forked; torch is most of what a short run would wait for. timeout: seconds a worker may take for each
    job of a bundle; None: as long as it takes.
    """

    def __init__(
        self,
        task: Task,
        slots: Sequence[dict[str, str]],
        *,
        threads: int,
        preload: Sequence[str],
        timeout: float | None,
    ) -> None:
        self.task, self.slots, self.timeout = task, list(slots), timeout
        os.environ.update(environment(threads))
        self.context = forking(preload)
        if self.context.get_start_method() == "forkserver":
            from multiprocessing import forkserver

            forkserver.ensure_running()  # it imports while the sweep is still being composed
        self.workers: dict[int, Worker] = {}

    def ask(self, name: str, jobs: Sequence[Job]) -> list[Any]:
        """By the first worker, so that torch is loaded once; None for all jobs when it dies of it."""
        if not jobs:
            return []
        worker = self.workers.get(0) or self._start(0)
        try:
            worker.pipe.send(Question(name, list(jobs)))
            answer = worker.pipe.recv()
        except BaseException as error:
            worker.process.kill()
            del self.workers[0]
            if isinstance(error, EOFError | OSError):
                return [None] * len(jobs)
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, bundles: Sequence[list[Job]], watch: Watch) -> None:
        """Run the bundles, the first ones first."""
        queue = list(bundles)
        while queue or any(worker.jobs for worker in self.workers.values()):
            for slot in range(len(self.slots)):
                if queue and not (slot in self.workers and self.workers[slot].jobs):
                    self._give(slot, queue.pop(0), watch)
            busy = [worker for worker in self.workers.values() if worker.jobs]
            handles = {handle: w for w in busy for handle in (w.pipe, w.process.sentinel)}
            ready = connection.wait(list(handles), timeout=watch.interval)
            for worker in {id(handles[h]): handles[h] for h in ready}.values():  # pyright: ignore[reportArgumentType]
                jobs = worker.jobs
                queue += watch.ended(jobs, self._outcome(worker))
            for worker in busy:
                self._watch(worker)
            watch.tick()

    def close(self) -> None:
        """Stop what runs, with a checkpoint if it can write one."""
        for worker in self.workers.values():
            worker.pipe.close()  # nothing more is to come
            if worker.jobs:
                worker.process.terminate()
        deadline = time.monotonic() + GRACE
        for worker in self.workers.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.process.kill()  # does nothing to one that has ended
        self.workers.clear()

    def _give(self, slot: int, jobs: list[Job], watch: Watch) -> None:
        worker = self.workers.get(slot) or self._start(slot)
        for job in jobs:
            job.directory.mkdir(parents=True, exist_ok=True)
            watch.started(job)
        worker.jobs = jobs
        if self.timeout is not None:
            worker.deadline = time.monotonic() + self.timeout * len(jobs)
        worker.pipe.send(jobs)

    def _start(self, slot: int) -> Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=work, args=(theirs, self.task, self.slots[slot]))
        process.start()
        theirs.close()
        self.workers[slot] = Worker(process, ours, slot)
        return self.workers[slot]

    def _outcome(self, worker: Worker) -> str | None:
        """Take the bundle back: None when the worker has answered, else why it could not. A worker that was
        stopped is not used again."""
        late = worker.stopped is not None
        try:
            worker.pipe.recv()
            why = None
        except (EOFError, OSError):
            worker.process.join()
            why = _exit(worker.process.exitcode)
        if why is not None or late:
            worker.process.kill()
            del self.workers[worker.slot]
        worker.jobs = []
        worker.deadline = float("inf")
        return f"stopped after {self.timeout:g} s (hydra.launcher.timeout)" if late else why

    def _watch(self, worker: Worker) -> None:
        """Stop a worker whose time is up: first so that it can write a checkpoint, then by force."""
        now = time.monotonic()
        if worker.stopped is None and now > worker.deadline:
            worker.stopped = now
            worker.process.terminate()
        elif worker.stopped is not None and now > worker.stopped + GRACE:
            worker.process.kill()


def forking(preload: Sequence[str]) -> Any:
    """What starts processes: where the machine can, by forking one that has these modules loaded. They are to
    begin with `settled`."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([STILL, *preload])
    return context


def environment(threads: int) -> dict[str, str]:
    """What is read when a process starts, and so is set before the workers do: their threads, and that freed
    blocks stay in a process instead of being mapped and zeroed anew at each step."""
    threaded = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    blocks = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    return {name: str(threads) for name in threaded} | {name: str(1 << 32) for name in blocks}


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"its process ended with status {code}"


def cores() -> int:
    """Those this process may use, which in a container or a job are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
