"""Do approaches 1, 2 and 3 disagree about a, or is it what they would do on one surface? (Hoffmann et al.
2022.)

The approaches read the same runs, so that their errors go together, and each has a bias of its own. Both are
seen by letting all of them read the same simulated tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from analysis.law import plain
from analysis.optima.approaches import chunk
from analysis.optima.optimum import Optimum
from analysis.optima.surfaces import Surface

# Below this chance, over all pairs, a disagreement is called one.
SIGNIFICANT = 0.05


def disagreement(optima: Sequence[Optimum], *, bootstrap: int, seed: int) -> dict[str, Any]:
    """Pairwise z tests of the exponent a on the same `bootstrap` tables simulated on the fitted surface.

    optima: approach 3 and at least one other, of one table. For each pair: `difference` in a and its `stderr`
    over the simulated tables, which their common runs make smaller than the two errors would; `z` and `p` of
    no difference; `expected`, what the two differ by on one and the same surface (their biases), and
    `z_beyond`, `p_beyond` of the difference less that. `verdict` is a sentence on the latter, at 5 % over all
    pairs (Holm 1979). Raises ValueError without approach 3, for different tables, or fewer than two
    resamples.
    """
    surface = next((o.reader for o in optima if isinstance(o.reader, Surface)), None)
    if surface is None or len(optima) < 2:
        raise ValueError("the test simulates on the fitted surface: it takes approach 3 and another")
    if bootstrap < 2:
        raise ValueError(f"bootstrap={bootstrap}: the test takes two simulated tables or more")
    readers = {o.method: o.reader for o in optima if o.reader is not None and np.isfinite(o.a)}
    for o in optima:
        if o.rows is None or not o.rows.index.equals(surface.rows.index):
            raise ValueError(f"{o.method} and approach 3 are not of the same rows")
    budgets = np.array([float(surface.rows.C.max())])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in readers}
    for losses in surface.simulated(bootstrap, seed, chunk(surface.rows)):
        for name, reader in readers.items():
            parts[name].append(reader.read(losses, budgets).a)
    drawn = {name: np.concatenate(some) for name, some in parts.items()}
    a = {o.method: o.a for o in optima}
    pairs = [_pair(x, y, a[x] - a[y], drawn[x] - drawn[y]) for x, y in combinations(readers, 2)]
    silent = [o.method for o in optima if o.method not in readers]
    return plain({"a": a, "pairs": pairs, "verdict": _verdict(pairs, silent), "seed": seed})


def _pair(one: str, other: str, difference: float, draws: np.ndarray) -> dict[str, Any]:
    draws = draws[np.isfinite(draws)]
    known = {"approaches": [one, other], "difference": difference, "resamples": len(draws)}
    if len(draws) < 2 or draws.std() == 0:
        return known | {
            "stderr": None,
            "expected": None,
            "z": None,
            "p": None,
            "z_beyond": None,
            "p_beyond": None,
        }
    expected, stderr = float(draws.mean()), float(draws.std(ddof=1))
    z, beyond = difference / stderr, (difference - expected) / stderr
    return known | {
        "stderr": stderr,
        "expected": expected,
        "z": z,
        "p": float(2 * stats.norm.sf(abs(z))),
        "z_beyond": beyond,
        "p_beyond": float(2 * stats.norm.sf(abs(beyond))),
    }


def _verdict(pairs: list[dict[str, Any]], silent: list[str]) -> str:
    told = [f"{name} says nothing" for name in silent]
    tested = sorted((p for p in pairs if p["p_beyond"] is not None), key=lambda pair: pair["p_beyond"])
    found = []
    for k, pair in enumerate(tested):
        if pair["p_beyond"] * (len(tested) - k) >= SIGNIFICANT:
            break
        found.append(
            f"{' and '.join(pair['approaches'])} differ in a by {pair['difference']:+.3f}, of which their "
            f"own biases explain {pair['expected']:+.3f} (p = {pair['p_beyond']:.2g})"
        )
    if not tested:
        told.append("nothing to compare")
    elif not found:
        most = max(tested, key=lambda pair: abs(pair["difference"]))
        told.append(
            f"no disagreement: the largest difference in a, {most['difference']:+.3f}, is within what one "
            f"surface and its scatter make of it (expected {most['expected']:+.3f} +- {most['stderr']:.3f}, "
            f"p = {most['p_beyond']:.2g})"
        )
    return "; ".join(told + found)
