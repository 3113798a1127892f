"""What a worker does: it takes bundles of jobs until there are no more, and speaks into their logs."""

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig

from scalelaw.provenance import freeze
from scalelaw.run import LOG


@dataclass(frozen=True)
class Job:
    """One run of the study: its place in it, and its config as it was composed at the start."""

    index: int
    name: str
    directory: Path
    config: DictConfig


@dataclass(frozen=True)
class Task:
    """prepare: full name of the function that makes of a config what `train`, another, takes a list of.
    commit: of the code, as it was when the sweep began. devices: processes that share each run."""

    prepare: str
    train: str
    commit: str | None
    devices: int
    hydra_context: HydraContext | None


@dataclass(frozen=True)
class Question:
    """What a worker is asked beside its runs: `told` of these."""

    name: str
    jobs: list[Job]


def told(name: str, jobs: Sequence[Job]) -> list[Any]:
    """What the function of that full name says of each config; None where one is wrong, which the log of its
    job will say."""
    setup_globals()
    function = get_method(name)
    found = []
    for job in jobs:
        HydraConfig.instance().set_config(job.config)
        try:
            found.append(function(job.config))
        except Exception:
            found.append(None)
    return found


def work(pipe: connection.Connection, task: Task, environment: dict[str, str]) -> None:
    """A worker's whole life. It answers each question, and each bundle when it is done with it, whatever came
    of it: that is in the runs' records and logs."""
    settled()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runs, which listen while they train
    threading.Thread(target=_follow_parent, daemon=True).start()
    setup_globals()
    freeze(task.commit)
    with suppress(EOFError, BrokenPipeError):
        while True:
            asked = pipe.recv()
            pipe.send(_answer(asked) if isinstance(asked, Question) else run_bundle(task, asked))


def settled() -> None:
    """Look for garbage, but never in what is loaded by now: a look would copy what forks share."""
    gc.freeze()
    gc.enable()


def _answer(question: Question) -> list[Any] | Exception:
    try:
        return told(question.name, question.jobs)
    except Exception as error:  # there is no such function
        return error


def run_bundle(task: Task, jobs: Sequence[Job]) -> None:
    if task.devices == 1:
        return _run(task, jobs)
    from scalelaw.parallel import spawn  # torch's agent is loaded where it is wanted

    with _speaking_in(jobs[0].directory / LOG):
        try:
            spawn(task.devices, share, task, jobs)
        except Exception as error:
            traceback.print_exception(error)


def share(task: Task, jobs: Sequence[Job]) -> None:
    """What each of several processes of one run does."""
    setup_globals()
    freeze(task.commit)
    _run(task, jobs)


def _run(task: Task, jobs: Sequence[Job]) -> None:
    prepare, train = map(get_method, (task.prepare, task.train))
    ready = [(job, made) for job in jobs if (made := _prepared(job, prepare, task.hydra_context)) is not None]
    if not ready:
        return
    first = ready[0][0]
    for job, _ in ready[1:]:
        with (job.directory / LOG).open("a") as log:
            log.write(f"trained side by side with {first.name}, whose log has the rest\n")
    with _speaking_in(first.directory / LOG):
        try:
            train([made for _, made in ready])
        except Exception as error:
            traceback.print_exception(error)


def _prepared(job: Job, prepare: TaskFunction, hydra_context: HydraContext | None) -> Any:
    """What `prepare` makes of the job's config; None when it cannot, and the job's log says why."""
    with _speaking_in(job.directory / LOG):
        JobRuntime.instance().set("name", job.config.hydra.job.name)
        result = run_job(
            task_function=prepare,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=hydra_context,  # pyright: ignore[reportArgumentType]
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
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
