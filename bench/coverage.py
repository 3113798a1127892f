"""How often 95 % intervals hold the truth: simulated tables of a known law, fitted with the defaults.

    python -m bench.coverage --tables 1000

bench/README.md says how to read what it writes.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from analysis.api import DEFAULTS
from analysis.laws.chinchilla import Chinchilla
from analysis.solver.solve import solve
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically

LAW = Chinchilla()
# The optimum of the 240 points read off Hoffmann et al. (2022), rounded; and a scatter like theirs.
TRUTH = {"E": 1.8172, "A": 477.8, "B": 2143.0, "alpha": 0.3473, "beta": 0.3672}
NOISE = 0.006
SIZES = (16, 30, 60, 240)
RUNS = {16: 8, 30: 10, 60: 15, 240: 40}  # where rows are checkpoints: so many runs of equally many rows
SCATTERS = ("normal", "heavy", "uneven")
BEYOND = 10.0  # optimum and forecast are asked for at ten times the largest budget
AIM = (0.93, 0.97)


def budgets(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """N and D of so many runs: two and a half decades of C, sizes within a factor 5 of the optimum."""
    C = 10 ** random.uniform(18.5, 21, count)
    N = 0.1 * C**0.5 * 10 ** random.uniform(-0.7, 0.7, count)
    return N, C / (6 * N)


def scattered(kind: str, N: np.ndarray, D: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Log residuals of standard deviation NOISE: normal, Student's t with 3 degrees of freedom, or normal
    with a spread that grows fourfold from the most tokens a parameter to the fewest."""
    if kind == "heavy":
        return NOISE * random.standard_t(3, len(N)) / np.sqrt(3)
    drawn = NOISE * random.standard_normal(len(N))
    if kind == "uneven":
        lean = np.argsort(np.argsort(np.log(N / D))) / max(len(N) - 1, 1) - 0.5
        drawn *= 4.0**lean
    return drawn


def table(rows: int, clustered: bool, kind: str, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of independent runs; or checkpoints over the last 85 % of each run, half of whose variance is
    common to the run."""
    if not clustered:
        N, D = budgets(rows, random)
        noise = scattered(kind, N, D, random)
        run = np.arange(rows)
    else:
        each = rows // RUNS[rows]
        N, D = budgets(RUNS[rows], random)
        common = scattered(kind, N, D, random)
        run = np.repeat(np.arange(RUNS[rows]), each)
        N, D = np.repeat(N, each), (D[:, None] * np.geomspace(0.15, 1, each)).ravel()
        noise = (common[run] + scattered(kind, N, D, random)) / np.sqrt(2)
    out = {"N": N, "D": D, "run": run}
    return out | {"loss": LAW.predict(TRUTH, out) * np.exp(noise)}


def one(rows: int, clustered: bool, kind: str, seed: int, knobs: dict[str, Any]) -> dict[str, Any]:
    """One table: whether each interval holds its truth, and the verdict."""
    random = np.random.default_rng([rows, clustered, SCATTERS.index(kind), seed])
    runs = table(rows, clustered, kind, random)
    fit = solve(LAW, runs, **knobs, cluster="run" if clustered else None)
    held = {name: low <= TRUTH[name] <= high for name, (low, high) in fit.interval95.items()}
    C = BEYOND * 6 * float((runs["N"] * runs["D"]).max())
    alpha, beta = TRUTH["alpha"], TRUTH["beta"]
    G = (alpha * TRUTH["A"] / (beta * TRUTH["B"])) ** (1 / (alpha + beta))
    a = beta / (alpha + beta)
    N_opt = G * (C / 6) ** a
    ends = fit.optimum(C)["interval95"]
    held["a"] = ends["a"][0] <= a <= ends["a"][1]
    held["N_opt"] = ends["N_opt"][0] <= N_opt <= ends["N_opt"][1]
    there = {"N": N_opt, "D": C / 6 / N_opt}
    truth = float(LAW.predict(TRUTH, there)[0])
    low, high = fit.predict_interval(there)[0]
    held["mean loss"] = low <= truth <= high
    new = table(rows, clustered, kind, random)
    low, high = fit.predict_interval(new, kind="run").T
    held["new run"] = float(((low <= new["loss"]) & (new["loss"] <= high)).mean())
    return {
        "held": held,
        "converged": fit.status == "converged",
        "width": float(np.subtract(*ends["a"][::-1])),
    }


def many(task: tuple[int, bool, str, range, dict[str, Any]]) -> list[dict[str, Any]]:
    rows, clustered, kind, seeds, knobs = task
    return [one(rows, clustered, kind, seed, knobs) for seed in seeds]


def measure(
    pool: ProcessPoolExecutor, rows: int, clustered: bool, kind: str, tables: int, knobs: dict[str, Any]
) -> dict[str, Any]:
    seeds = [range(k, min(k + 20, tables)) for k in range(0, tables, 20)]
    tasks = [(rows, clustered, kind, part, knobs) for part in seeds]
    found = [result for part in pool.map(many, tasks) for result in part]
    names = list(found[0]["held"])
    cover = {name: float(np.mean([result["held"][name] for result in found])) for name in names}
    return {
        "rows": rows,
        "runs": RUNS[rows] if clustered else rows,
        "clustered": clustered,
        "scatter": kind,
        "tables": tables,
        "coverage": cover,
        "median_width_of_a": float(np.median([result["width"] for result in found])),
        "converged": float(np.mean([result["converged"] for result in found])),
    }


def show(cells: list[dict[str, Any]]) -> None:
    names = list(cells[0]["coverage"])
    print(f"{'rows':>4} {'runs':>4}  {'scatter':8}" + "".join(f"{name:>10}" for name in names))
    for cell in cells:
        shares = "".join(
            f"{100 * value:9.1f}{' ' if AIM[0] <= value <= AIM[1] else '*'}"
            for value in cell["coverage"].values()
        )
        print(f"{cell['rows']:4} {cell['runs']:4}  {cell['scatter']:8}{shares}", flush=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.coverage", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--tables", type=int, default=1000, help="of each kind")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--scatters", nargs="+", default=SCATTERS[:1], choices=SCATTERS)
    parser.add_argument("--units", nargs="+", default=["rows", "runs"], choices=["rows", "runs"])
    parser.add_argument("--bootstrap", type=int, default=300, help="resamples behind an interval")
    parser.add_argument("--interval", default=DEFAULTS["interval"], help="how they are drawn")
    parser.add_argument("--criterion", default=DEFAULTS["criterion"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.json")
    asked = parser.parse_args(arguments)
    knobs = dict(DEFAULTS) | {"bootstrap": asked.bootstrap, "interval": asked.interval, "profile": False}
    knobs |= {"criterion": asked.criterion}
    start, cells = time.perf_counter(), []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for kind in asked.scatters:
            for clustered in [unit == "runs" for unit in asked.units]:
                for rows in asked.rows:
                    cells.append(measure(pool, rows, clustered, kind, asked.tables, knobs))
                    show(cells[-1:])
    print(
        f"* outside {AIM[0]:.0%} to {AIM[1]:.0%}; "
        f"binomial standard error {np.sqrt(0.0475 / asked.tables):.1%}"
    )
    result = {
        "provenance": provenance(" ".join(["python -m bench.coverage", *arguments])),
        "truth": TRUTH,
        "noise": NOISE,
        "knobs": knobs,
        "seconds": time.perf_counter() - start,
        "cells": cells,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
