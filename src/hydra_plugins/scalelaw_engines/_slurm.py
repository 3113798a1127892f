"""Slurm through submitit: each bundle an element of a job array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import submitit  # pyright: ignore[reportMissingImports]

from hydra_plugins.scalelaw_engines._engine import Engine, work
from hydra_plugins.scalelaw_local._worker import Job, Task


class Slurm(Engine):
    """folder: for submitit's files. max_num_timeout: times a job whose time is up is queued again.
    parameters: sbatch's, under their own names, and submitit's."""

    every = 2.0

    def __init__(self, task: Task, *, folder: str, max_num_timeout: int, **parameters: Any) -> None:
        self.work = Work(task)
        self.executor = submitit.SlurmExecutor(folder, max_num_timeout=max_num_timeout)
        self.executor.update_parameters(**parameters)

    def submit(self, bundles: Sequence[list[Job]]) -> list["SlurmJob"]:
        submitted = self.executor.map_array(self.work, bundles) if bundles else []
        return [SlurmJob(bundle, job) for bundle, job in zip(bundles, submitted, strict=True)]

    def close(self) -> None:
        """Jobs are the cluster's: they go on when the sweep does not."""


@dataclass(frozen=True)
class Work:
    task: Task

    def __call__(self, jobs: list[Job]) -> None:
        work(self.task, jobs)

    def checkpoint(self, jobs: list[Job]) -> submitit.helpers.DelayedSubmission:
        """What submitit queues again when the job's time is up or it has to make room."""
        return submitit.helpers.DelayedSubmission(self, jobs)


@dataclass
class SlurmJob:
    jobs: list[Job]
    submitted: submitit.Job

    def begun(self) -> bool:
        return self.submitted.paths.stdout.exists()

    def over(self) -> bool:
        return self.submitted.done()

    def why(self) -> str | None:
        if self.submitted.exception() is None:
            return None
        return f"Slurm job {self.submitted.job_id} is {self.submitted.state} ({self.submitted.paths.stderr})"
