"""One run while it trains: its model, what it has used so far, its files. `scalelaw.train` moves it on."""

import copy
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from scalelaw import weights
from scalelaw.budget import resolved
from scalelaw.checkpoint import pack, unpack
from scalelaw.contracts import BadInput, Batch, Referring
from scalelaw.counting import count, six_n_d
from scalelaw.job import Job
from scalelaw.measures.measure import Subject, checked, measured
from scalelaw.meeting import continues, marked, meet
from scalelaw.metrics import Metrics
from scalelaw.optim import set_learning_rate
from scalelaw.parallel import Alone
from scalelaw.progress import FILE as PROGRESS
from scalelaw.progress import Progress, State
from scalelaw.provenance import provenance, utc
from scalelaw.run import RECORD, Run
from scalelaw.step import autocast, check
from scalelaw.tracking import Guarded

FIELDS = ("loss", "loss_objective", "bits_per_byte", "bayes_loss")  # of the losses, those of every record
AHEAD = 16  # batches read at a time: finding their places in the corpus costs as much for one as for many


@dataclass
class Spent:
    """What a run has used so far; goes into the checkpoint, so that a resumed run counts on."""

    step: int = 0
    flops: int = 0
    targets: int = 0
    seconds: float = 0.0
    evaluating: float = 0.0
    measuring: float = 0.0
    loss_sum: float = 0.0
    """Summed loss, and what it is a sum over, since the last row of the metrics file."""
    loss_count: int = 0
    parent: str | None = None
    """The run whose weights this one began with; if with none, the one that took its first steps."""
    shared: int = 0
    """Steps that another run computed for this one."""
    rows: int = 0
    """Those of the metrics file so far."""
    started: str = field(default_factory=utc)


class Diverged(Exception):
    """A loss or a gradient is not finite any more."""


