"""One run, read from top to bottom. Every architecture, objective and budget comes through here."""

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from scalelaw.budget import Budget
from scalelaw.checkpoint import Checkpoints, pack, unpack
from scalelaw.claim import claim
from scalelaw.contracts import IGNORE, BadInput, Objective, Source
from scalelaw.counting import count, six_n_d, training_flops
from scalelaw.evaluate import Evaluation, cross_entropy
from scalelaw.optim import Schedule, set_learning_rate
from scalelaw.progress import FILE as PROGRESS
from scalelaw.progress import Progress, State
from scalelaw.provenance import provenance
from scalelaw.run import METRICS, RECORD, Run, read_metrics, write_atomically
from scalelaw.shape import Shape
from scalelaw.tracking import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a run is called: the id (a hash of its config), a readable name, and the option names chosen."""

    run: str
    name: str
    study: str
    architecture: str
    objective: str
    data: str
    command: str


@dataclass
class Spent:
    """What a run has used so far; goes into the checkpoint, so that a resumed run counts on."""

    step: int = 0
    flops: int = 0
    targets: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    """Summed NLL and count of the target tokens since the last row of the metrics file."""
    loss_count: int = 0


def train(
    *,
    directory: Path,
    labels: Labels,
    config: Mapping[str, Any],
    architecture: Callable[..., Any],
    shape: Shape,
    objective: Objective,
    source: Source,
    budget: Any,
    optimizer: Callable[..., torch.optim.Optimizer],
    schedule: Schedule,
    evaluation: Evaluation,
    checkpoints: Checkpoints,
    tracker: Tracker,
    seed: int,
    window: int,
    rows: int,
    clip: float,
    log_every: int,
    precision: str,
    device: str,
) -> Run:
    """Train one model and write its record; a finished run returns the record it already has.

    window: tokens a row. rows: rows a batch. clip: global gradient norm. log_every: steps between rows of the
    metrics file, each with the mean training loss since the last, so none goes unrecorded.
    Raises BadInput before any work when the parts do not fit together. A loss that is not finite ends the run
    as `diverged`; SIGINT and SIGTERM as `interrupted`, with a checkpoint to go on from; an exception as
    `failed`, and it is raised on.
    """
    if done := _finished(directory, labels.run):
        return done
    _whole("window", window, at_least=2)
    _whole("rows", rows, at_least=1)
    _whole("log_every", log_every, at_least=1)
    if not clip > 0:
        raise BadInput(f"clip must be positive, not {clip!r}")
    objective.check(window)
    evaluation.given(window)
    autocast = _autocast(precision, device)

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    model = architecture(shape, source.vocab_size).to(device)
    counts = count(model)
    batch_tokens = rows * window
    plan: Budget = budget.resolve(
        N=counts["non_embedding"],
        flops_per_token=_expected_flops(model, objective, window, rows) / window,
        batch_tokens=batch_tokens,
    )
    optim = optimizer(model, shape)
    evaluate_after = evaluation.steps(plan.steps)

    with claim(directory), _stop_signals() as signals:
        if done := _finished(directory, labels.run):  # by the process that held the claim until now
            return done
        for stale in (RECORD, PROGRESS):  # what an earlier start left says nothing of this one
            (directory / stale).unlink(missing_ok=True)
        spent, clock = Spent(), _Clock(0.0)
        metrics, progress = _Metrics(directory), Progress(directory)
        status, reason, final = "interrupted", "stopped at once, without a checkpoint", dict[str, float]()
        try:
            if saved := checkpoints.load(directory, labels.run):
                unpack(saved[0], model, optim)
                spent = Spent(**saved[1])
                clock = _Clock(spent.seconds)
            metrics.open(keep_until=spent.step)
            tracker.start(
                run=labels.run,
                name=labels.name,
                group=labels.study,
                config=dict(config),
                directory=directory,
            )
            while spent.step < plan.steps:
                factor = schedule(spent.step, plan.steps)
                set_learning_rate(optim, factor)
                windows = source.windows(spent.step * rows, rows, window=window, seed=seed)
                batch = objective(windows, _generator(seed, spent.step))
                targets = int((batch.labels != IGNORE).sum())
                with autocast():
                    nll = cross_entropy(model, batch.to(torch.device(device)), "sum")
                # By the batch's tokens, not its targets, so that every target token weighs the same: a mean
                # over what a drawn split leaves would give the ends of windows more than their share.
                (nll / batch_tokens).backward()
                norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip))
                total = nll.item()
                loss = total / targets
                if not math.isfinite(loss) or not math.isfinite(norm):
                    raise Diverged(f"loss {loss:g}, gradient norm {norm:g} at step {spent.step + 1}")
                optim.step()
                optim.zero_grad()

                spent.step += 1
                forward = model.flops(window=window, prefix=batch.longest, start=batch.start)
                spent.flops += rows * training_flops(forward)
                spent.targets += targets
                spent.loss_sum, spent.loss_count = spent.loss_sum + total, spent.loss_count + targets
                if spent.step in evaluate_after or spent.step % log_every == 0:
                    row = {
                        "step": spent.step,
                        "tokens": spent.step * batch_tokens,
                        "flops": spent.flops,
                        "train_loss": spent.loss_sum / spent.loss_count,
                        "learning_rate": factor * _peak(optim),
                        "gradient_norm": norm,
                    }
                    spent.loss_sum, spent.loss_count = 0.0, 0
                    with autocast():
                        if spent.step == plan.steps:
                            final = evaluation.final(model, source, window, objective)
                            if not math.isfinite(final["loss"]):
                                raise Diverged(f"validation loss {final['loss']:g} at the end")
                            row |= final
                        elif spent.step in evaluate_after:
                            row |= evaluation.curve(model, source, window)
                    metrics.write(row)
                    tracker.log(row)
                if progress.due():
                    progress.show(clock.state(spent.step, plan.steps, loss, batch_tokens))
                if spent.step < plan.steps and (signals or checkpoints.due()):
                    spent.seconds = clock.seconds()
                    checkpoints.save(directory, labels.run, spent.step, pack(model, optim), asdict(spent))
                    if signals:
                        raise Interrupted(f"{signals[0]} after step {spent.step} of {plan.steps}")
            status, reason = "finished", None
        except Diverged as error:
            status, reason = "diverged", str(error)
        except Interrupted as error:
            status, reason = "interrupted", str(error)
        except Exception as error:
            status, reason = "failed", f"{type(error).__name__}: {error}"
            raise
        finally:
            D = spent.step * batch_tokens
            run = Run(
                run=labels.run,
                name=labels.name,
                status=status,
                reason=reason,
                architecture=labels.architecture,
                objective=labels.objective,
                data=labels.data,
                study=labels.study,
                seed=seed,
                depth=shape.depth,
                width=shape.width,
                N=counts["non_embedding"],
                N_total=counts["total"],
                parameters=counts,
                D=D,
                D_target=spent.targets,
                unique_tokens=source.train_tokens,
                window=window,
                batch_tokens=batch_tokens,
                steps=plan.steps,
                step=spent.step,
                learning_rate=_peak(optim),
                C=float(spent.flops),
                C_6ND=float(six_n_d(counts["non_embedding"], D)),
                loss=final.get("loss"),
                loss_objective=final.get("loss_objective"),
                bits_per_byte=final.get("bits_per_byte"),
                timing={
                    "seconds": clock.seconds(),
                    "tokens_per_second": clock.rate(spent.step, batch_tokens),
                },
                provenance=provenance(labels.command) | {"data": source.manifest},
                config=dict(config),
            )
            run.save(directory)
            metrics.close()
            tracker.finish(status=status, summary=run.row())
        if run.finished:
            checkpoints.clear(directory)
    return run


def _finished(directory: Path, run: str) -> Run | None:
    """The record of this very run, if it is there and finished; an unreadable one is trained over."""
    try:
        done = Run.load(directory) if (directory / RECORD).exists() else None
    except ValueError as error:
        log.warning("%s; the run starts again from its checkpoint", error)
        return None
    return done if done and done.finished and done.run == run else None


def _whole(key: str, value: object, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise BadInput(f"{key} must be a whole number of at least {at_least}, not {value!r}")


class Diverged(Exception):
    """A loss or a gradient is not finite any more."""


class Interrupted(Exception):
    """A signal asked the run to stop; its checkpoint is written."""


def _expected_flops(model: Any, objective: Objective, window: int, rows: int) -> float:
    """Training FLOPs of one row, averaged over the splits the objective draws."""
    return sum(
        share * training_flops(model.flops(window=window, prefix=prefix, start=start))
        for prefix, start, share in objective.splits(window, rows)
    )


def _peak(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate this rung gives the matrices that read the residual stream, before the schedule."""
    return next(group["peak"] for group in optimizer.param_groups if group["name"] == "read")


