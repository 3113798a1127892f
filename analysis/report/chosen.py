"""How a study that chose its own runs went: what each round knew, what was asked for, and what it chose."""

from analysis.plots.style import short
from analysis.report import html
from analysis.report.html import Num, Raw, join, sci, sig, tag, whole
from analysis.tables.decisions import Decisions, Round


def rounds(told: Decisions | None) -> Raw:
    """A row a round; nothing where the runs were not chosen so."""
    if told is None:
        return Raw("")
    asked = list(dict.fromkeys(name for one in told.rounds for name in one.widths))
    rows = [
        [
            whole(one.runs),
            sci(one.flops),
            one.fit or "–",
            *(_width(*one.widths.get(name, (None, None))) for name in asked),
            "; ".join(_points(one)) or "–",
            html.prose(one.why) if one.chosen else "–",  # why it ended is said above
        ]
        for one in told.rounds
    ]
    end = f"It ended: {told.stopped}." if told.stopped else "It has not ended."
    note = (
        f"The study chose its own runs: before each round the law {told.law} was fitted to all that had "
        "ended. Widths are those of 95 % intervals, of N_opt and D_opt the upper end over the lower; in "
        f"brackets what was asked for. Chosen are parameters on training tokens. {end}"
    )
    head = ["runs so far", "FLOPs", "fit", *(f"width of {name}" for name in asked), "chosen", "why"]
    return join([tag("p", html.prose(note)), html.table(map(html.prose, head), rows)])


def _width(width: float | None, wanted: float | None) -> Num:
    return Num("–", None) if width is None else Num(f"{sig(width, 3)} ({wanted:g})", width)


def _points(one: Round) -> list[str]:
    return [
        f"{short(N)} on {short(D)}" + (f", {n} times" if n > 1 else "") for (N, D), n in one.chosen.items()
    ]
