"""The same exponents under every convention for N and C that a table carries.

Kaplan et al. 2020 count parameters without embeddings, and C = 6 N D of those; Hoffmann et al. 2022 all.
At small sizes, where embeddings are most of a model, this alone moves a from 0.5 to 0.78 (Pearce & Song 2024,
arXiv:2406.12907); the output head's FLOPs move it from 0.84 to 0.71 (Porian et al. 2024, arXiv:2406.19146).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.law import Law, plain
from analysis.optima.approaches import approach, complete
from analysis.optima.optimum import Optimum
from analysis.optima.surfaces import EXACT
from analysis.tables.columns import numbers

# What tables call counts with some parts of a model or without, in our records and elsewhere.
COUNTED = ("N_non_embedding", "N_with_embedding", "N_with_head", "N_total")
VOCABULARY, WIDTH = ("vocab", "vocab_size"), ("width", "d_model")

COUNTED_C = "C as counted"

# Two columns of counts are one convention when no row tells them apart by more than rounding.
SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Convention:
    """What one way of counting makes of a and b, and how far it is from the first one's."""

    N: str
    """How parameters are counted, in the table's own columns."""
    C: str
    """How FLOPs are: `C as counted`, or 6 times something times D."""
    a: float
    b: float
    interval95: dict[str, Any]
    """[lo, hi] of a and b; empty without resamples."""
    moved: dict[str, Any]
    """By a and b: `by` (less the first convention's), `interval95` of that over the same resamples, and their
    `correlation`, which tells how much the pairing brings. Empty for the first."""
    status: str
    optimum: Optimum | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        return plain({name: value for name, value in vars(self).items() if name != "optimum"})


def conventions(
    table: pd.DataFrame,
    law: Law | None,
    *,
    method: str,
    flops: float,
    curve: str,
    width: float,
    bootstrap: int,
    seed: int,
    **knobs: Any,
) -> list[Convention]:
    """Exponents by one approach under every N and C of the table, its own first.

    N: as given, N_non_embedding, N_with_embedding, N_with_head, N_total, and from N_embedding, or vocab and
    width, what those lack. C: the table's own, and flops times each N or the largest N times D. law: fitted
    anew under each (knobs: those of `analysis.fits.fit`), for approach 3, and for the bias and interval of 1;
    may be None for approaches 1 and 2. Other arguments: see `analysis.optima.approaches.approach`.
    The same seed draws the same resamples of the same rows under each, so that differences have intervals of
    their own. Raises ValueError when the first convention, the table as it is, cannot be read.
    """
    rows, _ = complete(table, flops)
    solver = knobs | {"bootstrap": bootstrap if method == "approach3" else 0, "seed": seed}
    asked = {"method": method, "flops": flops, "curve": curve, "width": width}
    asked |= {"bootstrap": bootstrap, "seed": seed}
    found: list[Convention] = []
    for (N, C), (n, c) in counted(rows, flops).items():
        try:
            optimum = _read(rows.assign(N=n, C=c), law, solver, asked)
        except ValueError as error:
            if not found:
                raise
            found.append(Convention(N, C, np.nan, np.nan, {}, {}, f"not read: {error}"))
            continue
        first = found[0].optimum if found else None
        ends = {name: optimum.interval95[name] for name in ("a", "b") if optimum.interval95}
        shift = {} if first is None else {name: _moved(optimum, first, name) for name in ("a", "b")}
        found.append(Convention(N, C, optimum.a, optimum.b, ends, shift, optimum.status, optimum))
    return found


def _read(rows: pd.DataFrame, law: Law | None, solver: dict[str, Any], asked: dict[str, Any]) -> Optimum:
    rows.attrs = {key: value for key, value in rows.attrs.items() if key != "filled"}  # C is now as said
    fit = None if law is None else fits.fit(rows, law, **solver)
    return approach(rows, fit=fit, budgets=[float(rows.C.max())], **asked)


