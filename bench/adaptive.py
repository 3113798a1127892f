"""What an interval costs: FLOPs until an adaptive study and an IsoFLOP grid both know alpha and beta so well.

    python -m bench.adaptive --studies 200

bench/README.md says how to read what it writes.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.api import DEFAULTS
from analysis.designing.adaptive import Goal, decide
from analysis.law import Fit
from analysis.laws.chinchilla import Chinchilla
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically

LAW = Chinchilla()
# The optimum of the 240 points read off Hoffmann et al. (2022), rounded; and a scatter like theirs.
TRUTH = {"E": 1.8172, "A": 477.8, "B": 2143.0, "alpha": 0.3473, "beta": 0.3672}
NOISE = 0.006
TARGETS = ("alpha", "beta")
# The nine budgets and the range of sizes of their approach 2; a budget's sizes lie around the best one, which
# is known here and has to be guessed elsewhere.
BUDGETS = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)
RUNGS = np.geomspace(44e6, 16e9, 16)
SPAN = 4.0
SIZES = 3  # a budget at least: what a parabola needs
CHOOSE = {"first": 8, "batch": 4, "repeats": 4, "draws": 50}  # as conf/study/adaptive.yaml
LEAST = 16  # runs before an interval is believed, there and here
FIT = dict(DEFAULTS) | {"bootstrap": 200, "profile": False}


def points(budgets: Sequence[float]) -> pd.DataFrame:
    """Every rung near each budget's best size, columns N, D, C: what both designs choose from."""
    trade = LAW.tradeoff(LAW.vector(TRUTH))
    assert trade is not None
    parts = []
    for C in budgets:
        best = float(trade.optimum(np.asarray(C / 6))[0])
        N = RUNGS[(best / SPAN <= RUNGS) & (best * SPAN >= RUNGS)]
        parts.append(pd.DataFrame({"N": N, "D": C / 6 / N, "C": C}))
    return pd.concat(parts, ignore_index=True)


def grid(pool: pd.DataFrame) -> Iterator[list[int]]:
    """Rows of a growing IsoFLOP design: one more size at every budget, and when all are there, other seeds.

    The sizes of a budget come in an order that keeps them spread: the ends, then what is farthest from all.
    """
    lines = [_spread(rows.index.to_list()) for _, rows in pool.groupby("C")]
    for step in itertools.count():
        yield [line[step % len(line)] for line in lines]


def _spread(line: list[int]) -> list[int]:
    order = [0, len(line) - 1]
    while len(order) < len(line):
        away = np.abs(np.subtract.outer(np.arange(len(line)), order)).min(axis=1)
        order.append(int(away.argmax()))
    return [line[k] for k in order]


