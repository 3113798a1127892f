"""The training loop: one run, or several of one shape side by side. All come through here."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from signal import Signals

import torch

from scalelaw.claim import claim
from scalelaw.contracts import BadInput, Referring
from scalelaw.meeting import varies
from scalelaw.parallel import Alone, Parallel
from scalelaw.run import Run
from scalelaw.step import Step, deterministic
from scalelaw.stopping import stop_signals
from scalelaw.trainee import Diverged, Job, Trainee, family


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
    if any(job.compile for job in jobs):
        torch.compiler.reset()  # shapes seen before would make these kernels others than in a fresh process
    deterministic()  # what comes before the first step too, as a stage's look at its parent
    ended: dict[str, Run] = {}
    errors: list[Exception] = []
    parallel = _parallel(jobs)
    with ExitStack() as held, stop_signals() as signals:
        held.enter_context(parallel.joined(jobs[0].device))
        trainees = {job.labels.run: Trainee(job) for job in jobs if not job.finished()}
        _fit(list(trainees.values()))
        live: list[Trainee] = []
        for trainee in trainees.values():
            try:
                with parallel.together():
                    if parallel.rank == 0:
                        held.enter_context(claim(trainee.job.directory))
            except BadInput as error:
                errors.append(error)
                continue
            with parallel.together():  # the process that held the claim until now may have finished the run
                live += [] if trainee.job.finished() else [trainee]

        def end(trainee: Trainee, status: str, reason: str | None) -> None:
            live.remove(trainee)
            for follower in live:
                if follower.leader is trainee:
                    follower.fork()
            ended[trainee.job.labels.run] = trainee.end(status, reason)

        def stopped(trainee: Trainee, number: int) -> str:
            if not number:
                return "stopped at once, without a checkpoint"
            return f"{Signals(number).name} after step {trainee.spent.step} of {trainee.plan.steps}"

        @contextmanager
        def own(trainee: Trainee) -> Iterator[None]:
            """What goes wrong in here is this run's affair alone."""
            try:
                yield
            except Diverged as error:
                end(trainee, "diverged", str(error))
            except Exception as error:
                errors.append(error)
                end(trainee, "failed", f"{type(error).__name__}: {error}")

        try:
            for trainee in list(live):
                with own(trainee):
                    with parallel.together():
                        trainee.begin()
                    parallel.same(trainee.spent.step)
            _lead(live)
            step: Step | None = None
            while live:
                start, before = time.monotonic(), list(live)
                computing, batches = [], []
                for trainee in before:
                    if trainee.leader is None:
                        with own(trainee):
                            batches.append(trainee.batch())
                            computing.append(trainee)
                if not computing:
                    continue
                models = [trainee.model for trainee in computing]
                if step is None or step.models != models:
                    step = _step(computing)
                results = step.backward(batches, computing[0].batch_tokens)
                for leader, batch, (total, norm) in zip(computing, batches, results, strict=True):
                    for trainee in [leader, *(t for t in before if t.leader is leader)]:
                        with own(trainee):
                            trainee.update(batch, total, norm, computed=trainee is leader)
                seconds = (time.monotonic() - start) / len(computing)
                for trainee in computing:
                    trainee.spent.seconds += seconds
                for trainee in list(live):
                    if trainee.done():
                        end(trainee, "finished", None)
                    elif trainee.leader is not None and trainee.parts():
                        trainee.fork()
                # With other company the same sums may be taken in another order: a run that goes on from here
                # after a kill has to find itself in the same.
                if not live:
                    break
                stop, due = parallel.largest(signals.first(), live[0].due())
                if stop or due or live != before:
                    for trainee in list(live):
                        with own(trainee), parallel.together():
                            trainee.save()
                    for trainee in list(live) if stop and not signals.handed_on() else []:
                        end(trainee, "interrupted", stopped(trainee, stop))
        except Exception as error:
            for trainee in list(live):
                end(trainee, "failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            for trainee in list(live):
                end(trainee, "interrupted", stopped(trainee, signals.first()))
    if errors:
        raise errors[0]
    return [ended.get(job.labels.run) or Run.load(job.directory) for job in jobs]


def _parallel(jobs: Sequence[Job]) -> Parallel:
    """How the processes share the one run, if there are several."""
    if len(jobs) > 1 and not all(isinstance(job.parallel, Alone) for job in jobs):
        raise BadInput("several runs in one process and several processes for one run exclude each other")
    return jobs[0].parallel


def _step(trainees: Sequence[Trainee]) -> Step:
    job = trainees[0].job
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


def _fit(trainees: Sequence[Trainee]) -> None:
    """Raises BadInput for runs that cannot be trained together."""
    if len(trainees) > 1 and any(trainee.model.mixtures() for trainee in trainees):
        raise BadInput("hydra.launcher.together: mixtures of experts are trained one by one; say together=1")

    def kind(trainee: Trainee) -> tuple[object, ...]:
        job = trainee.job
        same = (job.window, job.rows, job.clip, job.precision, job.compile, job.device)
        own = isinstance(job.objective, Referring)
        return type(trainee.model), trainee.model.shape, trainee.model.vocab_size, own, *same

    if len({kind(trainee) for trainee in trainees}) > 1:
        raise BadInput(
            "runs that are trained together must be alike but for seed, optimizer, schedule and budget"
        )


def _lead(live: Sequence[Trainee]) -> None:
    """In each family, let the longest run compute what all have in common."""
    families: dict[str, list[Trainee]] = {}
    for trainee in live:
        families.setdefault(family(trainee.job.config), []).append(trainee)
    for relatives in families.values():
        leader = max(relatives, key=lambda trainee: trainee.plan.steps)
        for trainee in relatives:
            together = trainee.spent.step == leader.spent.step and not trainee.parts()
            if trainee is not leader and together:
                trainee.follow(leader)
