"""A table of curves judged: emergent, smooth, flat, not learned or undecided, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from analysis.emergence import intervals, mirage
from analysis.emergence.curves import Curve
from analysis.emergence.detect import Detection, detect

SIGNIFICANT = 0.05
# A p-value above this is no hint of a threshold either.
NO_HINT = 0.2
# log(S_smooth / S_abrupt), below which a threshold, however sure, is not what the curve is about, and below
# which it does not matter. Where hundreds of models of many families are scored, everything is significant.
# Chosen with the tasks of Ruan et al. 2024 in view, between 0.57 (3-digit addition along C) and 0.44 (MMLU).
EFFECT, SLIGHT = 0.5, 0.3
# Share of the room above chance that a floor may lie above it, and that counts as learned.
NEAR = 0.1
CLOSE = 2.0  # standard errors within which a level is chance


@dataclass(frozen=True)
class Judged:
    """One curve's verdict. threshold and interval95 are in units of the curve's x."""

    task: str
    metric: str
    verdict: str
    score: float
    p_value: float | None
    threshold: float | None
    interval95: list[float] | None
    mirage: str | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    curves: Sequence[Curve], *, share: float, bootstrap: int, seed: int
) -> list[tuple[Curve, Detection | None, Judged]]:
    """Search every curve, correct for their number (Benjamini and Hochberg 1995), give verdicts.

    share, bootstrap: as in `detect`. A curve that is too short to be searched is undecided.
    """
    knobs = {"share": share, "bootstrap": bootstrap, "seed": seed}
    found: list[Detection | None] = []
    short: dict[int, str] = {}
    for k, curve in enumerate(curves):
        try:
            found.append(detect(curve, **knobs))
        except ValueError as error:
            found.append(None)
            short[k] = str(error)
    raw = np.array([1.0 if d is None else d.p_value for d in found])
    searched = np.array([d is not None for d in found], bool)
    adjusted = raw.copy()
    if searched.any():
        adjusted[searched] = false_discovery_control(raw[searched])
    verdicts = [
        ("undecided", short[k]) if d is None else _verdict(curve, d, float(adjusted[k]))
        for k, (curve, d) in enumerate(zip(curves, found, strict=True))
    ]
    return [
        (curve, d, _judged(k, curves, d, verdicts, knobs))
        for k, (curve, d) in enumerate(zip(curves, found, strict=True))
    ]


def _judged(
    k: int,
    curves: Sequence[Curve],
    found: Detection | None,
    verdicts: Sequence[tuple[str, str]],
    knobs: dict[str, Any],
) -> Judged:
    curve, (verdict, reason) = curves[k], verdicts[k]
    threshold, interval, seen = None, None, None
    if found is not None and verdict == "emergent":
        at, low, high = intervals.threshold(curve, **knobs)
        threshold, interval = curve.at(at), sorted((curve.at(low), curve.at(high)))
        others = [c for c in curves if c.task == curve.task and c.continuous and not curve.continuous]
        verdict_there, why = mirage.verdict(curve, at, others, **knobs)
        seen, reason = verdict_there, f"{reason}; {why}" if why else reason
    if curve.left_out:
        reason += f"; {len(curve.left_out)} rows left out ({curve.left_out[0]}"
        reason += ", ...)" if len(curve.left_out) > 1 else ")"
    return Judged(
        task=curve.task,
        metric=curve.metric,
        verdict=verdict,
        score=0.0 if found is None else found.score,
        p_value=None if found is None else found.p_value,
        threshold=threshold,
        interval95=interval,
        mirage=seen,
        reason=reason,
    )


def _verdict(curve: Curve, d: Detection, p: float) -> tuple[str, str]:
    """p: corrected for the number of curves."""
    if d.p_trend > SIGNIFICANT and p > SIGNIFICANT:
        return _flat(curve, d)
    said = f"ramp against smooth: p = {p:.2g} corrected for the curves scanned, effect {d.effect:.2g}"
    slight = max(d.effect, d.statistic / len(curve.x)) < SLIGHT and not d.by_items
    if p > NO_HINT or (p > SIGNIFICANT and slight):
        return "smooth", f"rises without a floor that sets it apart ({said})"
    if p > SIGNIFICANT:
        return "undecided", f"a hint of a threshold, no more ({said})"
    if d.effect < EFFECT and not d.by_items:
        if slight:
            return "smooth", f"a bend, but models scatter about it almost as about a smooth curve ({said})"
        return "undecided", f"a threshold for many models, with others far from it ({said})"
    if curve.chance is not None and not _at_chance(curve, d.base, d):
        return "smooth", f"bends upwards from {d.base:.2g}, which is above chance {curve.chance:.2g} ({said})"
    if d.base > 1 - NEAR:
        return "smooth", f"was learned before the bend ({said})"
    return "emergent", f"at {d.base:.2g} below, then up by {d.rise:.2g} within {d.width:.2g} decades ({said})"


def _flat(curve: Curve, d: Detection) -> tuple[str, str]:
    """No trend: at chance it is not learned, elsewhere flat."""
    if curve.bounded and _at_chance(curve, d.level, d):
        known = "0, as no chance is told" if curve.chance is None else f"{curve.chance:.2g}"
        return "not_learned", f"at chance ({known}) at every size: {d.level:.2g} in the mean"
    return "flat", f"no rise with {curve.axis}: {d.level:.2g} in the mean (trend p = {d.p_trend:.2g})"


def _at_chance(curve: Curve, level: float, d: Detection) -> bool:
    """Whether a level is chance: within its error, or so near that nobody would call it learned."""
    p = np.full(len(curve.x), float(np.clip(level, 0, 1)))
    error = np.sqrt(d.noise.variance(p).mean() / max(len(p) / 2, 1))
    return level - curve.floor <= max(CLOSE * error, NEAR * (1 - curve.floor))
