"""Seconds and bytes of a study's processes on this machine, from a few steps of each distinct one.

Every measurement is a process of its own under the launcher's environment, as many at a time as the launcher
has slots, so that they are in each other's way as the study's will be. What they do is what the study does:
`scalelaw.train` on the study's own data with its tracker, cut short, in a folder that is thrown away.
"""

import copy
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.identity import plain
from experiments.job import prepare
from hydra_plugins.scalelaw_local._pool import environment, forking
from hydra_plugins.scalelaw_local._worker import settled
from scalelaw.checkpoint import Checkpoints
from scalelaw.contracts import Batch
from scalelaw.job import Job
from scalelaw.models.base import LanguageModel
from scalelaw.run import Run
from scalelaw.step import autocast
from scalelaw.train import train
from scalelaw.trainee import Trainee

# What decides how long a step of so many runs takes; seeds, rates and budgets do not.
ALIKE = ("architecture", "objective", "data", "shape", "window", "rows", "precision", "compile", "device")
ALIKE += ("threads", "log_every", "tracker", "evaluation")
WARM = 3  # steps that are not timed: the first ones allocate, and fill what is filled once
FEWEST = 4  # steps that are, however slow
WINDOWS = 64  # validation windows at most that an evaluation is timed on: a chunk of `scalelaw.evaluate`


@dataclass(frozen=True)
class Process:
    """What a process of a study takes.

    overhead: seconds beside steps and evaluations: preparing data and trackers, writing records. first: what
    the first of a worker takes beyond that, with its start.
    window: seconds of a validation window. step: number of runs computing -> seconds of a step of them all.
    activations: bytes that a forward pass of one run keeps for its backward pass. resident: the most bytes
    that the process held; on a GPU, those of the GPU.
    """

    overhead: float
    first: float
    window: float
    step: dict[int, float]
    activations: int
    resident: int

    def each(self, computing: int) -> float:
        """Seconds of a step of so many runs."""
        return float(np.interp(computing, list(self.step), list(self.step.values())))


@dataclass(frozen=True)
class Measured:
    """start: seconds before a study's first process works. processes: one for each bundle of the study, of
    which `distinct` were measured. took: seconds that measuring took."""

    start: float
    processes: list[Process]
    distinct: int
    took: float


def measure(
    study: Sequence[tuple[Sequence[DictConfig], set[int]]],
    *,
    slots: int,
    preload: Sequence[str],
    seconds: float,
) -> Measured:
    """Time `seconds` of steps for each distinct process of a study.

    study: for each process the configs of its runs, and how many of them compute at a time.
    Raises what a run of the study would raise when it is prepared.
    """
    began = time.monotonic()
    kinds = [_kind(configs) for configs, _ in study]
    distinct: dict[str, tuple[list[DictConfig], set[int]]] = {}
    for kind, (configs, counts) in zip(kinds, study, strict=True):
        distinct[kind] = (list(configs), counts | distinct.get(kind, ([], set()))[1])
    os.environ.update(environment(study[0][0][0].threads))
    with ProcessPoolExecutor(slots, forking(preload), settled, max_tasks_per_child=1) as pool:
        born = [_turnaround(pool) for _ in range(2)]  # the first imports what all others find imported
        # Compiled ones twice: most of a study's processes find in the cache what the first puts there.
        compiled = {kind: at for kind, at in distinct.items() if at[0][0].compile}
        found: dict[str, Process] = {}
        for these in (compiled, distinct):
            asked = {
                kind: pool.submit(_process, configs, _measured(counts), seconds)
                for kind, (configs, counts) in these.items()
            }
            found |= {kind: future.result() for kind, future in asked.items()}
    processes = [replace(found[kind], first=found[kind].first + born[1]) for kind in kinds]
    return Measured(max(0.0, born[0] - born[1]), processes, len(distinct), time.monotonic() - began)


def _kind(configs: Sequence[DictConfig]) -> str:
    """The same for processes that take as long over a step: as many runs, of one seed or of several, since an
    objective that draws draws alike for one seed."""
    first = configs[0]
    seeds = len({config.seed for config in configs})
    return json.dumps([len(configs), seeds, plain(first, ALIKE)], sort_keys=True)


def _measured(counts: set[int]) -> list[int]:
    """Of the numbers of runs that compute at a time, those that are measured; others lie between."""
    low, high = min(counts), max(counts)
    return sorted({low, high} | {1 << k for k in range(high.bit_length()) if low < 1 << k < high})


