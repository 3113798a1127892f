"""How a study that chose its own runs went: what each round knew, what was asked for, and what it chose."""

from collections import Counter
from typing import Any

from analysis.plots.style import short
from analysis.report import html
from analysis.report.html import Num, Raw, join, sci, sig, tag, whole


def rounds(told: dict[str, Any] | None) -> Raw:
    """A row a round, of what decisions.json holds; nothing where the runs were not chosen so."""
    if told is None:
        return Raw("")
    asked = list(dict.fromkeys(name for entry in told["rounds"] for name in entry["intervals"]))
    rows = [
        [
            whole(entry["runs"]),
            sci(entry["flops"]),
            entry["fit"]["status"] if entry["fit"] else "–",
            *(_width(entry["intervals"].get(name)) for name in asked),
            "; ".join(_points(entry["chosen"])) or "–",
            html.prose(entry["why"]) if entry["chosen"] else "–",  # why it ended is said above
        ]
        for entry in told["rounds"]
    ]
    end = f"It ended: {told['stopped']}." if told["stopped"] else "It has not ended."
    note = (
        f"The study chose its own runs: before each round the law {told['law']} was fitted to all that there "
        "were. Widths are those of 95 % intervals, of a size its upper end over its lower, and in brackets "
        f"what was asked for. Chosen are parameters on training tokens. {end}"
    )
    head = ["runs so far", "FLOPs", "fit", *(f"width of {name}" for name in asked), "chosen", "why"]
    return join([tag("p", html.prose(note)), html.table(map(html.prose, head), rows)])


def _width(known: dict[str, Any] | None) -> Num:
    if known is None or not known["interval"]:
        return Num("–", None)
    return Num(f"{sig(known['width'], 3)} ({known['wanted']:g})", known["width"])


def _points(chosen: list[dict[str, Any]]) -> list[str]:
    times = Counter((run["N"], run["D"]) for run in chosen)
    return [f"{short(N)} on {short(D)}" + (f", {n} times" if n > 1 else "") for (N, D), n in times.items()]
