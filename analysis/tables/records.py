"""A folder of run records as rows: one a run, or one an evaluation along the runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalelaw.run import METRICS, Run, read_metrics, records

# Of the record, what holds at the run's end only; an evaluation before it has its own, or none.
OF_THE_END = ("D_target", "loss_objective", "bits_per_byte", "bayes_loss")


def rows(folder: Path, *, history: bool, unread: dict[str, str]) -> list[dict[str, Any]]:
    """One row a run as `Run.row` gives it; with `history`, one an evaluation, for each that has a loss.

    An evaluation's row has its own step, D, C, C_6ND, loss and learning rate at that step, and what it takes
    to judge it: `peak_learning_rate`, `schedule` (its name), `schedule_tokens` (the D it was made for) and
    `warmup_steps`, where the run's config says. A file that cannot be read, of thousands, costs its own rows:
    it is noted in `unread`, path to the reason.
    """
    found = records(folder, unread)
    if not history:
        return [run.row() for _, run in found]
    return [row for directory, run in found for row in _along(directory, run, unread)]


def _along(directory: Path, run: Run, unread: dict[str, str]) -> list[dict[str, Any]]:
    try:
        return list(_evaluations(directory, run))
    except (ValueError, OSError) as error:
        unread[str(directory / METRICS)] = str(error)
        return []


def _evaluations(directory: Path, run: Run) -> Iterator[dict[str, Any]]:
    whole = run.row() | dict.fromkeys(OF_THE_END) | _schedule(run)
    for seen in read_metrics(directory):
        if seen.get("loss") is None:
            continue
        try:
            D = seen["tokens"]
            own = {"step": seen["step"], "D": D, "C": float(seen["flops"]), "C_6ND": 6.0 * run.N * D}
        except KeyError as error:
            raise ValueError(f"{directory / METRICS}: an evaluation has no {error}") from error
        rest = {key: value for key, value in seen.items() if key not in ("tokens", "flops")}
        yield whole | rest | own


def _schedule(run: Run) -> dict[str, Any]:
    schedule = run.config.get("schedule")
    out: dict[str, Any] = {
        "peak_learning_rate": run.learning_rate,
        "schedule_tokens": run.steps * run.batch_tokens,
    }
    if isinstance(schedule, dict):
        out["schedule"] = str(schedule.get("_target_", "")).rpartition(".")[2] or None
        if isinstance(schedule.get("warmup"), int | float):
            out["warmup_steps"] = schedule["warmup"] * run.steps
    return out
