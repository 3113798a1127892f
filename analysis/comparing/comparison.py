"""What a comparison found, in numbers and in sentences: what is shared, what is not, and what it is worth in
compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.comparing.grouped import Grouped
from analysis.comparing.hypotheses import Hypothesis
from analysis.comparing.multipliers import Multiplier
from analysis.comparing.nested import Test
from analysis.fits import CONVERGED
from analysis.law import Fit, Law, plain

SIZE = 0.05  # a difference is called one where equal groups would show it this rarely


@dataclass(frozen=True, eq=False)
class Comparison:
    """One law, several groups of runs: what they share, how they differ, what that is worth in compute."""

    law: Law
    by: str
    reference: str
    n: dict[str, int]
    """Rows of each group, the reference first."""
    alone: dict[str, Fit]
    """Each group's own fit, without resamples; what was left out of it, and what is doubtful, is there."""
    hypotheses: list[Hypothesis]
    """From all shared to all separate."""
    tests: list[Test]
    preferred: str | None
    """The hypothesis with the least AICc."""
    fit: Fit
    """The law over all groups with `shared` in common, its samples drawn as `pairing` says."""
    pairing: str
    differences: dict[str, dict[str, dict[str, Any]]]
    """By group, by published parameter and `a`: {difference, difference95, ratio, ratio95}, against the
    reference."""
    multipliers: dict[str, Multiplier]
    """By group; empty for a law without a compute frontier."""
    no_multiplier: str | None
    """Why there is none."""

    @property
    def groups(self) -> list[str]:
        return list(self.n)

    @property
    def shared(self) -> tuple[str, ...]:
        """The parameters that `fit` has in common for all groups."""
        assert isinstance(self.fit.law, Grouped)
        return self.fit.law.shared

    def params(self, group: str) -> dict[str, float]:
        """The group's published parameters under `fit`."""
        return dict(zip(self.law.names, self._part(self.fit.vector, group).tolist(), strict=True))

    def samples(self, group: str) -> np.ndarray | None:
        """(R, P) draws of them; those of the groups belong together row by row."""
        return None if self.fit.samples is None else self._part(self.fit.samples, group)

    def _part(self, values: np.ndarray, group: str) -> np.ndarray:
        assert isinstance(self.fit.law, Grouped)
        return self.fit.law.part(values, group)

    @property
    def verdict(self) -> list[str]:
        """What came out, in sentences."""
        return verdict(self)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return plain(
            {
                "law": self.law.name,
                "by": self.by,
                "reference": self.reference,
                "n": self.n,
                "verdict": self.verdict,
                "hypotheses": {h.name: h.to_json() for h in self.hypotheses},
                "preferred": self.preferred,
                "tests": [test.to_json() for test in self.tests],
                "alone": {group: fit.to_json() for group, fit in self.alone.items()},
                "fit": self.fit.to_json(),
                "pairing": self.pairing,
                "differences": self.differences,
                "multipliers": {group: m.to_json() for group, m in self.multipliers.items()},
                "no_multiplier": self.no_multiplier,
            }
        )


def verdict(comparison: Comparison) -> list[str]:
    """Sentences: what was left out, doubts about the fits, differences, AICc, pairing, compute."""
    c = comparison
    out = [
        f"{group}: {drop['count']} rows left out ({drop['why']})"
        for group, fit in c.alone.items()
        for drop in fit.dropped
    ]
    named = {f"{group} alone": fit for group, fit in c.alone.items()} | {"groups together": c.fit}
    out += [f"{name}: {fit.status}" for name, fit in named.items() if fit.status != CONVERGED]
    overall = next(test for test in c.tests if test.kind == "any" and test.null == "all shared")
    groups = ", ".join(c.groups)
    if overall.p is None:
        out.append(overall.status)
    elif _rejects(overall):
        out.append(f"{groups} differ: one law for all is rejected, {_p(overall)}")
    else:
        out.append(f"no difference between {groups} is shown, {_p(overall)}; that does not prove them equal")
    out += [f"{name}: held at {value:g}" for name, value in c.fit.fixed.items()]
    free = [name for name in c.law.names if name not in c.fit.fixed]
    out += [_parameter(name, c.tests) for name in free if overall.p is not None]
    if c.preferred is not None:
        out.append(f"AICc prefers: {c.preferred}")
    out.append(c.pairing)
    out.append(f"differences and compute with {', '.join(c.shared) or 'nothing'} shared:")
    out += [_difference(c.reference, g, values) for g, values in c.differences.items() if "a" in values]
    out += [_compute(m) for m in c.multipliers.values()]
    return out if c.no_multiplier is None else [*out, f"no compute multiplier: {c.no_multiplier}"]


def _p(test: Test) -> str:
    assert test.p is not None
    return f"p = {test.p:.2g}"


def _parameter(name: str, tests: list[Test]) -> str:
    """What the two tests of a parameter say together: that it differs if alone it may, and among others."""
    asked = {test.kind: test for test in tests if test.about == name}
    alone, besides = asked.get("alone"), asked.get("besides")
    known = [test for test in (alone, besides) if test is not None and test.p is not None]
    if not known:
        return f"{name}: not tested"
    asides = {"alone": "if nothing else differs", "besides": "if all else may differ"}
    told = " and ".join(f"{_p(test)} {asides[test.kind]}" for test in known)
    if besides in known and _rejects(besides):
        return f"{name}: separate, {told}"
    if any(map(_rejects, known)):
        return f"{name}: open, {told}; another parameter may stand in for it"
    return f"{name}: may be shared, {told}"


def _rejects(test: Test) -> bool:
    return test.p is not None and test.p <= SIZE


def _difference(reference: str, group: str, values: dict[str, dict[str, Any]]) -> str:
    a = values["a"]
    return f"a: {group} less {reference} {a['difference']:+.3f}{_interval(*a['difference95'])}"


def _compute(m: Multiplier) -> str:
    """The multiplier at the dearest budget within the runs, or the first of all where none is."""
    inside = m.table.loc[m.table.inside]
    row = (inside if len(inside) else m.table).iloc[-1 if len(inside) else 0]
    at = f"at C = {row.C:.3g}"
    if not np.isfinite(row.m):
        return f"{at}: {row.status}"
    told = f"{at} {m.group} needs {row.m:.3g}{_interval(row.m_lo95, row.m_hi95)} times the compute of "
    told += m.reference + ("" if row.inside else " (extrapolated)")
    if row.never > 0:
        told += f"; in {row.never:.1%} of the draws it never reaches that loss"
    loss = f"{row.dloss:+.3g}{_interval(row.dloss_lo95, row.dloss_hi95)}"
    return f"{told}; with the same compute its loss is {loss}"


def _interval(low: float, high: float) -> str:
    """Two ends in brackets, or nothing where there were no draws."""
    if np.isnan(low):
        return ""
    told = [f"{end:.3g}" if np.isfinite(end) else "unbounded" for end in (low, high)]
    return f" [{', '.join(told)}]"
