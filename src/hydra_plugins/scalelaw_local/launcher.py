"""One process a run, or a few of one shape, so many at a time; what dies is failed rows, no dead sweep."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict

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

    def key(self, apart: Sequence[str]) -> str:
        """The same for jobs that differ in the keys `apart` alone."""
        kept = {key: value for key, value in self.config.items() if key not in ("hydra", *apart)}
        return json.dumps(OmegaConf.to_container(OmegaConf.create(kept), resolve=True), sort_keys=True)

    def record(self) -> Run | None:
        """What the run left, if it can be read; a torn record is no record."""
        try:
            return Run.load(self.directory) if (self.directory / RECORD).exists() else None
        except ValueError:
            return None


class LocalLauncher(Launcher):
    """Composes every job first, then runs them through a fork server that has torch imported already.

    slots: processes at a time; None: one for each core. together: runs that one process trains side by side,
    at most, where they differ in the keys `apart` alone. prepare: full name of the function that makes of a
    config what `train`, another, takes a list of.
    """

    def __init__(
        self,
        slots: int | None,
        together: int,
        apart: Sequence[str],
        prepare: str,
        train: str,
        preload: Sequence[str],
    ) -> None:
        if not isinstance(together, int) or together < 1:
            raise HydraException(f"hydra.launcher.together is a whole number from 1 on, not {together!r}")
        self.slots = slots or os.cpu_count() or 1
        self.together, self.apart = together, list(apart)
        self.functions = (prepare, train)
        self.preload = list(preload)
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context

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
        queue, running = self.bundles(waiting), dict[int, tuple[BaseProcess, list[Job]]]()
        outcomes: dict[int, str | None] = {}
        before = signal.signal(signal.SIGTERM, _exit_on_signal)
        try:
            while queue or running:
                while queue and len(running) < self.slots:
                    jobs = queue.pop(0)
                    for job in jobs:
                        job.directory.mkdir(parents=True, exist_ok=True)
                        view.started(job.name, job.directory)
                    process = context.Process(target=_work, args=(self.functions, self.hydra_context, jobs))
                    process.start()
                    running[process.sentinel] = (process, jobs)
                for sentinel in connection.wait(list(running), timeout=view.interval):
                    process, jobs = running.pop(sentinel)  # pyright: ignore[reportArgumentType]
                    process.join()
                    for job in jobs:
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

    def bundles(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """What one process trains: jobs of one key, as many as may be together, those that differ in their
        budget alone next to each other. In the order of the study."""
        if self.together == 1:
            return [[job] for job in jobs]
        alike: dict[str, dict[str, list[Job]]] = {}
        for job in jobs:
            families = alike.setdefault(job.key(self.apart), {})
            families.setdefault(job.key(["budget"]), []).append(job)
        bundles = []
        for families in alike.values():
            group = [job for family in families.values() for job in family]
            bundles += [group[i : i + self.together] for i in range(0, len(group), self.together)]
        return sorted(bundles, key=lambda bundle: min(job.index for job in bundle))

    def _job_return(self, job: Job, why: str | None) -> JobReturn:
        result = JobReturn()
        result.overrides = list(job.config.hydra.overrides.task)
        result.cfg, result.hydra_cfg = job.config, job.config
        result.working_dir, result.task_name = str(job.directory), job.name
        result.status = JobStatus.COMPLETED if why is None else JobStatus.FAILED
        run = job.record()  # its loss is what optimising sweepers ask for
        result.return_value = run and run.loss if why is None else HydraException(f"{job.name}: {why}")
        return result


def _outcome(job: Job, exitcode: int | None) -> tuple[Run | None, str | None]:
    """The record a process left and, where it did not finish, the reason in one line."""
    run = job.record()
    if run is not None and run.finished:
        return run, None
    if exitcode is not None and exitcode < 0:
        return run, f"killed by {signal.Signals(-exitcode).name}"
    if run is not None and run.reason:
        return run, f"{run.status}: {run.reason}"
    return run, f"{_last_line(job.directory / LOG)} ({job.directory / LOG})"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "ended without a word"


def _work(functions: tuple[str, str], hydra_context: HydraContext, jobs: list[Job]) -> None:
    """A worker's whole life: its jobs, what they say in their own logs, its parent watched."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    setup_globals()
    prepare, train = map(get_method, functions)
    ready = [(job, made) for job in jobs if (made := _prepared(job, prepare, hydra_context)) is not None]
    if not ready:
        sys.exit(1)
    first = ready[0][0]
    for job, _ in ready[1:]:
        with (job.directory / LOG).open("a") as log:
            log.write(f"trained side by side with {first.name}, whose log has the rest\n")
    with _speaking_in(first.directory / LOG):
        try:
            runs = train([made for _, made in ready])
        except Exception as error:
            traceback.print_exception(error)
            sys.exit(1)
        if len(ready) < len(jobs) or not all(run.finished for run in runs):
            sys.exit(1)


def _prepared(job: Job, prepare: TaskFunction, hydra_context: HydraContext) -> Any:
    """What `prepare` makes of the job's config; None when it cannot, and the job's log says why."""
    with _speaking_in(job.directory / LOG):
        JobRuntime.instance().set("name", job.config.hydra.job.name)
        result = run_job(
            task_function=prepare,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=hydra_context,
            configure_logging=True,
        )
        if result.status == JobStatus.FAILED:
            error: Any = result._return_value
            traceback.print_exception(error)
            return None
        return result.return_value


@contextmanager
def _speaking_in(path: Path) -> Iterator[None]:
    """What this process writes goes to the file: what libraries write beside Python, too."""
    with path.open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        yield


def _follow_parent() -> None:
    """When the sweep dies, even by SIGKILL, its runs stop too, each with a checkpoint."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _exit_on_signal(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
