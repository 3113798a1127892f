"""Runs that are trained side by side: who still trains, who computes for whom, and how each one ends."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from signal import Signals

from scalelaw.claim import claim
from scalelaw.contracts import BadInput, Batch, Referring
from scalelaw.job import Job, family
from scalelaw.parallel import Parallel
from scalelaw.run import Run
from scalelaw.stopping import Received
from scalelaw.trainee import Diverged, Trainee


class Company:
    """What goes wrong in one run is this run's affair: it ends, the others go on, and `records` raises the
    first such error. Raises BadInput before any work for jobs that do not fit together."""

    def __init__(self, jobs: Sequence[Job], parallel: Parallel) -> None:
        self.jobs, self.parallel = jobs, parallel
        self.asked = {job.labels.run: Trainee(job) for job in jobs if not job.finished()}
        fit(list(self.asked.values()))
        self.live: list[Trainee] = []
        self.ended: dict[str, Run] = {}
        self.errors: list[Exception] = []

    def claim(self, held: ExitStack) -> None:
        """Take every run that no other process is training or has finished by now."""
        for trainee in self.asked.values():
            try:
                with self.parallel.together():
                    if self.parallel.rank == 0:
                        held.enter_context(claim(trainee.job.directory))
            except BadInput as error:
                self.errors.append(error)
                continue
            with self.parallel.together():  # the process that held the claim until now may have finished it
                self.live += [] if trainee.job.finished() else [trainee]

    def begin(self) -> None:
        """Go on from each run's newest checkpoint, or start."""
        for trainee in list(self.live):
            with self.own(trainee):
                with self.parallel.together():
                    trainee.begin()
                self.parallel.same(trainee.spent.step)
        lead(self.live)

    def batches(self) -> list[tuple[Trainee, Batch]]:
        """The next one of each run that computes for itself."""
        drawn = []
        for trainee in list(self.live):
            if trainee.leader is None:
                with self.own(trainee):
                    drawn.append((trainee, trainee.batch()))
        return drawn

    def led_by(self, leader: Trainee) -> list[Trainee]:
        """The leader, and all it computes for."""
        return [leader, *(trainee for trainee in self.live if trainee.leader is leader)]

    def part(self) -> None:
        """End those that are done; let those go on alone whose rate is about to part from their leader's."""
        for trainee in list(self.live):
            if trainee.done():
                self.end(trainee, "finished", None)
            elif trainee.leader is not None and trainee.parts():
                trainee.fork()

    def save(self) -> None:
        for trainee in list(self.live):
            with self.own(trainee), self.parallel.together():
                trainee.save()

    def interrupt(self, number: int) -> None:
        """End all, by the signal of that number; 0: by none."""
        for trainee in list(self.live):
            after = f"after step {trainee.spent.step} of {trainee.plan.steps}"
            reason = f"{Signals(number).name} {after}" if number else "stopped at once, without a checkpoint"
            self.end(trainee, "interrupted", reason)

    @contextmanager
    def own(self, trainee: Trainee) -> Iterator[None]:
        """What goes wrong in here is this run's affair alone."""
        try:
            yield
        except Diverged as error:
            self.end(trainee, "diverged", str(error))
        except Exception as error:
            self.errors.append(error)
            self.end(trainee, "failed", said(error))

    @contextmanager
    def everyone(self, signals: Received) -> Iterator[None]:
        """What goes wrong in here ends all, and so does whatever else leaves it, as a second Ctrl-C."""
        try:
            yield
        except Exception as error:
            for trainee in list(self.live):
                self.end(trainee, "failed", said(error))
            raise
        finally:
            self.interrupt(signals.first())

    def end(self, trainee: Trainee, status: str, reason: str | None) -> None:
        self.live.remove(trainee)
        for follower in self.live:
            if follower.leader is trainee:
                follower.fork()
        self.ended[trainee.job.labels.run] = trainee.end(status, reason)

    def records(self) -> list[Run]:
        """Of every job, in order. Raises the first error of a single run."""
        if self.errors:
            raise self.errors[0]
        return [self.ended.get(job.labels.run) or Run.load(job.directory) for job in self.jobs]


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def fit(trainees: Sequence[Trainee]) -> None:
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


def lead(live: Sequence[Trainee]) -> None:
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
