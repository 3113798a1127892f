"""What intervals cost: FLOPs of an adaptive study and of an IsoFLOP grid until both say the same.

    python -m bench.adaptive --studies 200

bench/README.md says how to read what it writes.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.api import DEFAULTS
from analysis.designing.adaptive import Goal, decide
from analysis.laws.chinchilla import Chinchilla

LAW = Chinchilla()
# The optimum of the 240 points read off Hoffmann et al. (2022), rounded; and a scatter like theirs.
TRUTH = {"E": 1.8172, "A": 477.8, "B": 2143.0, "alpha": 0.3473, "beta": 0.3672}
NOISE = 0.006
# The nine budgets of their approach 2, the range of their models, and sizes within a factor of 4 of the best.
BUDGETS = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)
RUNGS = np.geomspace(44e6, 16e9, 16)
SPAN = 4.0
LEAST = 3  # sizes a budget: what a parabola needs
# As conf/study/adaptive.yaml.
KNOBS = {"first": 8, "batch": 4, "repeats": 8, "draws": 50}


def points() -> pd.DataFrame:
    """Every rung of every budget's band, columns N, D, C: what both designs choose from."""
    trade = LAW.tradeoff(LAW.vector(TRUTH))
    assert trade is not None
    parts = []
    for C in BUDGETS:
        best = float(trade.optimum(np.asarray(C / 6))[0])
        N = RUNGS[(best / SPAN <= RUNGS) & (best * SPAN >= RUNGS)]
        parts.append(pd.DataFrame({"N": N, "D": C / 6 / N, "C": C}))
    return pd.concat(parts, ignore_index=True)


def measured(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The rows with a loss each, drawn around the truth."""
    table = rows.assign(loss=LAW.predict(TRUTH, rows) * np.exp(NOISE * random.standard_normal(len(rows))))
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def grid(pool: pd.DataFrame) -> Iterator[list[int]]:
    """An IsoFLOP design as it grows: one more size at every budget, then every size with another seed.

    The sizes of a budget come in the order that keeps them spread: ends and middle first, then between.
    """
    lines = [_spread_order(rows.index.to_numpy()) for _, rows in pool.groupby("C")]
    rows: list[int] = []
    for step in range(10**6):
        rows += [line[step % len(line)] for line in lines]
        if step + 1 >= LEAST:
            yield list(rows)


def _spread_order(line: np.ndarray) -> list[int]:
    """The rows of a budget, each as far as can be from those before it."""
    order = [0, len(line) - 1]
    while len(order) < len(line):
        away = np.abs(np.subtract.outer(np.arange(len(line)), order)).min(axis=1)
        order.append(int(away.argmax()))
    return [int(line[k]) for k in order]


def by_grid(pool: pd.DataFrame, goal: Goal, fit: dict[str, Any], seed: int) -> dict[str, Any]:
    random = np.random.default_rng([0, seed])
    runs = pool.iloc[:0]
    for rows in grid(pool):
        runs = measured_more(runs, pool, rows[len(runs) :], random)
        found = fits.fit(runs, LAW, **fit)
        if not goal.wide(found):
            return _summary(runs, found)
        if runs.C.sum() > goal.flops:
            return _summary(runs, None)
    raise AssertionError


def by_decisions(pool: pd.DataFrame, goal: Goal, fit: dict[str, Any], seed: int) -> dict[str, Any]:
    random = np.random.default_rng([1, seed])
    runs, taken = pool.iloc[:0], np.zeros(len(pool), dtype=int)
    for round in range(10**6):
        decision = decide(runs, pool, taken, goal, round=round, fit=fit, **KNOBS)
        if not decision.chosen:
            reached = decision.why.startswith("every interval")
            return _summary(runs, fits.fit(runs, LAW, **fit) if reached else None) | {"rounds": round}
        runs = measured_more(runs, pool, decision.chosen, random)
        taken += np.bincount(decision.chosen, minlength=len(pool))
    raise AssertionError


def measured_more(
    runs: pd.DataFrame, pool: pd.DataFrame, rows: list[int], random: np.random.Generator
) -> pd.DataFrame:
    more = measured(pool.iloc[rows], random)
    return pd.concat([runs, more], ignore_index=True).set_axis(range(1, len(runs) + len(rows) + 1))


def _summary(runs: pd.DataFrame, found: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"flops": float(runs.C.sum()), "runs": len(runs), "dearest": float(runs.C.max())}
    out["reached"] = found is not None
    if found is not None:
        out["error"] = {name: found.params[name] - TRUTH[name] for name in ("alpha", "beta")}
        out["held"] = {
            n: found.interval95[n][0] <= TRUTH[n] <= found.interval95[n][1] for n in ("alpha", "beta")
        }
    return out


def one(task: tuple[int, float, dict[str, Any]]) -> dict[str, Any]:
    seed, width, fit = task
    pool = points()
    goal = Goal(LAW, {"alpha": width, "beta": width}, None, 1e24, 400, 16)
    return {"grid": by_grid(pool, goal, fit, seed), "adaptive": by_decisions(pool, goal, fit, seed)}


if __name__ == "__main__":
    fit = dict(DEFAULTS) | {"bootstrap": 200, "profile": False}
    t = time.time()
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        r = one((seed, float(sys.argv[3]), fit))
        print(
            seed,
            round(time.time() - t, 1),
            *(
                f"{k}: C {v['flops']:.3g} n {v['runs']} dear {v['dearest']:.2g} {v['reached']} err {v.get('error')}"
                for k, v in r.items()
            ),
            "ratio %.3f" % (r["adaptive"]["flops"] / r["grid"]["flops"]),
            r["adaptive"]["rounds"],
            flush=True,
        )
