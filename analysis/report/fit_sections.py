"""The tables of a fit's page: what was found, and how it was checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from analysis.law import Fit, Law
from analysis.plots.style import short
from analysis.report import html
from analysis.report.fit_words import BAD, GOOD, notes
from analysis.report.html import Num, Raw, join, sci, sig, tag, whole
from analysis.report.symbols import markup, sentence
from analysis.solver.certificate import GRADIENT, RIVAL, SINGULAR
from analysis.solver.profile import open_ended

MINIMA = 8  # told one by one; of more, how many more


def formula(law: Law) -> Raw:
    """The formula that the law's own documentation begins with."""
    first = (type(law).__doc__ or "").strip().split("\n")[0].replace("`", "").replace("prod_", "Π_")
    plain = re.split(r" \(eq| \(section|, with |:", first)[0].rstrip(".")
    return Raw(re.sub(r"\b([a-zΠ])_(\w)\b", r"\1<sub>\2</sub>", sentence(plain, law.names)))


def none() -> Num:
    return Num("–", None)


def ends(pair: Sequence[float | None] | None, digits: int = 4) -> Num:
    """An interval; an end that is not there is open, one beyond a float is infinite."""
    if pair is None or any(end is not None and np.isnan(end) for end in pair):
        return none()
    told = ["open" if end is None else "∞" if np.isposinf(end) else sig(end, digits) for end in pair]
    return Num(f"[{told[0]}, {told[1]}]", pair[0])


def counted(value: float | None) -> Num:
    """A count as it is spoken: 40.1B."""
    if value is None or not np.isfinite(value):
        return none()
    return Num(short(value), value) if 1 <= value < 1e15 else sci(value)


def share(value: float | None, digits: int = 2) -> Num:
    """A number without a sign, per cent."""
    if value is None or not np.isfinite(value):
        return none()
    return Num(f"{100 * value:.{digits}f}&thinsp;%", value)


def parameters(fit: Fit) -> Raw:
    profiles = fit.certificate.get("profile", {})
    head = ["parameter", "value"]
    head += ["standard error", "95 % interval"] if fit.interval95 else []
    head += ["95 % profile"] if profiles else []
    rows = []
    for name, value in fit.params.items():
        row: list[object] = [markup(name), sig(value, 5)]
        if fit.interval95:
            drawn = name not in fit.fixed
            row.append(sig(fit.stderr[name], 3) if drawn else none())
            row.append(ends(fit.interval95[name]) if drawn else none())
        if profiles:
            row.append(ends(profiles[name]["interval95"]) if name in profiles else none())
        row.append(join((tag("span", text, class_=sure) for text, sure in notes(fit, name)), ", "))
        rows.append(row)
    return html.table([*head, ""], rows)


def certificate(fit: Fit) -> Raw:
    rows = [[name, join([found]), html.prose(wanted), _yes(met)] for name, found, wanted, met in _checks(fit)]
    return html.table(["check", "found", "wanted", "met"], rows)


def _yes(met: bool | None) -> Raw:
    if met is None:
        return Raw("–")
    return tag("span", "yes", class_=GOOD) if met else tag("span", "no", class_=BAD)


def _checks(fit: Fit) -> Iterator[tuple[str, object, str, bool | None]]:
    """What is checked, what was found, what is wanted, and whether it is so; None where nobody looked."""
    found = fit.certificate
    minima, hit, condition = found["minima"], found["bounds_hit"], found["condition_number"]
    slope = found["gradient_norm"]
    yield "gradient of the sum", sci(slope, 2), f"at most {GRADIENT:.0e}", slope <= GRADIENT
    others = f"{max(len(minima) - 1, 0)} from {found['starts']} starts"
    rivals = [other for other in minima[1:] if other["gap"] < RIVAL]
    yield "other minima", others, f"none within {RIVAL:.1%} of the sum", not rivals
    infinite = condition is None or not np.isfinite(condition)
    shown = "infinite" if infinite else sig(condition, 3)
    yield "condition number", shown, f"below {1 / SINGULAR:.0e}", not found["unidentified"]
    yield "bounds hit", join(map(markup, hit), ", ") if hit else "none", "none", not hit
    if profiles := found.get("profile"):
        open_ = open_ended(profiles, hit)
        shown = join(["open for ", join(map(markup, open_), ", ")]) if open_ else "all closed"
        yield "profile intervals", shown, "closed", not open_
    else:
        yield "profile intervals", "not computed", "closed", None
    if fit.resampling["resamples"]:
        lost = fit.resampling["unconverged"]
        yield "resamples that did not converge", whole(lost), "none", lost == 0


def minima(fit: Fit) -> Raw:
    """The distinct minima, where there are several: how much worse each is, and its parameters."""
    found = fit.certificate["minima"]
    if len(found) < 2:
        return Raw("")
    free = [name for name in fit.law.names if name not in fit.fixed]
    rows = [
        [
            sig(one["objective"], 8),
            share(one["gap"], 3),
            whole(one["starts"]),
            *(sig(one["params"][name], 5) for name in free),
        ]
        for one in found[:MINIMA]
    ]
    left = f"{len(found) - MINIMA} more, all worse." if len(found) > MINIMA else ""
    head = ["sum", "above the best", "starts", *map(markup, free)]
    return join([html.table(head, rows), tag("p", left) if left else ""])


def summary(fit: Fit) -> Iterator[tuple[str, object]]:
    """Name and value of what is neither parameter nor check."""
    yield "Sum", join([sig(fit.objective, 10), f" over {fit.n} rows: {_criterion(fit)}"])
    scatter = fit.scatter
    told_ = f"{scatter.pooled:.2%} of the loss"
    if scatter.along is not None and scatter.quarters is not None:
        told_ += f"; by quarters of the table {min(scatter.quarters):.2%} to {max(scatter.quarters):.2%}"
    yield "Scatter", told_
    yield "Intervals", _resampling(fit)


def _criterion(fit: Fit) -> str:
    huber = f", linear from {fit.delta:g}" if "huber" in fit.criterion else ""
    return f"{fit.criterion}{huber}"


def _resampling(fit: Fit) -> str:
    how = fit.resampling
    if not how["resamples"]:
        return "none drawn"
    of = f"{how['clusters']} runs" if "clusters" in how else "rows"
    return f"{how['resamples']} resamples of {of} ({how['method']}), seed {fit.seed}"
