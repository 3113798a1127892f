"""Runs on this machine: every config frozen first, then so many at a time; what dies is failed rows, no dead
sweep. (Hydra looks for plugins in every module here, and loads it anew, unless its name begins with "_".)"""

import json
import math
import os
import pkgutil
import signal
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.scalelaw_local._composer import Composer
from hydra_plugins.scalelaw_local._pool import Pool, Watch, cores
from hydra_plugins.scalelaw_local._worker import Job, Task, told
from hydra_plugins.scalelaw_local.view import View
from scalelaw.provenance import commit, utc
from scalelaw.run import LOG, RECORD, SWEEP, Run, write_atomically
from scalelaw.status import last_words

Ask = Callable[[str, Sequence[Job]], list[Any]]
Ended = tuple[Run | None, str | None]
"""The record that a job left and, where it did not finish, the reason in one line."""


class Workers(Protocol):
    """Who runs the bundles: processes of this machine, or a cluster's engine."""

    def ask(self, name: str, jobs: Sequence[Job]) -> list[Any]:
        """As `_worker.told`, wherever torch is loaded soonest."""
        ...

    def run(self, bundles: Sequence[list[Job]], watch: Watch) -> None: ...

    def close(self) -> None: ...


class StudyLauncher(Launcher):
    """Composes every job first, then has those that are not finished run, each to a row of its own.

    together: runs that one worker trains side by side, at most, where they differ in the keys `apart` alone;
    None: as many as `pays` says, and no more than leave work for every worker.
    devices: processes that share each run, where its `parallel` says how. retries: times a run starts again,
    from its checkpoint, when its process was killed or its time was up.
    prepare: full name of the function that makes of a config what `train`, another, takes a list of. cost: of
    the one that predicts a config's FLOPs. pays: of the one that says how many runs of a config are faster
    side by side than in turn.
    """

    preload: Sequence[str] = ()

    def __init__(
        self,
        *,
        together: int | None,
        apart: Sequence[str],
        devices: int,
        retries: int,
        prepare: str,
        train: str,
        cost: str,
        pays: str,
    ) -> None:
        _whole("together", 1 if together is None else together, at_least=1)
        _whole("devices", devices, at_least=1)
        _whole("retries", retries, at_least=0)
        if devices > 1 and together is not None and together > 1:
            raise ValueError(
                "hydra.launcher.together and .devices: several runs a process, or several processes a run"
            )
        self.together = 1 if devices > 1 else together
        self.apart, self.devices, self.retries = list(apart), devices, retries
        self.prepare, self.train, self.cost, self.pays = prepare, train, cost, pays
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    @abstractmethod
    def workers(self, task: Task, config: DictConfig) -> Workers: ...

    @abstractmethod
    def abreast(self, config: DictConfig) -> int:
        """Workers at a time, as far as this machine knows."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        assert self.config is not None
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise HydraException(
                "torchrun around a sweep: say hydra.launcher.devices, and each run gets its own"
            )
        setup_globals()
        task = Task(self.prepare, self.train, commit(), self.devices, self.hydra_context)
        workers = self.workers(task, self.config)
        with _terminated_as_exit():
            try:
                jobs = self._compose(job_overrides, initial_job_idx)
                ended: dict[int, Ended] = {job.index: (record(job), None) for job in jobs}
                waiting = [job for job in jobs if not ((run := ended[job.index][0]) and run.finished)]
                flops = said(workers.ask, "cost", self.cost, waiting)
                costs = {job.index: cost for job, cost in zip(waiting, flops, strict=True)}
                self._announce(jobs, costs, task.commit)
                with View(skipped=len(jobs) - len(waiting), waiting=[job.name for job in waiting]) as view:
                    ended |= self._run(workers, waiting, costs, view)
            finally:
                workers.close()
        return [_job_return(job, *ended[job.index]) for job in jobs]

    def _compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Freeze every config before anything runs; two jobs in one directory are an error of the study."""
        assert self.hydra_context is not None
        assert self.config is not None
        compose = Composer(self.hydra_context.config_loader, self.config)
        jobs: dict[Path, Job] = {}
        for index, overrides in enumerate(job_overrides, start=first):
            config = compose(overrides)
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = str(index), index
            HydraConfig.instance().set_config(config)
            directory = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
            if directory in jobs:
                raise HydraException(f"two runs of the study are the same: {directory.name}")
            jobs[directory] = Job(index, directory.name, directory, config)
        return list(jobs.values())

    def _announce(self, jobs: Sequence[Job], costs: dict[int, float | None], commit: str | None) -> None:
        """Leave the list of all runs: those that have not begun have left nothing else. What earlier starts
        of the study were about stays in it."""
        assert self.config is not None
        path = Path(self.config.hydra.sweep.dir) / SWEEP
        about = {
            "command": " ".join(["python -m experiments.train", *sys.argv[1:]]),
            "commit": commit,
            "started": utc(),
        }
        runs: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            runs = {run["name"]: run for run in json.loads(path.read_text())["runs"]}
        for job in jobs:
            directory = os.path.relpath(job.directory, path.parent)
            flops = costs.get(job.index, runs.get(job.name, {}).get("flops"))
            runs[job.name] = {"name": job.name, "directory": directory, "flops": flops}
        write_atomically(path, json.dumps(about | {"runs": list(runs.values())}, indent=1) + "\n")

    def _run(
        self, workers: Workers, waiting: list[Job], costs: dict[int, float | None], view: View
    ) -> dict[int, Ended]:
        """Run the jobs; by index, how each ended."""
        outcomes: dict[int, Ended] = {}
        left = {job.index: self.retries for job in waiting}

        def started(job: Job) -> None:
            view.started(job.name, job.directory)

        def ended(jobs: list[Job], why: str | None) -> list[list[Job]]:
            again = []
            for job in jobs:
                run, reason = outcome(job, why)
                killed = why is not None or (run is not None and run.status == "interrupted")
                if killed and reason is not None and left[job.index]:
                    left[job.index] -= 1
                    view.again(job.name, reason)
                    again.append([job])  # alone: what killed the bundle may have been another's
                else:
                    outcomes[job.index] = run, reason
                    view.ended(job.name, run, reason)
            return again

        def costly(bundle: list[Job]) -> float:
            return sum(math.inf if (cost := costs[job.index]) is None else cost for job in bundle)

        # What is wrong in a config shows at once, and the longest work does not come last and alone.
        bundles = sorted(self.bundles(waiting, workers.ask), key=costly, reverse=True)
        workers.run(bundles, Watch(started, ended, view.refresh, view.interval))
        return outcomes

    def bundles(self, jobs: Sequence[Job], ask: Ask = told) -> list[list[Job]]:
        """What one worker trains at a time: jobs that differ in the keys `apart` alone, as many as may be
        together, those that differ in their budget alone next to each other. In the order of the study."""
        if self.together == 1 or not jobs:
            return [[job] for job in jobs]
        shared_out = math.ceil(len(jobs) / self.abreast(jobs[0].config))
        alike: dict[str, dict[str, list[Job]]] = {}
        for job in jobs:
            parts = _parts(job)
            families = alike.setdefault(_key(parts, self.apart), {})
            families.setdefault(_key(parts, ["budget"]), []).append(job)
        groups = [[job for family in families.values() for job in family] for families in alike.values()]
        if self.together is None:
            pays = said(ask, "pays", self.pays, [group[0] for group in groups])
            most = [min(shared_out, number or 1) for number in pays]
        else:
            most = [self.together] * len(groups)
        bundles = []
        for group, n in zip(groups, most, strict=True):
            bundles += [group[i : i + n] for i in range(0, len(group), n)]
        return sorted(bundles, key=lambda bundle: min(job.index for job in bundle))