def measured(runs: pd.DataFrame, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The runs with some more, whose losses are drawn around the truth."""
    noise = np.exp(NOISE * random.standard_normal(len(rows)))
    whole = pd.concat([runs, rows.assign(loss=LAW.predict(TRUTH, rows) * noise)], ignore_index=True)
    return whole.set_axis(range(1, len(whole) + 1))


def by_grid(pool: pd.DataFrame, goal: Goal, random: np.random.Generator) -> dict[str, Any]:
    runs = pool.iloc[:0]
    for step, rows in enumerate(grid(pool), start=1):
        runs = measured(runs, pool.iloc[rows], random)
        if step >= SIZES and not goal.wide(found := fits.fit(runs, LAW, **FIT)):
            return told(runs, found)
        if runs.C.sum() > goal.flops:
            break
    return told(runs, None)


def by_decisions(
    pool: pd.DataFrame, goal: Goal, random: np.random.Generator, choose: dict[str, int]
) -> dict[str, Any]:
    runs, taken = pool.iloc[:0], np.zeros(len(pool), dtype=int)
    for round in itertools.count():
        rows = decide(runs, pool, taken, goal, round=round, fit=FIT, **choose).chosen
        if not rows:
            break
        runs = measured(runs, pool.iloc[rows], random)
        taken += np.bincount(rows, minlength=len(pool))
    found = fits.fit(runs, LAW, **FIT)
    return told(runs, None if goal.wide(found) else found)


def told(runs: pd.DataFrame, found: Fit | None) -> dict[str, Any]:
    """What the study came to; without a fit, it did not get where it should."""
    out = {"flops": float(runs.C.sum()), "runs": len(runs), "dearest": float(runs.C.max())}
    if found is None:
        return out | {"reached": False}
    held = {name: found.interval95[name][0] <= TRUTH[name] <= found.interval95[name][1] for name in TARGETS}
    error = {name: found.params[name] - TRUTH[name] for name in TARGETS}
    return out | {"reached": True, "held": held, "error": error}


def one(task: tuple[str, int, float, int, int]) -> dict[str, Any]:
    """A study of one kind. A design that has spent 1e24 FLOPs, 200 of the whole grids, has failed."""
    kind, seed, width, lines, repeats = task
    goal = Goal(LAW, dict.fromkeys(TARGETS, width), None, flops=1e24, rounds=1000, least=LEAST)
    pool, random = points(BUDGETS[:lines]), np.random.default_rng([kind == "grid", seed])
    if kind == "grid":
        return by_grid(pool, goal, random)
    return by_decisions(pool, goal, random, CHOOSE | {"repeats": repeats})


def summary(studies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians and quartiles; of those that got there, how often their intervals hold the truth."""
    reached = [study for study in studies if study["reached"]]
    out: dict[str, Any] = {"studies": len(studies), "reached": len(reached)}
    for name in ("flops", "runs", "dearest"):
        out[name] = quartiles([study[name] for study in studies])
    for name in TARGETS:
        out[f"coverage of {name}"] = float(np.mean([study["held"][name] for study in reached]))
        out[f"rms error of {name}"] = float(
            np.sqrt(np.mean([study["error"][name] ** 2 for study in reached]))
        )
    return out


def quartiles(values: Sequence[float]) -> list[float]:
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist()


def measure(studies: int, others: int, width: float) -> dict[str, Any]:
    """The grid of all budgets and the adaptive study; beside them, fewer times, grids of the cheaper budgets
    alone, which one would have to know are enough, and adaptive studies with fewer and more seeds a point."""
    kinds = {"grid": ("grid", 9, 0, studies), "adaptive": ("adaptive", 9, CHOOSE["repeats"], studies)}
    kinds |= {f"grid of the {k} cheapest budgets": ("grid", k, 0, others) for k in (8, 7, 6, 5, 4)}
    kinds |= {f"adaptive, {k} seeds a point": ("adaptive", 9, k, others) for k in (2, 8)}
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        found = {}
        for name, (kind, lines, repeats, times) in kinds.items():
            tasks = [(kind, seed, width, lines, repeats) for seed in range(times)]
            found[name] = list(workers.map(one, tasks))
            show(name, summary(found[name]))
    pairs = zip(found["adaptive"], found["grid"], strict=True)
    ratios = [adaptive["flops"] / grid["flops"] for adaptive, grid in pairs]
    return {
        "ratio": dict(zip(("lower quartile", "median", "upper quartile"), quartiles(ratios), strict=True)),
        "designs": {name: summary(its) for name, its in found.items()},
    }


def show(name: str, its: dict[str, Any]) -> None:
    low, flops, high = its["flops"]
    print(
        f"{name:32} {flops:.3g} FLOPs ({low:.3g} to {high:.3g}), {its['runs'][1]:.0f} runs, "
        f"dearest {its['dearest'][1]:.0e}, {its['reached']} of {its['studies']} reached, "
        f"coverage {its['coverage of alpha']:.1%} {its['coverage of beta']:.1%}",
        flush=True,
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.adaptive", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--studies", type=int, default=200, help="of the grid and of the adaptive study")
    parser.add_argument("--others", type=int, default=40, help="of each of the other designs")
    parser.add_argument("--width", type=float, default=0.1, help="of both 95 %% intervals")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "adaptive.json")
    asked = parser.parse_args(arguments)
    origin = provenance(" ".join(["python -m bench.adaptive", *arguments]))
    start = time.perf_counter()
    found = measure(asked.studies, asked.others, asked.width)
    print(
        "FLOPs of the adaptive study over the grid's: "
        + ", ".join(f"{k} {v:.3f}" for k, v in found["ratio"].items())
    )
    settings = {"truth": TRUTH, "noise": NOISE, "width": asked.width, "budgets": BUDGETS, "fit": FIT}
    settings |= {"rungs": RUNGS.tolist(), "choose": CHOOSE, "least": LEAST}
    result = {"provenance": origin, **settings, "seconds": time.perf_counter() - start, **found}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