def _turnaround(pool: ProcessPoolExecutor) -> float:
    start = time.monotonic()
    pool.submit(os.getpid).result()
    return time.monotonic() - start


class Clock(Checkpoints):
    """Asked after every step whether a checkpoint is due, it looks at the clock and says no."""

    def __init__(self) -> None:
        super().__init__(seconds=math.inf, keep=1, weights=False)
        self.ticks: list[float] = []

    def due(self) -> bool:
        self.ticks.append(time.monotonic())
        return False


def _process(configs: list[DictConfig], counts: list[int], seconds: float) -> Process:
    """Measure one process of the study, from the inside."""
    with tempfile.TemporaryDirectory() as folder:
        _speak_in(Path(folder) / "log.txt")
        walls = []
        for turn in ("first", "later"):
            start = time.monotonic()
            jobs = _jobs(configs, WARM, Path(folder) / turn)
            clock, _ = _train(jobs)
            walls.append(time.monotonic() - start)
        looked_at = jobs[0].evaluation.curve_rows + 2 * jobs[0].evaluation.rows
        one = float(np.diff(clock.ticks)[-1]) / len(jobs)
        step, window = {}, 0.0
        for count in counts:
            steps = WARM + max(FEWEST, round(seconds / (one * count)))
            clock, runs = _train(_jobs(configs[:count], steps, Path(folder) / f"{count}"))
            window = sum(run.timing["evaluation_seconds"] for run in runs) / count / looked_at
            step[count] = _typical(np.diff(clock.ticks)[WARM - 1 :], configs[0].log_every)
        return Process(
            overhead=max(
                0.0, walls[1] - len(jobs) * (window * looked_at + WARM * step[counts[-1]] / counts[-1])
            ),
            first=max(0.0, walls[0] - walls[1]),
            window=window,
            step=step,
            activations=activations(Trainee(jobs[0])),
            resident=_resident(configs[0].device),
        )


def _train(jobs: list[Job]) -> tuple[Clock, list[Run]]:
    clock = Clock()
    # Runs that differ in their budget alone are one family, and would have one of them compute for all.
    apart = [
        replace(job, config={**job.config, "measured": number}, checkpoints=clock)
        for number, job in enumerate(jobs)
    ]
    return clock, train(apart)


def _jobs(configs: list[DictConfig], steps: int, folder: Path) -> list[Job]:
    """The study's runs, of `steps` steps and with evaluations on a few windows."""
    jobs = []
    for number, whole in enumerate(configs):
        config = copy.deepcopy(whole)
        with open_dict(config):
            config.budget = {"_target_": "scalelaw.budget.Tokens", "D": steps * config.rows * config.window}
            config.evaluation.points = 1
            for key in ("curve_rows", "rows"):
                config.evaluation[key] = min(config.evaluation[key], WINDOWS)
            if config.tracker.get("mode") == "online":  # what is thrown away is not to be seen there
                config.tracker.mode = "offline"
            OmegaConf.set_readonly(config.hydra, False)
            config.hydra.runtime.output_dir = str(folder / str(number))
        HydraConfig.instance().set_config(config)
        jobs.append(prepare(config))
    return jobs


def _typical(steps: np.ndarray, log_every: int) -> float:
    """Seconds of a step: median over blocks of steps that have one row of the metrics file each, where there
    are three of them, else over steps."""
    blocks = len(steps) // log_every
    if blocks >= 3:
        steps = steps[: blocks * log_every].reshape(blocks, log_every).mean(axis=1)
    return float(np.median(steps))


def activations(trainee: Trainee) -> int:
    """Bytes that a forward pass over one batch of a run keeps for its backward pass."""
    job = trainee.job
    batch = trainee.batch().to(torch.device(job.device))
    return kept(trainee.model, batch, precision=job.precision, device=job.device)


def kept(model: LanguageModel, batch: Batch, *, precision: str, device: str) -> int:
    """Bytes that a forward pass over a batch keeps for the backward pass, parameters left out."""
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with autocast(precision, device):
            model.nll(batch)
        return sum(storage.nbytes() for storage in found.values())


def _resident(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, which systems do not agree on
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _speak_in(path: Path) -> None:
    """What libraries say goes to a file, past Python too."""
    with path.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
