"""The page: one self-contained HTML file that says what was run, what was fitted, and how far to trust it."""

import numpy as np

from analysis.plots import plates
from analysis.plots.style import short
from analysis.report import chosen, html, sections
from analysis.report.caution import caution
from analysis.report.html import Raw, join, sci, tag
from analysis.report.page import definitions, frame
from analysis.report.results import provenance
from analysis.report.study import Study


def page(study: Study, *, title: str) -> str:
    """The report as HTML. No link leaves it: styles, script and figures are inside."""
    body = join(
        [
            _header(study, title),
            _section("test", "The test: rungs the fit has not seen", sections.held_out(study)),
            _section("fits", "The fits", sections.fits(study)),
            *(
                _section(
                    p.name,
                    p.title,
                    tag("figure", Raw(p.svg), tag("figcaption", html.prose(p.caption))),
                    sections.optima(study) if p.name == "side-by-side" else "",
                )
                for p in plates(study)
            ),
            _section("decisions", "How the runs were chosen", chosen.rounds(study.decisions)),
            _section("unfinished", "Runs that did not finish", sections.unfinished(study)),
            _section("runs", "Runs", sections.runs(study)),
            _section("definitions", "What the words mean", definitions(_methods(study))),
        ]
    )
    return frame(title, body)


def _section(name: str, title: str, *content: object) -> Raw:
    return tag("section", tag("h2", title), *content, id=name) if any(content) else Raw("")


def _methods(study: Study) -> set[str | None]:
    return {fit.resampling.get("method") for fits in study.fits.values() for fit in fits.values()}


def _header(study: Study, title: str) -> Raw:
    runs, done = study.runs, study.finished
    seconds = sum(r.timing.get("seconds", 0.0) for r in study.origins)
    rates = [r.timing["tokens_per_second"] for r in study.origins if r.timing.get("tokens_per_second")]
    tiles = [
        (
            "Runs finished",
            f"{len(done)} of {len(runs) + len(study.unrecorded)}",
            f"{len(study.architectures)} architectures",
        ),
        ("N, parameters", _range(done.N), f"{_decades(done.N):.1f} decades, {done.N.nunique()} sizes"),
        ("D, training tokens", _range(done.D), f"{_decades(done.D):.1f} decades"),
        (
            "C, training FLOPs",
            join([sci(done.C.min(), 2), " – ", sci(done.C.max(), 2)]),
            f"{_decades(done.C):.1f} decades",
        ),
        ("All training", join([sci(runs.C.sum(), 2), " FLOPs"]), f"{_duration(seconds)} of run time"),
    ]
    if rates:
        tiles.append(("Tokens a second", _range(rates), f"median {short(float(np.median(rates)))}"))
    versions = {
        ", ".join(f"{k} {v}" for k, v in (r.provenance.get("versions") or {}).items() if v)
        for r in study.origins
    }
    origin = provenance(study.origins)
    made = {name.capitalize(): _all(values) for name, values in origin.items()}
    made["Command"] = _common(origin["command"])
    made["Versions"] = _all(versions - {""})
    return tag(
        "header",
        tag("h1", title),
        tag(
            "div",
            *(
                tag("div", tag("b", value), tag("span", name), tag("small", note), class_="tile")
                for name, value, note in tiles
            ),
            class_="tiles",
        ),
        tag("p", html.prose(told), class_="intro") if (told := caution(study)) else "",
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in made.items() if value)),
    )


MANY = 3  # more different values than this are counted, not listed


def _all(values) -> str:
    told = sorted(map(str, values))
    return "; ".join(told) if len(told) <= MANY else f"{told[0]}, and {len(told) - 1} more"


def _common(commands: list[str]) -> str:
    """The words that the commands of all runs share, with an ellipsis for those in which they differ."""
    if len(commands) < 2:
        return "".join(commands)
    rest = [set(command.split()) for command in commands[1:]]
    words = commands[0].split()
    shared = [word for word in words if all(word in other for other in rest)]
    return " ".join(shared) + (" …" if shared != words else "")


def _range(values) -> str:
    return f"{short(float(np.min(values)))} – {short(float(np.max(values)))}"


def _decades(values) -> float:
    return float(np.log10(np.max(values) / np.min(values)))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
