"""What runs scored on their tasks, as a table: one row a run, task and metric."""

from collections.abc import Iterable

import pandas as pd

from scalelaw.run import Run

CHANCE = {"exact": "chance", "nll": "chance_nll", "brier": "chance_brier"}


def table(runs: Iterable[Run], *, tuned: bool) -> pd.DataFrame:
    """A row for each finished run, task and metric: exact match, NLL in nats an answer token, target Brier.

    chance: the same metric of a guess. n: held-out items. tokens: of an answer, on average. loss: the run's,
    nats a token. bits_per_parameter: stored of facts, by all parameters, embeddings too; empty for others.
    Of several architectures each has a threshold of its own: a task's name then says whose it is.
    tuned: of the learning rates of a cell (task, model, size and D) keep the one whose mean NLL over seeds is
    least. Raises ValueError where no finished run has scores.
    """
    rows = [row for run in runs if run.finished for row in _rows(run)]
    if not rows:
        raise ValueError("no finished run has scores: they come with data=task, data=planted or data=mixture")
    found = pd.DataFrame(rows)
    found = _tuned(found) if tuned else found
    if found.model.nunique() > 1:
        found["task"] = found.task + ", " + found.model
    return found


def matrix(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows to read: exact match of every task, by width or depth, whichever varies, or both.

    A cell is the mean of its runs (seeds, and rates where they were not tuned), with the least and the most
    where they differ; the best guess comes last. A task of several D has a row for each.
    """
    rows = table.loc[table.metric == "exact"]
    axes = [axis for axis in ("depth", "width") if rows[axis].nunique() > 1] or ["width"]
    sizes = rows[axes].drop_duplicates().sort_values(axes)
    columns = [", ".join(f"{axis} {size[axis]}" for axis in axes) for _, size in sizes.iterrows()]
    lines = []
    for (task, D), its in rows.groupby(["task", "D"], sort=False):
        name = str(task) if rows.loc[rows.task == task, "D"].nunique() == 1 else f"{task}, D = {D:,.0f}"
        there = [(its[axes] == size).all(axis=1) for _, size in sizes.iterrows()]
        guess = its.chance.median()
        cells = [_cell(its.loc[here, "score"]) for here in there]
        lines.append([name, *cells, "–" if pd.isna(guess) else f"{guess:.2f}"])
    return ["exact match", *columns, "chance"], lines


def _cell(scores: pd.Series) -> str:
    if scores.empty:
        return "–"
    least, most = f"{scores.min():.2f}", f"{scores.max():.2f}"
    return least if least == most else f"{scores.mean():.2f} ({least} to {most})"


def _rows(run: Run) -> Iterable[dict]:
    for task, score in run.scores.items():
        if "items" not in score:  # the loss on other text
            continue
        for metric, chance in CHANCE.items():
            yield {
                "task": task,
                "N": run.N,
                "C": run.C,
                "D": run.D,
                "depth": run.depth,
                "score": score[metric],
                "n": int(score["items"]),
                "chance": score[chance],
                "metric": metric,
                "model": run.architecture,
                "loss": run.loss,
                "tokens": score["tokens"],
                "bits_per_parameter": score["bits"] / run.N_total if "bits" in score else None,
                "width": run.width,
                "seed": run.seed,
                "learning_rate": run.learning_rate,
                "run": run.run,
            }


def _tuned(rows: pd.DataFrame) -> pd.DataFrame:
    cell = ["task", "model", "N", "width", "depth", "D"]
    nll = rows[rows.metric == "nll"].groupby([*cell, "learning_rate"]).score.mean().reset_index()
    best = nll.loc[nll.groupby(cell).score.idxmin()]
    return rows.merge(best.drop(columns="score"))