class LocalLauncher(StudyLauncher):
    """Workers on this machine that live as long as the sweep.

    slots: workers; None: one for each core, `threads` being 1, or for each part of a GPU. slots_per_gpu: of
    those. timeout: seconds a run may take, None for no limit. preload: modules that workers find imported;
    "package.*" stands for all modules of a package.
    """

    def __init__(
        self,
        *,
        slots: int | None,
        slots_per_gpu: int,
        timeout: float | None,
        preload: Sequence[str],
        **study: Any,
    ) -> None:
        super().__init__(**study)
        _whole("slots", 1 if slots is None else slots, at_least=1)
        _whole("slots_per_gpu", slots_per_gpu, at_least=1)
        if timeout is not None and not timeout > 0:
            raise ValueError(f"hydra.launcher.timeout is a positive number of seconds, not {timeout!r}")
        self.slots, self.slots_per_gpu, self.timeout = slots, slots_per_gpu, timeout
        self.preload = list(preload)

    def workers(self, task: Task, config: DictConfig) -> Pool:
        preload = list(modules(self.preload))
        slots = self.places(config)
        return Pool(task, slots, threads=config.threads, preload=preload, timeout=self.timeout)

    def abreast(self, config: DictConfig) -> int:
        return len(self.places(config))

    def places(self, config: DictConfig) -> list[dict[str, str]]:
        """The environment of each worker: on GPUs each sees its own."""
        if not str(config.device).startswith("cuda"):
            return [{}] * (self.slots or max(1, cores() // (config.threads * self.devices)))
        import torch  # only it knows how many there are

        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
        if not gpus:
            raise HydraException("device=cuda: torch sees no GPU")
        if len(gpus) < self.devices:
            raise HydraException(f"hydra.launcher.devices={self.devices}, and torch sees {len(gpus)} GPUs")
        groups = [gpus[i : i + self.devices] for i in range(0, len(gpus) - self.devices + 1, self.devices)]
        places = self.slots or len(groups) * self.slots_per_gpu
        return [{"CUDA_VISIBLE_DEVICES": ",".join(groups[i % len(groups)])} for i in range(places)]


def said(ask: Ask, key: str, name: str, jobs: Sequence[Job]) -> list[Any]:
    """What the function of that name says of each job. Raises HydraException for a name of none."""
    try:
        return ask(name, jobs)
    except (ImportError, ValueError, AttributeError) as error:
        raise HydraException(f"hydra.launcher.{key}={name} is not the name of a function: {error}") from None


def record(job: Job) -> Run | None:
    """What the run left, if it can be read; a torn record is no record."""
    try:
        return Run.load(job.directory) if (job.directory / RECORD).exists() else None
    except ValueError:
        return None


def outcome(job: Job, why: str | None) -> Ended:
    """How a job ended. why: its worker did not come back."""
    run = record(job)
    if run is not None and run.finished:
        return run, None
    if why is not None:
        return run, why
    if run is not None and run.reason:
        return run, f"{run.status}: {run.reason}"
    words = last_words(job.directory / LOG)
    return run, f"{words.line if words else 'ended without a word'} ({job.directory / LOG})"


def _parts(job: Job) -> dict[str, Any]:
    """Of the job's config, resolved, what the run is made from."""
    return {
        str(key): OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in job.config.items()
        if key != "hydra"
    }


def _key(parts: Mapping[str, Any], apart: Sequence[str]) -> str:
    """The same for jobs that differ in the keys `apart` alone."""
    return json.dumps({key: value for key, value in parts.items() if key not in apart}, sort_keys=True)


def _job_return(job: Job, run: Run | None, why: str | None) -> JobReturn:
    result = JobReturn()
    result.overrides = list(job.config.hydra.overrides.task)
    result.cfg, result.hydra_cfg = job.config, job.config
    result.working_dir, result.task_name = str(job.directory), job.name
    result.status = JobStatus.COMPLETED if why is None else JobStatus.FAILED
    # The loss is what optimising sweepers ask for.
    result.return_value = run and run.told if why is None else HydraException(f"{job.name}: {why}")
    return result


def modules(preload: Sequence[str]) -> Iterator[str]:
    for name in preload:
        if not name.endswith(".*"):
            yield name
            continue
        package: Any = import_module(name.removesuffix(".*"))
        yield from (module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


def _whole(key: str, value: object, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"hydra.launcher.{key} is a whole number from {at_least} on, not {value!r}")


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """SIGTERM to the sweep is an exception in it, so that its workers are stopped in order."""

    def handle(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
