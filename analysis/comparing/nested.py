"""Do groups of runs share a parameter? Nested hypotheses tested by simulation from the narrower one.

Shapes as in `analysis.comparing.grouped`; R simulated tables.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import f as fisher

from analysis.comparing.effects import scatter
from analysis.comparing.grouped import entangled
from analysis.comparing.hypotheses import EXACT, Hypothesis, closure, least_squares, refit, widen
from analysis.comparing.pairing import Pairing
from analysis.law import Law, plain
from analysis.solver.minimise import Minimum
from analysis.solver.solve import problem


@dataclass(frozen=True)
class Question:
    """A test to make: the parameters shared under the null, and those under the wider alternative."""

    kind: str
    """`step` of the lattice, `any` difference, or does one parameter differ, `alone` or `besides` others?"""
    about: str | None
    null: tuple[str, ...]
    alternative: tuple[str, ...]


def lattice(law: Law, shared: Sequence[str], held: Iterable[str]) -> list[Question]:
    """The questions, fixed before the data are seen. held: parameters that are not fitted, the same for all.

    Steps from all shared over each group's own floor and own factors to all separate; all shared, and the
    caller's `shared`, against all separate; and for each parameter whether it differs if nothing else does
    (what needs it aside: see `entangled`), and whether it does where everything else may.
    """
    held = set(held)
    needs = entangled(law)
    exponents = {name for needed in needs.values() for name in needed}
    scale = {name for name, needed in needs.items() if needed} | exponents

    def kept(names: Iterable[str]) -> tuple[str, ...]:
        return closure(law, held.union(names))

    steps = list(dict.fromkeys(kept(names) for names in (law.names, scale, exponents, ())))
    out = [Question("step", None, a, b) for a, b in itertools.pairwise(steps)]
    out += [Question("any", None, law.names, kept(())), Question("any", None, kept(shared), kept(()))]
    for name in law.names:
        others = [n for n in law.names if name not in closure(law, [n])]
        out.append(Question("alone", name, law.names, kept(others)))
        out.append(Question("besides", name, kept([name]), kept(set(kept([name])) & set(others))))
    return list(dict.fromkeys(q for q in out if q.null != q.alternative))


@dataclass(frozen=True)
class Test:
    """A null hypothesis against a wider one in which more is separate."""

    kind: str
    about: str | None
    """The parameter in question, if one is."""
    null: str
    alternative: str
    statistic: float
    """(O_0 - O_1) / O_1 times (n - Q_1) / (Q_1 - Q_0), O the objectives: for least squares Fisher's F."""
    freedom: tuple[int, int]
    """Q_1 - Q_0 and n - Q_1."""
    p: float | None
    """Share of tables simulated from the null, (1 + count) / (1 + R), with as large a statistic."""
    p_F: float | None
    """Of Fisher's F test: for least squares of independent rows only."""
    status: str
    """`calibrated`, or why there is no p."""

    def to_json(self) -> dict[str, Any]:
        return plain(vars(self) | {"freedom": list(self.freedom)})


def run_tests(
    table: pd.DataFrame,
    questions: Sequence[Question],
    fitted: dict[tuple[str, ...], Hypothesis],
    pairing: Pairing,
    *,
    R: int,
    seed: int,
    knobs: dict[str, Any],
) -> list[Test]:
    """Each question answered: R tables drawn from its null, with the scatter of the widest fit and correlated
    as `pairing` finds it, and both hypotheses fitted to each."""
    simulation = Simulation(table, fitted, pairing, R, seed, knobs)
    return [simulation.test(question) for question in questions]


class Simulation:
    """The problems of all hypotheses under one criterion, and the tables simulated from each null."""

    def __init__(self, table, fitted: dict[tuple[str, ...], Hypothesis], pairing: Pairing, R, seed, knobs):
        self.fitted, self.pairing, self.R, self.seed = fitted, pairing, R, seed
        self.widest = min(fitted.values(), key=lambda h: len(h.shared))
        tasks = {shared: problem(h.law, table, **knobs) for shared, h in fitted.items()}
        task = tasks[self.widest.shared]
        self.noise = task.rows.noise[np.argsort(task.order)]
        self.standard = self.widest.fit.residuals / self.noise
        at = task.centred(self.widest.fit.vector)[None]
        J = task.law.log_loss(at, task.x)[1][0][:, task.free]
        self.slope = J[np.argsort(task.order)] / self.noise[:, None]
        # A criterion that scales itself to each fit compares no two fits: it keeps the scale of the widest.
        criterion = task.criterion.scaled_to(self.standard)
        self.tasks = {shared: dataclasses.replace(t, criterion=criterion) for shared, t in tasks.items()}
        self.simulated: dict[tuple[str, ...], tuple[np.ndarray, Minimum]] = {}

    def test(self, question: Question) -> Test:
        null, wide = self.fitted[question.null], self.fitted[question.alternative]
        narrow_task, wide_task = self.tasks[null.shared], self.tasks[wide.shared]
        freedom = narrow_task.freedom - wide_task.freedom, wide_task.freedom
        at = narrow_task.centred(null.fit.vector)
        above = refit(narrow_task, at[None])
        start = np.stack([wide_task.centred(wide.fit.vector), widen(null.law, wide.law, above.theta[0])])
        statistic = float(ratio(above.objective[0], refit(wide_task, start).objective.min(), freedom))
        p, why = None, "calibrated"
        if self.widest.fit.scale < EXACT:
            why = "not tested: the losses lie on the laws exactly, without scatter to judge a difference by"
        elif not self.R:
            why = "not tested: no simulations asked for"
        else:
            y, narrow = self._under(null, at)
            wider = refit(wide_task, widen(null.law, wide.law, narrow.theta), y)
            as_large = int((ratio(narrow.objective, wider.objective, freedom) >= statistic).sum())
            p = (1 + as_large) / (1 + self.R)
        independent = not (self.pairing.clustered or self.pairing.paired)
        exact = independent and p is not None and least_squares(null.fit) and least_squares(wide.fit)
        return Test(
            kind=question.kind,
            about=question.about,
            null=null.name,
            alternative=wide.name,
            statistic=statistic,
            freedom=freedom,
            p=p,
            p_F=float(fisher.sf(statistic, *freedom)) if exact else None,
            status=why,
        )

    def _under(self, null: Hypothesis, theta: np.ndarray) -> tuple[np.ndarray, Minimum]:
        """(R, n) losses as the null has them plus scatter, in the solver's order, and the null refitted."""
        if null.shared not in self.simulated:
            rng = np.random.default_rng([self.seed, len(self.simulated)])
            task = self.tasks[null.shared]
            drawn = self.noise * scatter(self.pairing, self.standard, self.slope, self.R, rng)
            y = null.law.log_loss(theta[None], task.x)[0] + drawn[:, task.order]
            self.simulated[null.shared] = y, refit(task, theta[None], y)
        return self.simulated[null.shared]


def ratio(null, wide, freedom: tuple[int, int]):
    """The statistic of objectives, numbers or (R,)."""
    return (null - wide) / np.maximum(wide, np.finfo(float).tiny) * freedom[1] / freedom[0]