def sizes(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Every count of parameters the table carries or lets one add up, by what it is made of; (n,) each.

    Counts that no row tells apart are one, under the first name.
    """
    source = rows.attrs.get("source", "table")
    every = {name: numbers(rows, name, source) for name in COUNTED if name in rows}
    N = rows.N.to_numpy(float)
    if not set(every) - {"N_non_embedding"}:
        vocabulary, width = (next((x for x in names if x in rows), None) for names in (VOCABULARY, WIDTH))
        if "N_embedding" in rows:
            every["(N + N_embedding)"] = N + numbers(rows, "N_embedding", source)
        elif vocabulary and width:
            one = numbers(rows, vocabulary, source) * numbers(rows, width, source)
            every[f"(N + {vocabulary} {width})"] = N + one
    out = {"N": N}
    for name, n in every.items():
        if not any(np.allclose(n, other, rtol=SAME, atol=0) for other in out.values()):
            out[name] = n
    return out


def counted(rows: pd.DataFrame, flops: float) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Every pair of conventions by name, with N and C (n,) each, the table's own first and none twice."""
    D, C = rows.D.to_numpy(float), rows.C.to_numpy(float)
    every = sizes(rows)
    largest = max(every, key=lambda name: np.nansum(every[name]))
    costs = {name: (f"{flops:g} {name} D", flops * n * D) for name, n in every.items()}
    off = {name: np.abs(C / cost - 1).max() for name, (_, cost) in costs.items()}
    own = min(off, key=lambda name: off[name])
    words = costs[own][0] if off[own] < EXACT else COUNTED_C
    out = {}
    for name, n in every.items():
        theirs = [(words, C)] if words == COUNTED_C or not out else []
        for cost in (*theirs, costs[name], costs[largest]):
            out.setdefault((name, cost[0]), (n, cost[1]))
    return out


def _moved(optimum: Optimum, first: Optimum, name: str) -> dict[str, Any]:
    """How far one exponent is from the first convention's, over resamples of the same rows."""
    out: dict[str, Any] = {"by": getattr(optimum, name) - getattr(first, name)}
    if optimum.samples is None or first.samples is None:
        return out
    ours, theirs = getattr(optimum.samples, name), getattr(first.samples, name)
    both = np.isfinite(ours) & np.isfinite(theirs)
    if both.sum() < 2:
        return out
    ours, theirs = ours[both], theirs[both]
    apart = ours.std() > 0 and theirs.std() > 0
    return out | {
        "interval95": np.quantile(ours - theirs, [0.025, 0.975]).tolist(),
        "correlation": float(np.corrcoef(ours, theirs)[0, 1]) if apart else None,
    }


def said(found: Sequence[Convention]) -> str:
    """What the conventions make of a, in sentences."""
    first, rest = found[0], [c for c in found[1:] if np.isfinite(c.a)]
    if not np.isfinite(first.a):
        return f"With {first.N} and {first.C} there is no exponent to compare others with."
    text = f"With {first.N} and {first.C}, a = {first.a:.3f}{_within(first.interval95)}."
    if not rest:
        return f"{text} The table carries no other convention that gives an exponent."
    far = max(rest, key=lambda c: abs(c.moved["a"]["by"]))
    by, ends = far.moved["a"]["by"], far.moved["a"].get("interval95")
    sure = f" (95 % {ends[0]:+.3f} to {ends[1]:+.3f})" if ends else ""
    text += f" Of {len(rest)} others {far.N} and {far.C} moves it furthest, by {by:+.3f}{sure} to {far.a:.3f}"
    if not ends or not first.interval95:
        return f"{text}."
    low, high = first.interval95["a"]
    share = f", {2 * abs(by) / (high - low):.1f} times the half-width of its interval" if high > low else ""
    text += f"{share}."
    if ends[0] * ends[1] > 0:
        return f"{text} These runs tell the two apart: give an exponent with its convention."
    return f"{text} These runs do not tell the two apart."


def _within(ends: Mapping[str, Any]) -> str:
    return f" ({ends['a'][0]:.3f} to {ends['a'][1]:.3f})" if ends else ""