class _Metrics:
    """The append-only metrics file. Rows past the checkpoint resumed from are dropped: they come again."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.file = directory, None

    def open(self, *, keep_until: int) -> None:
        kept = [row for row in read_metrics(self.directory) if row["step"] <= keep_until]
        path = self.directory / METRICS
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
        self.file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        assert self.file is not None
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def close(self) -> None:
        with suppress(OSError):  # on a full disk, what could not be written was an error already
            if self.file is not None:
                self.file.close()


class _Clock:
    """Seconds of training, counted on over resumes."""

    def __init__(self, before: float) -> None:
        self.before, self.start, self.first = before, time.monotonic(), None

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def rate(self, step: int, tokens_a_batch: int) -> float:
        return step * tokens_a_batch / max(self.seconds(), 1e-9)

    def state(self, step: int, steps: int, loss: float, tokens_a_batch: int) -> State:
        rate = self.rate(step, tokens_a_batch)
        return State(step, steps, loss, rate, (steps - step) * tokens_a_batch / rate)


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second SIGINT is not waited out."""
    received: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may set handlers
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _generator(seed: int, step: int) -> torch.Generator:
    """Randomness of one step, so that a resumed run draws what the undisturbed one drew."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)  # a prime apart: seeds do not overlap


def _autocast(precision: str, device: str) -> Callable[[], Any]:
    kinds = {"float32": None, "bfloat16": torch.bfloat16}
    try:
        torch.empty(0, device=device)
    except Exception as error:  # torch has a kind of error for each way a device is not there
        raise BadInput(f"device={device}: {str(error).splitlines()[0]}") from None
    if precision not in kinds:
        raise BadInput(f"precision is one of {', '.join(kinds)}, not {precision!r}")
    kind = kinds[precision]
    return lambda: torch.autocast(torch.device(device).type, kind, enabled=kind is not None)