class Trainee:
    """Raises BadInput, before any work, when the parts of the job do not fit together."""

    def __init__(self, job: Job) -> None:
        whole("window", job.window, at_least=2)
        whole("rows", job.rows, at_least=1)
        whole("log_every", job.log_every, at_least=1)
        self.objective, vocabulary = marked(job.objective, job.source.vocab_size, job.window)
        job.evaluation.given(job.window)
        check(job.precision, job.device, job.clip)
        job.parallel.check(job.rows)
        if isinstance(job.objective, Referring):
            referring(job)
        self.job = job
        torch.manual_seed(job.seed)
        model = job.architecture(job.shape, vocabulary)
        if model.mixtures() and job.parallel.world > 1:
            raise BadInput("parallel: a mixture of experts is balanced over a whole batch, on one device")
        meet(self.objective, model)
        job.start.put(model, job.shape, job.source)
        self.model = job.parallel.place(model, job.device)
        self.writes = job.parallel.rank == 0
        self.counts = count(self.model)
        self.batch_tokens = job.rows * job.window
        self.flops = cache(self._flops)
        self.loss: Callable[..., torch.Tensor] | None = None
        self.plan = resolved(job.budget, self.model, self.objective, window=job.window, rows=job.rows)
        self.optim = job.optimizer(self.model, job.shape)
        self.evaluate_after = job.evaluation.steps(self.plan.steps)
        self.spent = Spent(parent=job.start.parent)
        self.leader: Trainee | None = None
        self.ahead: list[torch.Tensor] = []
        self.metrics, self.progress = Metrics(job.directory), Progress(job.directory)
        self.tracker = Guarded(job.tracker)
        self.final: dict[str, float] = {}
        self.scores: dict[str, dict[str, float]] = {}
        self.measures: dict[str, float | None] = {}
        if job.measures:
            if any(isinstance(parameter, DTensor) for parameter in self.model.parameters()):
                raise BadInput("measures need the whole model in every process, which parallel=fsdp cuts")
            checked(job.measures, self._subject(self.model))

    def begin(self) -> None:
        """Go on from the newest checkpoint, or start; open the files."""
        job = self.job
        if isinstance(job.objective, Referring):  # a pure function of the start: a resumed run finds it again
            start = copy.deepcopy(self.model).requires_grad_(False)
            self.loss = job.objective.against(start, job.source, job.window)
        if saved := job.checkpoints.load(job.directory, job.labels.run, self.metrics.check):
            unpack(saved[0], self.model, self.optim)
            self.spent = Spent(**saved[1])
        if not self.writes:
            return
        for stale in (RECORD, PROGRESS):  # what an earlier start left says nothing of this one
            (job.directory / stale).unlink(missing_ok=True)
        kept = self.metrics.open(keep_until=self.spent.step)
        self.spent.rows = len(kept)
        self.tracker.start(
            run=job.labels.run,
            name=job.labels.name,
            group=job.labels.study,
            config=job.config,
            directory=job.directory,
            rows=kept,
        )

    def batch(self) -> Batch:
        """The next one, on the CPU."""
        job, step = self.job, self.spent.step
        if not self.ahead:
            many = min(AHEAD, self.plan.steps - step)
            windows = job.source.windows(step * job.rows, many * job.rows, window=job.window, seed=job.seed)
            self.ahead = list(windows.split(job.rows))[::-1]
        return self.objective(self.ahead.pop(), generator(job.seed, step))

    def update(self, batch: Batch, total: float, norm: float, *, computed: bool) -> None:
        """Take the step whose gradients are in place, and write down what it was.

        total: the batch's summed loss, nats. norm: of the gradient, before it was clipped. computed: for this
        run; otherwise its leader has taken the step for both. Raises Diverged.
        """
        spent = self.spent
        asked = batch.asked
        if not math.isfinite(total) or not math.isfinite(norm):
            raise Diverged(f"loss {total / asked:g}, gradient norm {norm:g} at step {spent.step + 1}")
        factor = self.job.schedule(spent.step, self.plan.steps)
        if computed:
            set_learning_rate(self.optim, factor)
            self.optim.step()
        spent.step += 1
        spent.flops += sum(self.flops(*passes) for passes in batch.forwards)
        spent.targets += batch.targets
        spent.loss_sum, spent.loss_count = spent.loss_sum + total, spent.loss_count + asked
        if spent.step in self.evaluate_after or spent.step % self.job.log_every == 0:
            self._write(factor, norm)
        if self.writes and self.progress.due():
            rate = (self.leader or self).rate()
            left = (self.plan.steps - spent.step) * self.batch_tokens / rate
            self.progress.show(
                State(
                    step=spent.step,
                    steps=self.plan.steps,
                    loss=total / asked,
                    rate=rate,
                    left=left,
                    flops=spent.flops,
                    N=self.counts["non_embedding"],
                    architecture=self.job.labels.architecture,
                )
            )

    def _write(self, factor: float, norm: float) -> None:
        spent = self.spent
        row = {
            "step": spent.step,
            "tokens": spent.step * self.batch_tokens,
            "flops": spent.flops,
            "train_loss": spent.loss_sum / spent.loss_count,
            "learning_rate": factor * self.peak(),
            "gradient_norm": norm,
        }
        row |= (self.leader or self).model.load()
        spent.loss_sum, spent.loss_count = 0.0, 0
        if spent.step in self.evaluate_after:
            row |= self._evaluate()
            row |= {name: value for name, value in self._measure().items() if value is not None}
        spent.rows += 1
        if self.writes:
            self.metrics.write(row)
            self.tracker.log(row)

    def _evaluate(self) -> dict[str, float]:
        job, start = self.job, time.monotonic()
        model = self.model if self.leader is None else self.leader.model
        with autocast(job.precision, job.device):
            final = self.spent.step == self.plan.steps
            if final:
                self.final = found = job.evaluation.final(model, job.source, job.window, self.objective)
                loss = found.get("loss", found.get("loss_objective", math.nan))
                if not math.isfinite(loss):
                    raise Diverged(f"validation loss {loss:g} at the end")
            else:
                found = job.evaluation.curve(model, job.source, job.window, self.objective)
            if continues(self.objective):
                self.scores = job.evaluation.scores(model, job.source, job.window, final=final)
        self.spent.evaluating += time.monotonic() - start
        return found | {f"{task}.{name}": v for task, all in self.scores.items() for name, v in all.items()}

    def _measure(self) -> dict[str, float | None]:
        """In float32 on a copy, so that nothing of the run's own is touched."""
        job, start, end = self.job, time.monotonic(), self.spent.step == self.plan.steps
        if not any(end or measure.along for measure in job.measures.values()):
            return {}
        subject = self._subject(self.model if self.leader is None else self.leader.model)
        self.measures = measured(job.measures, subject, end=end)
        self.spent.measuring += time.monotonic() - start
        return self.measures

    def _subject(self, model: Any) -> Subject:
        job = self.job

        def fresh() -> Any:
            with torch.random.fork_rng():
                torch.manual_seed(job.seed)
                return job.architecture(job.shape, model.vocab_size).to(job.device)

        return Subject(
            model=copy.deepcopy(model),
            fresh=fresh,
            source=job.source,
            objective=self.objective,
            window=job.window,
            rows=job.rows,
            seed=job.seed,
        )

    def follow(self, leader: "Trainee") -> None:
        """Let the leader compute until the schedules part: with the same seed and data the steps are the same
        to the bit."""
        self.leader = leader
        self.spent.parent = self.job.start.parent or leader.job.labels.run

    def fork(self) -> None:
        """Go on alone from where the leader is."""
        assert self.leader is not None
        self.spent.shared = self.spent.step
        state = pack(self.leader.model, self.leader.optim)
        unpack({name: tensor.clone() for name, tensor in state.items()}, self.model, self.optim)
        self.leader, self.ahead = None, []

    def parts(self) -> bool:
        """Whether the step to come is the first that a longer run would take at another rate."""
        return self.spent.step >= self.job.schedule.shared(self.plan.steps)

    def save(self) -> None:
        kept = self.leader or self
        if self.leader is not None:
            self.spent.shared = self.spent.step
        job, parallel = self.job, self.job.parallel
        if self.writes:
            self.metrics.sync()
        # Each process has a clock of its own, but the files of one checkpoint carry one state.
        state = parallel.told(asdict(self.spent))
        if parallel.part is not None:
            tensors, step = pack(kept.model, kept.optim), self.spent.step
            job.checkpoints.save(job.directory, job.labels.run, step, tensors, state, part=parallel.part)

    def due(self) -> bool:
        """Whether a checkpoint is: by the first process's clock."""
        return self.writes and self.job.checkpoints.due()

    def done(self) -> bool:
        return self.spent.step >= self.plan.steps

    def rate(self) -> float:
        """Tokens per second of the steps computed for this run."""
        return max(self.spent.step - self.spent.shared, 1) * self.batch_tokens / max(self.spent.seconds, 1e-9)

    def peak(self) -> float:
        """The rate this rung gives the matrices that read the residual stream, before the schedule."""
        return next(group["peak"] for group in self.optim.param_groups if group["name"] == "read")

    def end(self, status: str, reason: str | None) -> Run:
        """Write the record; a finished run needs its checkpoints no more."""
        job, spent, D = self.job, self.spent, self.spent.step * self.batch_tokens
        if lost := self.metrics.close():
            status, reason = ("failed", lost) if status == "finished" else (status, reason)
        timing = {
            "seconds": spent.seconds,
            "evaluation_seconds": spent.evaluating,
            **({"measuring_seconds": spent.measuring} if job.measures else {}),
            "tokens_per_second": self.rate(),
            "shared_steps": spent.shared,
        }
        run = Run(
            run=job.labels.run,
            name=job.labels.name,
            status=status,
            reason=reason,
            architecture=job.labels.architecture,
            objective=job.labels.objective,
            data=job.labels.data,
            study=job.labels.study,
            seed=job.seed,
            depth=job.shape.depth,
            width=job.shape.width,
            N=self.counts["non_embedding"],
            N_total=self.counts["total"],
            parameters=self.counts,
            D=D,
            D_target=spent.targets,
            unique_tokens=job.source.train_tokens,
            window=job.window,
            batch_tokens=self.batch_tokens,
            steps=self.plan.steps,
            step=spent.step,
            learning_rate=self.peak(),
            C=float(spent.flops),
            C_6ND=float(six_n_d(self.counts["active"], D)),
            loss=self.final.get("loss"),
            loss_objective=self.final.get("loss_objective"),
            bits_per_byte=self.final.get("bits_per_byte"),
            bayes_loss=self.final.get("bayes_loss"),
            losses={name: value for name, value in self.final.items() if name not in FIELDS},
            scores=self.scores if self.done() else {},
            measures=self.measures if self.done() else {},
            parent=spent.parent,
            timing=timing,
            provenance=provenance(job.labels.command)
            | {"data": job.source.manifest, "processes": job.parallel.world},
            config=dict(job.config),
            started=spent.started,
            ended=utc(),
            host=platform.node(),
        )
        # All processes of a run put its weights together; a record that says finished has them beside it.
        tensors = dict(weights.whole(self.model)) if run.finished and job.checkpoints.weights else {}
        if not self.writes:
            return run
        if tensors:
            weights.save(job.directory, run.run, tensors)
        run.save(job.directory)
        self.tracker.finish(status=status, summary=run.row())
        if run.finished:
            job.checkpoints.clear(job.directory)
        return run

    def _flops(self, rows: int, window: int, prefix: int, start: int, passes: int) -> int:
        """Of so many forward passes over rows with this longest prefix and start."""
        return passes * rows * self.model.flops(window=window, prefix=prefix, start=start)


def referring(job: Job) -> None:
    """Raises BadInput where an objective refers to a start, and there is none, or several processes."""
    name = f"objective={job.labels.objective}"
    if job.start.parent is None:
        raise BadInput(f"{name} refers to the run that it starts from: say start=run start.run=...")
    if not isinstance(job.parallel, Alone):
        raise BadInput(f"parallel: {name} takes one process, parallel=none")


def whole(key: str, value: object, *, at_least: int) -> None:
    """Raises BadInput naming the key for what is not a whole number of that size."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise BadInput(f"{key} must be a whole number of at least {at_least}, not {value!r}")


def generator(seed: int, step: int) -> torch.Generator:
    """Randomness of one step, so that a resumed run draws what the undisturbed one drew."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)  # a prime apart: seeds do not overlap
