"""The tables of a fit's page about the compute optimum: by one approach, by all three, however one counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.account import Account
from analysis.law import unusable
from analysis.optima.approaches import METHODS
from analysis.optima.optimum import Optimum
from analysis.plots.style import short
from analysis.report import html
from analysis.report.fit_sections import counted, ends, none
from analysis.report.fit_words import WARN
from analysis.report.html import Num, Raw, join, sci, sig, tag

COUNTABLE = 1e18  # no run has as many parameters or tokens: an end beyond says that there is none
ROWS = 12  # told one by one

SOURCES = {
    "approach1": "the envelope of the runs",
    "approach2": "IsoFLOP profiles",
    "approach3": "the fitted law",
}


def optimum(account: Account) -> Raw:
    """a, b, and N_opt and D_opt at the budgets."""
    found = account.optimum
    if found is None:
        return Raw("")
    got: dict[str, Any] = found.to_json() if isinstance(found, Optimum) else found
    beyond = got["extrapolated"] if isinstance(found, Optimum) else _beyond(account, found)
    pairs = got.get("interval95") or {}
    grown = join([_exponent(got, pairs, "N", "a"), _exponent(got, pairs, "D", "b")], "; ")
    names = [name for name in ("N_opt", "D_opt", "loss") if name in got]
    head: list[object] = ["C"]
    for name in names:
        head += [html.prose(name), *(["95 % interval"] if name in pairs else [])]
    rows = []
    for k, C in enumerate(got["C"]):
        row: list[object] = [sci(C, 3)]
        for name in names:
            row.append((sig if name == "loss" else counted)(got[name][k]))
            if name in pairs:
                row.append((ends if name == "loss" else _wide)(_pair(pairs[name], k)))
        N, D = got["N_opt"][k], got["D_opt"][k]
        row.append(sig(D / N, 3) if N and D else none())
        rows.append([*row, tag("span", "extrapolated", class_=WARN) if beyond[k] else "among the runs"])
    return join(
        [
            tag("p", f"By {_method(got['method'])}: ", grown, "."),
            html.table([*head, "D / N", ""], rows),
            _said_by(found) if isinstance(found, Optimum) else "",
        ]
    )


def _method(name: str) -> str:
    return f"{name.replace('approach', 'approach ')}, {SOURCES[name]}"


def _exponent(got: dict[str, Any], pairs: dict[str, Any], what: str, name: str) -> Raw:
    best, value = join([what, tag("sub", "opt")]), got.get(name)
    if value is None or not np.isfinite(value):
        return join([best, ": no exponent"])
    between = join([" ", ends(pairs[name])]) if name in pairs else ""
    return join([best, " grows like C", tag("sup", name), f", {name} = ", sig(value), between])


def _beyond(account: Account, found: dict[str, Any]) -> list[bool]:
    """Which optima lie outside the runs the law was fitted to, in N, D or their product."""
    fit = account.fit
    assert fit is not None
    points = pd.DataFrame({"N": found["N_opt"], "D": found["D_opt"], "C": found["C"]})
    out = np.array(unusable(points.to_numpy(float)).any(axis=1))
    known = points.loc[~out]
    inputs = fit.law.frontier(known["N"], known["D"], known["C"])
    logs = fit.law.logs({name: np.asarray(inputs[name], float) for name in fit.law.inputs})
    out[~out] = fit.scatter.outside(logs[:, : len(fit.law.inputs)])
    return out.tolist()


def _pair(pairs: list[Any], k: int) -> Sequence[float | None]:
    """The k-th of a list of intervals; of one budget there is only the interval itself."""
    return pairs[k] if isinstance(pairs[0], list) else pairs


def _wide(pair: Sequence[float | None]) -> Num:
    """An interval of counts, which may be unbounded."""
    told = [
        short(end) if end is not None and 0 < end < COUNTABLE else where
        for end, where in zip(pair, ("0", "∞"), strict=True)
    ]
    return Num(f"[{told[0]}, {told[1]}]", pair[0])


def _said_by(found: Optimum) -> Raw:
    """What an approach says of itself, and what it is known to get wrong."""
    told = [found.status[:1].upper() + found.status[1:]] if found.status else []
    if found.resampling["method"]:
        how = found.resampling
        lost = f", {how['lost']} of them without a result" if how["lost"] else ""
        told.append(f"Intervals: {how['resamples']} draws, {how['method']}{lost}")
    if found.outliers:
        rows = ", ".join(map(str, found.outliers[:ROWS]))
        told.append(f"Further from their group's curve than scatter explains, and kept: rows {rows}")
    if found.bias is not None:
        off = (found.bias["with_noise"] or found.bias["noise_free"])["a"]
        right = found.bias["corrected"]
        if off is not None and np.isfinite(off):
            pair = (right.get("interval95") or {}).get("a")
            between = f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair else ""
            told.append(
                f"On the fitted surface, sampled as these runs are, the approach gets a wrong by {off:+.4f}; "
                f"with that taken off, a = {right['a']:.4f}{between}"
            )
        elif found.bias["status"]:
            told.append(f"Its bias is {found.bias['status']}")
    return tag("p", html.prose(". ".join(told) + "."), class_="intro") if told else Raw("")


def approaches(account: Account) -> Raw:
    """a and b by all three approaches, and whether they disagree by more than they would on one surface."""
    found = account.approaches
    if found is None:
        return Raw("")
    rows = []
    for name in METHODS:
        one = found[name]
        pairs = one.get("interval95") or {}
        cells = [cell for x in "ab" for cell in (sig(one.get(x)), ends(pairs.get(x)))]
        rows.append([_method(name), *cells, html.prose(one["status"])])
    tests = [
        [
            " and ".join(name.removeprefix("approach") for name in pair["approaches"]),
            _signed(pair["difference"]),
            _signed(pair["expected"]),
            sig(pair["stderr"], 2),
            sig(pair["p_beyond"], 2),
        ]
        for pair in found["disagreement"].get("pairs", [])
    ]
    verdict = found["disagreement"]["verdict"]
    head = ["approaches", "difference in a", "expected on one surface", "standard error", "p beyond that"]
    return join(
        [
            tag("p", html.prose(f"{verdict[:1].upper()}{verdict[1:]}.")),
            html.table(["read off", "a", "95 % interval", "b", "95 % interval", ""], rows),
            tag("p", Raw("&nbsp;")) if tests else "",
            html.table(head, tests) if tests else "",
        ]
    )


def conventions(account: Account) -> Raw:
    """a and b under every way to count N and C that the table carries."""
    found = account.conventions
    if found is None:
        return Raw("")
    rows = []
    for one in found["each"]:
        moved = one["moved"].get("a", {})
        rows.append(
            [
                one["N"],
                one["C"],
                sig(one["a"]),
                ends(one["interval95"].get("a")),
                sig(one["b"]),
                _signed(moved.get("by")),
                ends(moved.get("interval95"), 3),
                html.prose(one["status"]),
            ]
        )
    head = ["N counted as", "C counted as", "a", "95 % interval", "b", "a moved by", "95 % interval", ""]
    return join([tag("p", html.prose(found["said"])), html.table(head, rows)])


def _signed(value: float | None) -> Num:
    if value is None or not np.isfinite(value):
        return none()
    return Num(f"{value:+.4f}".replace("-", "−"), value)
