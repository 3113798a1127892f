"""The loop of an adaptive study: decide, run, fit, again; with every decision in a file beside the runs."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from analysis.designing.adaptive import Decision, Goal, decide
from analysis.law import Law
from scalelaw.provenance import provenance
from scalelaw.run import DECISIONS, Run, write_atomically


class Candidate(Protocol):
    """A run that may be done; `name` is the run's with seed 0, so it says everything the run is made of."""

    name: str
    overrides: list[str]
    N: float
    D: float
    C: float


def study(
    asked: DictConfig,
    pool: Sequence[Candidate],
    launch: Callable[[Sequence[Sequence[str]]], list[Path | None]],
    *,
    folder: Path,
    command: str,
) -> dict[str, Any]:
    """Run rounds of points of the pool until the study says stop; returns what is in folder/decisions.json.

    asked: the study's config: `law`, `fit`, `until` as in `analysis.designing.adaptive.Goal`, `choose` as in
    `decide` there. launch: runs override lists and gives each run's folder, None where it did not finish.
    Rounds that the file has already are not decided again but run: a study that was killed goes on where it
    was, and one whose `until` was raised goes on from its end.
    Raises ValueError for a file that another study wrote, and when no run of a round finished.
    """
    law, until = instantiate(asked.law), _plain(asked.until)
    knobs = {**_plain(asked.choose), "fit": _plain(asked.fit)}
    goal = _goal(law, until)
    points = pd.DataFrame({name: [getattr(point, name) for point in pool] for name in ("N", "D", "C")})
    points = points.astype(float)
    path, rounds = folder / DECISIONS, []
    past = _past(path, pool)
    head = {"until": until, "law": law.name, "choose": knobs, "points": len(pool)}
    origin = provenance(command)
    taken, runs = np.zeros(len(pool), dtype=int), pd.DataFrame()
    for number in itertools.count():
        if number < len(past):
            entry, chosen = past[number]
        else:
            decision = decide(runs, points, taken, goal, round=number, **knobs)
            entry, chosen = _entry(number, decision, pool, taken), decision.chosen
        rounds.append(entry)
        stopped = None if chosen else entry["why"]
        told = {"stopped": stopped, **head, "rounds": rounds, "provenance": origin}
        if number >= len(past):  # a kill while old rounds are gone through costs none of the later ones
            write_atomically(path, json.dumps(told, indent=1, allow_nan=False) + "\n")
        print(sentence(entry), flush=True)
        if not chosen:
            return told
        taken += np.bincount(chosen, minlength=len(pool))
        seeds = [run["seed"] for run in entry["chosen"]]
        jobs = [[*pool[k].overrides, f"seed={seed}"] for k, seed in zip(chosen, seeds, strict=True)]
        ended = [Run.load(directory) for directory in launch(jobs) if directory is not None]
        if not ended:
            raise ValueError(f"no run of round {number} finished: their logs say why")
        more = pd.DataFrame([run.row() for run in ended])
        runs = pd.concat([runs, more], ignore_index=True)
        runs.index = pd.RangeIndex(1, len(runs) + 1)
    raise AssertionError("unreachable: decide stops at until.rounds")


def sentence(entry: dict[str, Any]) -> str:
    """A round in one line."""
    seen = [
        f"{name} {_ends(its['interval'])} (width {its['width']:.3g}, asked {its['wanted']:g})"
        if its["interval"]
        else f"{name} open"
        for name, its in entry["intervals"].items()
    ]
    seen += [f"fit {entry['fit']['status']}"] if entry["fit"] else []
    known = f": {', '.join(seen)}" if seen else ""
    done = f"round {entry['round']}, {entry['runs']} runs of {entry['flops']:.3g} FLOPs done{known}"
    chosen = entry["chosen"]
    if not chosen:
        return f"{done}; end: {entry['why']}"
    return f"{done}; {len(chosen)} of {sum(run['C'] for run in chosen):.3g} FLOPs next: {entry['why']}"


def _ends(interval: Sequence[float]) -> str:
    return " to ".join(f"{end:.4g}" for end in interval)


def _goal(law: Law, until: dict[str, Any]) -> Goal:
    keys = [field.name for field in dataclasses.fields(Goal) if field.name != "law"]
    if wrong := sorted(set(until) ^ set(keys)):
        raise ValueError(
            f"study.until.{wrong[0]}: an adaptive study takes {', '.join(keys)}, and no other key"
        )
    widths = {name: width for name, width in until["widths"].items() if width is not None}
    said: dict[str, Any] = until | {"widths": widths}
    return Goal(law, **said)


def _entry(number: int, decision: Decision, pool: Sequence[Candidate], taken: np.ndarray) -> dict[str, Any]:
    """The decision as plain JSON. Of a chosen run, `point` is the name of the point's run with seed 0."""
    times, chosen = taken.copy(), []
    for k in decision.chosen:
        point = pool[k]
        chosen.append({"point": point.name, "seed": int(times[k]), "N": point.N, "D": point.D, "C": point.C})
        times[k] += 1
    return {"round": number} | decision.to_json() | {"chosen": chosen}


def _past(path: Path, pool: Sequence[Candidate]) -> list[tuple[dict[str, Any], list[int]]]:
    """The rounds of the file that chose runs, each with the rows of the pool."""
    if not path.exists():
        return []
    try:
        rounds = json.loads(path.read_text(encoding="utf-8"))["rounds"]
        kept = [(entry, [run["point"] for run in entry["chosen"]]) for entry in rounds if entry["chosen"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no record of decisions ({error})") from error
    rows = {point.name: k for k, point in enumerate(pool)}
    for entry, names in kept:
        if lacking := [name for name in names if name not in rows]:
            raise ValueError(
                f"{path}: round {entry['round']} chose {lacking[0]}, which this study does not have: it is "
                "of another one; give this one its own study.name"
            )
    return [(entry, [rows[name] for name in names]) for entry, names in kept]


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {str(key): value for key, value in plain.items()}
