"""One run, read from top to bottom. Every architecture, objective and budget comes through here."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from scalelaw.budget import Budget
from scalelaw.checkpoint import Checkpoints, pack, unpack
from scalelaw.claim import claim
from scalelaw.contracts import IGNORE, BadInput, Objective, Source
from scalelaw.counting import count, six_n_d
from scalelaw.evaluate import Evaluation, cross_entropy
from scalelaw.optim import Schedule, set_learning_rate
from scalelaw.progress import Progress, State
from scalelaw.provenance import provenance
from scalelaw.run import METRICS, RECORD, Run, read_metrics
from scalelaw.shape import Shape
from scalelaw.tracking import Tracker

BACKWARD = (
    3  # a training step costs three forward passes: one forward, two for the gradients (Kaplan 2020, 2.1)
)


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

    window: tokens a row. rows: rows a batch. clip: global gradient norm. Raises BadInput before any work when
    the parts do not fit together. A loss that is not finite ends the run as `diverged`; SIGINT and SIGTERM as
    `interrupted`, with a checkpoint to go on from; anything else as `failed`, and the error is raised on.
    """
    if (directory / RECORD).exists() and (done := Run.load(directory)).finished and done.run == labels.run:
        return done
    if window < 2 or rows < 1 or log_every < 1:
        raise BadInput("window must be at least 2, rows and log_every at least 1")
    objective.check(window)
    evaluation.given(window)
    autocast = _autocast(precision, device)

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    model = architecture(shape, source.vocab_size).to(device)
    counts = count(model)
    tokens_a_batch = rows * window
    price = BACKWARD * sum(
        share * model.flops(window=window, prefix=prefix, start=start)
        for prefix, start, share in objective.splits(window)
    )
    plan: Budget = budget.resolve(
        N=counts["non_embedding"], flops_per_token=price / window, batch_tokens=tokens_a_batch
    )
    optim = optimizer(model, shape.width)
    evaluate_after = evaluation.steps(plan.steps)

    with claim(directory), _stop_signals() as stopped:
        step, spent = 0, {"flops": 0, "targets": 0, "seconds": 0.0, "sum": 0.0, "count": 0}
        if (saved := checkpoints.load(directory)) is not None:
            tensors, state = saved
            unpack(tensors, model, optim)
            step, spent = state["step"], state["spent"]
        metrics = _Metrics(directory, tracker, keep_until=step)
        tracker.start(
            run=labels.run, name=labels.name, group=labels.study, config=dict(config), directory=directory
        )
        progress, clock = Progress(directory), _Clock(spent["seconds"])
        status, reason, final = "finished", None, {}
        try:
            while step < plan.steps:
                set_learning_rate(optim, factor := schedule(step, plan.steps))
                windows = source.windows(step * rows, rows, window=window, seed=seed)
                batch = objective(windows, _generator(seed, step)).to(torch.device(device))
                with autocast():
                    loss = cross_entropy(model, batch)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                value = loss.item()
                if not (math.isfinite(value) and torch.isfinite(norm)):
                    status, reason = "diverged", f"loss {value:g}, gradient norm {norm:g} at step {step + 1}"
                    break
                optim.step()
                optim.zero_grad()

                step += 1
                spent["flops"] += (
                    BACKWARD * rows * model.flops(window=window, prefix=batch.longest, start=batch.start)
                )
                spent["targets"] += int((batch.labels != IGNORE).sum())
                spent["sum"], spent["count"] = spent["sum"] + value, spent["count"] + 1
                evaluating = step in evaluate_after
                if evaluating or step % log_every == 0:
                    row = {
                        "step": step,
                        "tokens": step * tokens_a_batch,
                        "flops": spent["flops"],
                        "train_loss": spent["sum"] / spent["count"],
                        "learning_rate": factor * optim.param_groups[-1]["peak"],
                        "gradient_norm": norm.item(),
                    }
                    spent["sum"], spent["count"] = 0.0, 0
                    if evaluating:
                        with autocast():
                            if step == plan.steps:
                                final = evaluation.final(model, source, window, objective)
                                row |= final
                            else:
                                row |= evaluation.curve(model, source, window)
                    metrics.write(row)
                if progress.due():
                    progress.show(clock.state(step, plan.steps, value, tokens_a_batch))
                if stopped and step < plan.steps:
                    status, reason = "interrupted", f"signal {stopped[0]} after step {step} of {plan.steps}"
                if (checkpoints.due() and step < plan.steps) or status == "interrupted":
                    spent["seconds"] = clock.seconds()
                    checkpoints.save(directory, step, pack(model, optim), {"step": step, "spent": spent})
                if status == "interrupted":
                    break
        except Exception as error:
            status, reason = "failed", f"{type(error).__name__}: {error}"
            raise
        finally:
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
                D=step * tokens_a_batch,
                D_target=spent["targets"],
                unique_tokens=source.train_tokens,
                window=window,
                batch_tokens=tokens_a_batch,
                steps=plan.steps,
                step=step,
                learning_rate=optim.param_groups[-1]["peak"],
                C=float(spent["flops"]),
                C_6ND=six_n_d(counts["non_embedding"], step * tokens_a_batch),
                loss=final.get("loss"),
                loss_objective=final.get("loss_objective"),
                bits_per_byte=final.get("bits_per_byte"),
                timing={"seconds": clock.seconds(), "tokens_per_second": clock.rate(step, tokens_a_batch)},
                provenance=provenance(labels.command) | {"data": source.manifest},
                config=dict(config),
            )
            metrics.close()
            tracker.finish(status=status, summary=run.row())
            run.save(directory)
        if run.finished:
            checkpoints.clear(directory)
    return run


class _Metrics:
    """The append-only metrics file and its mirror. Rows past the checkpoint a run resumes from are dropped."""

    def __init__(self, directory: Path, tracker: Tracker, *, keep_until: int) -> None:
        kept = [row for row in read_metrics(directory) if row["step"] <= keep_until]
        directory.mkdir(parents=True, exist_ok=True)
        self.file = (directory / METRICS).open("w", encoding="utf-8")
        self.file.writelines(json.dumps(row) + "\n" for row in kept)
        self.file.flush()
        self.tracker = tracker

    def write(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        self.tracker.log(row)

    def close(self) -> None:
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
    if precision not in kinds:
        raise BadInput(f"precision is one of {', '.join(kinds)}, not {precision!r}")
    kind = kinds[precision]
    return lambda: torch.autocast(torch.device(device).type, kind, enabled=kind is not None)
