"""The figures of a measurement as tables, and docs/performance.md brought up to date: python -m bench.table

Between the markers of that page stands what bench/results/speed.json says, and nothing else.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plot
from bench.contestants import BEST, BF16, CONTESTANTS, FP32, TRAINER
from bench.fresh import ROOT
from scalelaw.run import write_atomically

PAGE = ROOT / "docs" / "performance.md"
RESULT = ROOT / "bench" / "results" / "speed.json"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
UNMEASURED = "Nothing has been measured at this commit: `make bench` does it."
# The architecture of ours that does a family's work.
MATCH = {"decoder": "scalelaw causal decoder", "encoder-decoder": "scalelaw encoder-decoder"}
MB = 1e6


def block(result: Mapping[str, Any]) -> str:
    """All sections that were measured, as Markdown."""
    sections: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
        "provenance": _origin,
        "speed": _speed,
        "peaks": _utilisation,
        "growth": _growth,
        "sweep": _sweep,
        "overhead": _overhead,
        "memory": _memory,
        "fitting": _fitting,
    }
    return "\n\n".join(text for key, write in sections.items() if key in result for text in write(result))


def _origin(result: Mapping[str, Any]) -> list[str]:
    it = result["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in it["versions"].items() if version)
    commit = (it["commit"] or "unknown").split("+")
    dirty = ", changed" if len(commit) > 1 else ""
    later = [
        f"Measured later, at commit {(there['commit'] or 'unknown')[:12]}: {part}."
        for part, there in result.get("later", {}).items()
    ]
    return [
        " ".join(
            [
                f"{it['machine']}, {it['cores']} cores. Python {it['python']}, {versions}.",
                f"Commit {commit[0][:12]}{dirty}.",
                *later,
            ]
        )
    ]


def _speed(result: Mapping[str, Any]) -> list[str]:
    rows = result["speed"]
    names = list(rows[0]["contestants"])
    texts = [
        f"Rows of {rows[0]['size']['window']} tokens, a vocabulary of {rows[0]['size']['vocabulary']:,}; "
        + ", ".join(
            f"d = {r['size']['width']}: {r['size']['depth']} blocks, {r['size']['rows']} rows a step"
            for r in rows
        )
        + "."
    ]
    for kind, title in plot.FAMILIES.items():
        own = [name for name in names if CONTESTANTS[name].family == kind]
        if own:
            texts += [f"### {title}, tokens per second", _grid("", rows, own, _rate)]
            if ratios := _ratios(rows, kind):
                texts += [f"How many times as fast {MATCH[kind]} is, in its best setting:", ratios]
    texts += ["### Parameters", _grid("", rows, names, lambda figures: f"{figures['parameters']:,}")]
    return [*texts, "### Where others are ahead", _ahead(rows)]


def _grid(
    corner: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], cell: Callable[..., str]
) -> str:
    """A line a contestant, a column a width."""

    def of(row: Mapping[str, Any], name: str) -> str:
        figures = row["contestants"][name]
        return "absent" if "absent" in figures else cell(figures)

    lines = [[name, *(of(row, name) for row in rows)] for name in names]
    whys = {
        row["contestants"][name]["absent"]
        for row in rows
        for name in names
        if "absent" in row["contestants"][name]
    }
    said = f"\n\nAbsent: {'; '.join(sorted(whys))}." if whys else ""
    return _table([corner, *_widths(rows)], lines) + said


def _rate(figures: Mapping[str, Any]) -> str:
    low, high = min(figures["rounds"]), max(figures["rounds"])
    return f"{figures['tokens_per_second']:,.0f} ({low:,.0f} to {high:,.0f})"


def _ratios(rows: Sequence[Mapping[str, Any]], kind: str) -> str:
    """Over each peer's best setting, and over its other ways of training that have a line of their own."""
    lines = []
    for who in dict.fromkeys(c.who for c in CONTESTANTS.values() if c.family == kind and not c.ours):
        found = [_over(row, kind, plot.best(row).get(who)) for row in rows]
        lines.append([f"{who}, its best", *found])
        trained = f"{who}, Trainer"
        if trained in CONTESTANTS:
            figures = [row["contestants"].get(trained, {"absent": ""}) for row in rows]
            lines.append(
                [trained, *(_over(row, kind, (TRAINER, f)) for row, f in zip(rows, figures, strict=True))]
            )
    kept = [line for line in lines if any(cell for cell in line[1:])]
    return _table(["over", *_widths(rows)], kept) if kept else ""


def _over(row: Mapping[str, Any], kind: str, peer: tuple[str, Mapping[str, Any]] | None) -> str:
    mine = plot.best(row).get(MATCH[kind])
    if mine is None or peer is None or "absent" in peer[1]:
        return ""
    setting, figures = peer
    uncompiled = " (not compiled)" if mine[0] == BEST and setting == BF16 else ""
    return f"{mine[1]['tokens_per_second'] / figures['tokens_per_second']:.2f}{uncompiled}"


