"""The training loop: one run, or several of one shape side by side. All come through here."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from scalelaw.company import Company
from scalelaw.contracts import BadInput
from scalelaw.job import Job
from scalelaw.meeting import varies
from scalelaw.parallel import Alone, Parallel
from scalelaw.run import Run
from scalelaw.step import Step, deterministic
from scalelaw.stopping import stop_signals
from scalelaw.trainee import Trainee


def train(jobs: Sequence[Job]) -> list[Run]:
    """Train the models and write their records; a finished run returns the record it already has.

    Runs that are trained together differ in seed, rates, schedule or budget alone. Each has the losses it
    would have by itself: the same bits where batched products are those of single ones, as on CPUs, and where
    nothing is compiled. Those that differ in their budget alone, under a schedule whose beginning does not
    depend on it, are one computation until the shorter one's rate decays (`Schedule.shared`).

    Raises BadInput before any work when the parts of a job do not fit together, or jobs do not fit each
    other. A loss that is not finite ends a run as `diverged`; SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 end all as
    `interrupted`, with a checkpoint to go on from, or are left to the handler they had before, once the
    checkpoint is written; an exception in one run ends it as `failed`, and is raised on after the others, and
    so is BadInput for a run that another process is training.
    """
    deterministic()  # what comes before the first step too, as a stage's look at its parent
    parallel = _parallel(jobs)
    with ExitStack() as held, stop_signals() as signals:
        held.enter_context(parallel.joined(jobs[0].device))
        company = Company(jobs, parallel)
        company.claim(held)
        with company.everyone(signals):
            company.begin()
            step: Step | None = None
            while company.live:
                start, before = time.monotonic(), list(company.live)
                drawn = company.batches()
                if not drawn:
                    continue
                computing = [trainee for trainee, _ in drawn]
                if step is None or step.models != [trainee.model for trainee in computing]:
                    step = _step(computing)
                results = step.backward([batch for _, batch in drawn], computing[0].batch_tokens)
                for (leader, batch), (total, norm) in zip(drawn, results, strict=True):
                    for trainee in company.led_by(leader):
                        with company.own(trainee):
                            trainee.update(batch, total, norm, computed=trainee is leader)
                seconds = (time.monotonic() - start) / len(computing)
                for trainee in computing:
                    trainee.spent.seconds += seconds
                company.part()
                if not company.live:
                    break
                stop, due = parallel.largest(signals.first(), company.live[0].due())
                # With other company the same sums may be taken in another order: a run that goes on from here
                # after a kill has to find itself in the same.
                if stop or due or company.live != before:
                    company.save()
                if stop and not signals.handed_on():
                    company.interrupt(stop)
    return company.records()


def _parallel(jobs: Sequence[Job]) -> Parallel:
    """How the processes share the one run, if there are several."""
    if len(jobs) > 1 and not all(isinstance(job.parallel, Alone) for job in jobs):
        raise BadInput("several runs in one process and several processes for one run exclude each other")
    return jobs[0].parallel


def _step(trainees: Sequence[Trainee]) -> Step:
    job = trainees[0].job
    if job.compile:
        # Shapes seen before, in other company too, would make these kernels others than in a fresh process
        # that goes on from here; and past eight of them torch compiles no more.
        torch.compiler.reset()
    losses = [trainee.loss for trainee in trainees if trainee.loss is not None]
    return Step(
        [trainee.model for trainee in trainees],
        precision=job.precision,
        compile=job.compile,
        device=job.device,
        clip=job.clip,
        varied=varies(job.objective, job.window, job.rows),
        parallel=job.parallel,
        losses=losses or None,
    )
