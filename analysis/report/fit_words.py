"""What a fit's certificate comes to, in sentences a reader of the page can act on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis import fits
from analysis.fits import EXPONENT_SPAN, FACTOR_SPAN
from analysis.forecasts import Audit
from analysis.law import Fit
from analysis.solver.certificate import GRADIENT, RIVAL
from analysis.solver.profile import open_ended

GOOD, WARN, BAD = "good", "warn", "bad"


def grade(fit: Fit) -> str:
    """How far to believe the parameters: good, warn (found, but not all are measured), bad."""
    if fit.status != fits.CONVERGED:
        return BAD
    return GOOD if fits.verdict(fit) == fits.CONVERGED else WARN


def advice(fit: Fit) -> Iterator[str]:
    """The verdict's reasons, a sentence each, and what may still be done with such a fit."""
    certificate = fit.certificate
    idle, at_bound = certificate["unidentified"], certificate["bounds_hit"]
    open_ = [name for name in open_ended(certificate.get("profile", {}), at_bound) if name not in idle]
    rivals = [other for other in certificate["minima"][1:] if other["gap"] < RIVAL]
    wide = [name for name in fits.undetermined(fit) if name not in (*idle, *at_bound, *open_)]
    if idle:
        yield (
            f"{_listed(idle)} can be traded against one another without any prediction changing: no value of "
            f"{'it' if len(idle) == 1 else 'theirs'} should be quoted. Predictions among the runs hold."
        )
    if certificate["gradient_norm"] > GRADIENT and not idle:
        yield "The search has not come to rest: these are not the parameters of the minimum."
    if at_bound:
        yield (
            f"{_listed(at_bound)} {_is(at_bound)} at the end of what the law allows: the runs would have "
            f"{'it' if len(at_bound) == 1 else 'them'} beyond, or do not see the term at all."
        )
    if open_:
        yield (
            f"The runs set no {_sides(certificate['profile'], open_)} limit to {_listed(open_)}: "
            f"held far away, the law fits nearly as well."
        )
    if rivals:
        lie = "minimum lies" if len(rivals) == 1 else "minima lie"
        yield (
            f"{len(rivals)} other {lie} within {RIVAL:.1%} of the least sum: a few other rows may change "
            "which is best."
        )
    if wide:
        yield (
            f"The 95 % interval of {_listed(wide)} spans more than a factor {FACTOR_SPAN:g} "
            f"({EXPONENT_SPAN:g} for an exponent) or reaches 0: quote predictions with their interval rather "
            "than the value."
        )
    if idle or at_bound or open_ or rivals or wide or fit.status != fits.CONVERGED:
        return
    if not fit.interval95:
        yield "This is a minimum. No resamples were drawn: how well it is determined is not known."
    else:
        yield "The minimum is sharp, alone and away from every bound: the parameters may be quoted."


def record(found: Audit | None) -> str:
    """How the law's forecasts of the table's own larger runs went."""
    if found is None:
        return "How it forecasts larger runs than it was fitted to was not looked at."
    if not np.isfinite(found.score):
        return "None of the table's larger runs could be held out and forecast."
    told = (
        f"Fitted without the table's larger runs, at {len(found.cuts)} cuts, it forecasts them with a mean "
        f"error of {found.score:.2%}"
    )
    if not np.isfinite(found.inside):
        return f"{told}."
    return f"{told}; {found.inside:.0%} of them lie in their 95 % interval for a new run."


def notes(fit: Fit, name: str) -> list[tuple[str, str]]:
    """What is to be said of one parameter: (text, grade)."""
    certificate = fit.certificate
    if name in fit.fixed:
        return [("given", "")]
    out = []
    if name in certificate["unidentified"]:
        out.append(("not identified", BAD))
    if name in certificate["bounds_hit"]:
        out.append(("at a bound", BAD))
    profile = certificate.get("profile", {})
    if name in open_ended(profile, certificate["bounds_hit"]):
        out.append((f"open {_side(profile[name])}", BAD))
    if not out and name in fits.undetermined(fit):
        out.append(("not determined", WARN))
    return out


def _side(profile: dict[str, Any]) -> str:
    low, high = profile["interval95"]
    return "on both sides" if low is None and high is None else "below" if low is None else "above"


def _sides(profile: dict[str, dict[str, Any]], names: list[str]) -> str:
    ends = [profile[name]["interval95"] for name in names]
    words = [word for k, word in enumerate(("lower", "upper")) if any(pair[k] is None for pair in ends)]
    return " or ".join(words)


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