def _ahead(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every peer that is faster than ours of its family at some width: each side in its best setting, and
    both in the same. A Trainer's defaults are float32 as a model comes."""
    lines = []
    for row in rows:
        found, best = row["contestants"], plot.best(row)
        for name, figures in found.items():
            peer = CONTESTANTS[name]
            if peer.ours or "absent" in figures:
                continue
            mine = MATCH[peer.family]
            same = f"{mine}, {FP32 if peer.setting == TRAINER else peer.setting}"
            in_best = best[peer.who][0] == peer.setting and mine in best
            for ours, said in (
                (best[mine][1] if in_best else None, "each in its best setting"),
                (found.get(same), "both in this setting"),
            ):
                lead = figures["tokens_per_second"] / ours["tokens_per_second"] if ours else 0.0
                if lead > 1:
                    d = row["size"]["width"]
                    lines.append(f"- d = {d}: {name}, by {100 * (lead - 1):.0f} %, {said}.")
    return "\n".join(lines) or "Nowhere, at these sizes on this machine."


def _utilisation(result: Mapping[str, Any]) -> list[str]:
    tops = {kind: found["flops_per_second"] for kind, found in result["peaks"].items()}
    said = " and ".join(
        f"{tops[kind] / 1e9:,.0f} GFLOP/s in {kind} ({' x '.join(map(str, found['product']))})"
        for kind, found in result["peaks"].items()
    )
    lines = []
    for row in result.get("speed", []):
        for name, figures in row["contestants"].items():
            if "flops_per_token" in figures:
                rate = figures["flops_per_token"] * figures["tokens_per_second"]
                shares = [f"{100 * rate / top:.0f} %" for top in tops.values()]
                lines.append([name, str(row["size"]["width"]), f"{rate / 1e9:,.0f}", *shares])
    head = ["", "d", "GFLOP/s", *(f"of the {kind} peak" for kind in tops)]
    return [
        "### Use of the machine",
        f"The fastest matrix product on one thread: {said}.",
        *([_table(head, lines)] if lines else []),
    ]


def _growth(result: Mapping[str, Any]) -> list[str]:
    texts = ["### Growth of a step's cost"]
    labels = {"window": "T, tokens a row", "vocabulary": "V, vocabulary"}
    for along, rows in result["growth"].items():
        lines = []
        for row in rows:
            [(name, figures)] = row["contestants"].items()
            each = 1e6 / figures["tokens_per_second"]
            work = figures["flops_per_token"]
            lines.append(
                [f"{row['size'][along]:,}", f"{each:.1f}", f"{work / 1e6:.2f}", f"{work / each / 1e3:.0f}"]
            )
        head = [labels[along], "microseconds a token", "MFLOP a token", "GFLOP/s"]
        texts += [f"{name}, d = {rows[0]['size']['width']}:", _table(head, lines)]
    return texts


def _sweep(result: Mapping[str, Any]) -> list[str]:
    sweeps = result["sweep"]
    ways = list(next(iter(sweeps.values()))["runs_per_minute"])
    lines = [[way, *(f"{it['runs_per_minute'][way]:.1f}" for it in sweeps.values())] for way in ways]
    spans = (
        f"{name}: {it['runs']} runs of {' or '.join(map(str, it['steps']))} steps"
        for name, it in sweeps.items()
    )
    said = "; ".join(spans) + "."
    return ["### Whole sweeps, runs per minute", said, _table(["", *sweeps], lines)]


def _overhead(result: Mapping[str, Any]) -> list[str]:
    lines = [
        [name, f"{it['seconds_a_run']:.2f}", f"{it['seconds_of_start']:.1f}"]
        for name, it in result["overhead"].items()
    ]
    return [
        "### Overhead of a run that hardly trains, seconds",
        _table(["", "a run", "start of a sweep"], lines),
    ]


def _memory(result: Mapping[str, Any]) -> list[str]:
    loss = result["memory"]["loss"]
    d, V, rows_, T = (loss["size"][key] for key in ("width", "vocabulary", "rows", "window"))
    lines = [[kind, f"{loss[kind] / MB:,.0f}"] for kind in ("fused", "unchunked")]
    rows = result["memory"]["steps"]
    steps = [
        [name, *("absent" if (b := row["bytes"][name]) is None else f"{b / MB:,.0f}" for row in rows)]
        for name in rows[0]["bytes"]
    ]
    return [
        "### Peak memory of a step, MB",
        f"Causal decoder, d = {d}, V = {V:,}, {rows_} rows of {T} tokens:",
        _table(["loss", "MB"], lines),
        "At the sizes of the comparison:",
        _table(["", *_widths(rows)], steps),
    ]


def _fitting(result: Mapping[str, Any]) -> list[str]:
    lines = [[str(it["bootstrap"]), f"{it['seconds']:.2f}"] for it in result["fitting"]]
    head = ["resamples", "seconds"]
    return [f"### Fitting Chinchilla's law to {result['fitting'][0]['rows']} rows", _table(head, lines)]


def _widths(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"d = {row['size']['width']}" for row in rows]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def page(text: str, path: Path) -> str:
    """The page's text with the tables of the result at `path` between its markers.

    Raises ValueError when the markers are not there, once each.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the page needs {BEGIN} and {END} once each")
    before, rest = text.split(BEGIN)
    found = block(json.loads(path.read_text())) if path.exists() else UNMEASURED
    return f"{before}{BEGIN}\n\n{found}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    write_atomically(PAGE, page(PAGE.read_text(), RESULT))
