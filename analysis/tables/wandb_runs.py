"""Runs from Weights & Biases: a project on a server, or a folder of offline runs.

Both give the same table. Nested configs and summaries become names with dots; `config.x` and `summary.x` are
called x where that is the name of one thing only, and can be asked for in full in any case.
"""

import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.tables.columns import one_line
from analysis.tables.files import BadTable, flat

# Also as pathlib leaves it, which takes two slashes for one.
PROJECT = re.compile(r"wandb:/{1,2}(?P<path>[^/]+(/[^/]+)?)/?")
REPORT = "report"  # job type of what carries a study's page, and trained nothing
READERS = 4  # processes that read offline runs side by side: each takes about 0.4 s, most of it to start


@dataclass
class Logged:
    """What one run logged: its name, how it ended, and its config, summary and history."""

    run: str
    name: str | None
    state: str
    tags: list[str]
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def is_project(source: str) -> bool:
    return source.startswith("wandb:/")


def project(source: str, *, wanted: Collection[str], history: bool) -> pd.DataFrame:
    """One row a run of the project `wandb://entity/project`, or one a logged step, by the real client.

    wanted: names asked for, some perhaps in full (`config.x`, `summary.x`). history: every logged step in
    place of the summary. Raises ValueError in one line when the project cannot be read.
    """
    found = PROJECT.fullmatch(source)
    if not found:
        raise BadTable(f"{source}: a W&B project is written wandb://entity/project")
    import wandb  # imported late: it takes a second that a table from a file need not pay

    try:
        runs = wandb.Api().runs(found["path"], per_page=500, lazy=False)
        logged = [
            Logged(
                run=run.id,
                name=run.name,
                state=run.state,
                tags=list(run.tags),
                config=dict(run.config),
                summary=dict(run.summary_metrics),
                history=list(run.scan_history()) if history else [],
            )
            for run in runs
            if run.job_type != REPORT
        ]
    except (wandb.Error, ValueError, OSError) as error:
        raise BadTable(f"{source}: W&B did not give the runs ({one_line(error)})") from error
    return _table(logged, wanted, history, source)


def offline(folder: Path, *, wanted: Collection[str], history: bool) -> pd.DataFrame:
    """The same of the runs whose *.wandb files lie below `folder`: offline ones, or local copies of others.

    A run that was resumed lies in several files: they are taken together, in the order of their folders'
    names, which begin with the date. Raises ValueError in one line naming the file that cannot be read.
    """
    paths = sorted(folder.rglob("*.wandb"), key=lambda path: (path.parent.name, path))
    if not paths:
        raise BadTable(f"{folder}: no rows: no run record (run.json) and no W&B run (*.wandb) below it")
    logged: dict[str, Logged] = {}
    with ThreadPoolExecutor(READERS) as pool:
        for path, entries in zip(paths, pool.map(_inspect, paths), strict=True):
            _replay(entries, logged, path)
    return _table(logged.values(), wanted, history, str(folder))


def _inspect(path: Path) -> list[dict[str, Any]]:
    """The file's entries, by W&B's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    try:
        if done.returncode:
            raise ValueError(done.stderr.strip() or f"exit code {done.returncode}")
        return [json.loads(line) for line in done.stdout.splitlines()]
    except ValueError as error:
        raise BadTable(f"{path}: W&B cannot read it ({one_line(error)})") from error


def _replay(entries: Iterable[dict[str, Any]], logged: dict[str, Logged], path: Path) -> None:
    """Add one file's entries to the run they belong to."""
    run = None
    for entry in entries:
        kind = entry["type"]
        content = entry.get(kind) or {}
        if kind == "run":
            # A run that never says how it ended was killed; W&B calls that crashed.
            run = logged.setdefault(content["run_id"], Logged(content["run_id"], None, "crashed", []))
            run.name, run.tags = content.get("display_name", run.name), content.get("tags", run.tags)
            run.state = "crashed"
            content = content.get("config") or {}
            kind = "config"
        if run is None:
            continue
        if kind == "history":
            run.history.append(content.get("item") or {})
        elif kind in ("config", "summary"):
            into = run.config if kind == "config" else run.summary
            for name in content.get("remove") or []:
                into.pop(name, None)
            into.update(content.get("update") or {})
        elif kind == "exit":
            run.state = "failed" if content.get("exit_code") else "finished"
    if run is None:
        raise BadTable(f"{path}: W&B finds no run in it")


def _table(logged: Iterable[Logged], wanted: Collection[str], history: bool, source: str) -> pd.DataFrame:
    full = pd.DataFrame([row for run in logged for row in _rows(run, history)])
    if full.empty:
        raise BadTable(f"{source}: no rows: the runs there logged nothing")
    table = full.rename(columns=_short(full, wanted))
    if "status" not in table:
        table["status"] = table["state"]
    return table


def _rows(run: Logged, history: bool) -> Iterator[dict[str, Any]]:
    fixed: dict[str, Any] = {"run": run.run, "name": run.name, "state": run.state, "tags": run.tags}
    fixed |= _named("config.", run.config)
    summary = _named("summary.", run.summary)
    if not history:
        yield fixed | summary
    for row in run.history if history else ():
        yield fixed | summary | _named("history.", row)


def _named(prefix: str, content: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in content.items() if not key.startswith("_wandb")}
    return dict(flat(kept, prefix))


def _short(full: pd.DataFrame, wanted: Collection[str]) -> dict[str, str]:
    """Full name -> short one, for those columns that get one.

    Beside a history, summaries keep their full name: what a run came to at its end is not so at each step.
    """
    places: dict[str, list[str]] = {}
    kinds = ("config", "history" if any(name.startswith("history.") for name in full) else "summary")
    for name in full:
        kind, _, short = name.partition(".")
        if kind in kinds and short not in full:
            places.setdefault(short, []).append(name)
    same = {
        short: names
        for short, names in places.items()
        if len(names) == 1 or full[names[0]].map(str).equals(full[names[1]].map(str))
    }
    return {names[-1]: short for short, names in same.items() if names[-1] not in wanted}
