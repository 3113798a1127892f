"""One process a run, a bounded number at a time; a job that dies is one failed row, never a dead sweep."""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.scalelaw_local.view import View
from scalelaw.run import RECORD, Run

LOG = "log.txt"
GRACE = 30.0  # seconds a run gets to write its checkpoint when the sweep is stopped
# Read when a process starts, so they are set before the workers are: every run computes on its own threads,
# and freed blocks stay in the process instead of being mapped and zeroed anew at each step.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
}


@dataclass(frozen=True)
class Job:
    index: int
    name: str
    directory: Path
    config: DictConfig

    def record(self) -> Run | None:
        """What the run left, if it can be read; a torn record is no record."""
        try:
            return Run.load(self.directory) if (self.directory / RECORD).exists() else None
        except ValueError:
            return None


class LocalLauncher(Launcher):
    """Composes every job first, then runs them through a fork server that has torch imported already."""

    def __init__(self, slots: int | None, preload: Sequence[str]) -> None:
        self.slots = slots or os.cpu_count() or 1
        self.preload = list(preload)
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.entry = ("", "")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        module: Any = sys.modules[task_function.__module__]
        # `python -m package.module` runs as __main__; workers must find it under its own name.
        name = module.__spec__.name if module.__name__ == "__main__" else module.__name__
        self.entry = (name, task_function.__name__)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        jobs = self._compose(job_overrides, initial_job_idx)
        waiting = [job for job in jobs if not ((run := job.record()) and run.finished)]
        outcomes: dict[int, str | None] = {job.index: None for job in jobs}
        with View(skipped=len(jobs) - len(waiting), waiting=[job.name for job in waiting]) as view:
            if waiting:
                outcomes |= self._run(waiting, view)
        return [self._job_return(job, outcomes[job.index]) for job in jobs]

    def _compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Freeze every config before anything runs; two jobs in one directory are an error of the study."""
        assert self.hydra_context is not None
        assert self.config is not None
        jobs: dict[Path, Job] = {}
        for index, overrides in enumerate(job_overrides, start=first):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = str(index), index
            HydraConfig.instance().set_config(config)
            directory = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
            if directory in jobs:
                raise HydraException(f"two runs of the study are the same: {directory.name}")
            jobs[directory] = Job(index, directory.name, directory, config)
        return list(jobs.values())

    def _run(self, waiting: list[Job], view: View) -> dict[int, str | None]:
        """Run the jobs; for each index None when it finished, else why it did not."""
        os.environ.update(ENVIRONMENT)
        kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(kind)
        if kind == "forkserver":
            context.set_forkserver_preload(self.preload)
        queue, running, outcomes = (
            list(waiting),
            dict[int, tuple[BaseProcess, Job]](),
            dict[int, str | None](),
        )
        before = signal.signal(signal.SIGTERM, _exit_on_signal)
        try:
            while queue or running:
                while queue and len(running) < self.slots:
                    job = queue.pop(0)
                    job.directory.mkdir(parents=True, exist_ok=True)
                    process = context.Process(
                        target=_work,
                        args=(self.entry, self.hydra_context, job),
                    )
                    process.start()
                    running[process.sentinel] = (process, job)
                    view.started(job.name, job.directory)
                for sentinel in connection.wait(list(running), timeout=view.interval):
                    process, job = running.pop(sentinel)  # pyright: ignore[reportArgumentType]
                    process.join()
                    run, why = _outcome(job, process.exitcode)
                    outcomes[job.index] = why
                    view.ended(job.name, run, why)
                view.refresh()
        finally:
            for process, _ in running.values():
                process.terminate()
            deadline = time.monotonic() + GRACE
            for process, _ in running.values():
                process.join(max(0.0, deadline - time.monotonic()))
                process.kill()  # does nothing to one that has ended
            signal.signal(signal.SIGTERM, before)
        return outcomes

    def _job_return(self, job: Job, why: str | None) -> JobReturn:
        result = JobReturn()
        result.overrides = list(job.config.hydra.overrides.task)
        result.cfg, result.hydra_cfg = job.config, job.config
        result.working_dir, result.task_name = str(job.directory), job.name
        result.status = JobStatus.COMPLETED if why is None else JobStatus.FAILED
        result.return_value = None if why is None else HydraException(f"{job.name}: {why}")
        return result


def _outcome(job: Job, exitcode: int | None) -> tuple[Run | None, str | None]:
    """The record a process left and, where it did not finish, the reason in one line."""
    run = job.record()
    if run is not None and exitcode == 0 and run.finished:
        return run, None
    if exitcode is not None and exitcode < 0:
        return run, f"killed by {signal.Signals(-exitcode).name}"
    if run is not None and run.reason:
        return run, f"{run.status}: {run.reason}"
    return run, f"{_last_line(job.directory / LOG)} ({job.directory / LOG})"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "ended without a word"


def _work(entry: tuple[str, str], hydra_context: HydraContext, job: Job) -> None:
    """A worker's whole life: one job, its output in its own log, its parent watched."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    with (job.directory / LOG).open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        setup_globals()
        JobRuntime.instance().set("name", job.config.hydra.job.name)
        module, name = entry
        command = getattr(importlib.import_module(module), name)
        result = run_job(
            task_function=getattr(command, "task", command),
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=hydra_context,
            configure_logging=True,
        )
        if result.status == JobStatus.FAILED:
            error: Any = result._return_value
            traceback.print_exception(error)
            sys.exit(1)


def _follow_parent() -> None:
    """When the sweep dies, even by SIGKILL, its runs stop too, each with a checkpoint."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _exit_on_signal(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
