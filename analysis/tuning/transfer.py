"""Does a learning rate transfer? The optimum of each rung of a sweep over rates, and how far it moves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.stats import studentized_range

from analysis.tables.replicates import SAME, seed_noise
from analysis.tuning import grids
from analysis.tuning.optimum import Optimum, optimum
from scalelaw.run import Run

WITHIN = 1.5  # a factor on the rate that costs less than neighbouring rates of a sweep by twos can tell
RUNGS = 3  # two optima may be near each other by chance


@dataclass(frozen=True)
class Transfer:
    """The optima of the rungs of one architecture under one rule, by width."""

    optima: dict[int, Optimum]
    freedom: int | None = None
    """Degrees of freedom of the seeds' noise behind the optima's standard errors."""
    sigma: float | None = None
    """That noise: the standard deviation of the log loss over seeds, pooled over all runs that were given."""

    @property
    def bracketed(self) -> bool:
        return all(best.bracketed for best in self.optima.values())

    @property
    def factor(self) -> float:
        """The largest optimal rate over the smallest: 1 where a rate tuned on one rung is best on all.

        Between the parabolas' vertices; where an optimum lies beyond the rates tried, the factor is at least
        this.
        """
        low, high = self._ends()
        return high.value / low.value

    @property
    def interval95(self) -> tuple[float, float] | None:
        """Of the factor, from the noise of the runs; None where that is not known.

        The two rungs are the furthest apart of several, which noise alone would make differ: Tukey's range.
        """
        low, high = self._ends()
        if not self.freedom or low.stderr is None or high.stderr is None:
            return None
        reach = _furthest(max(len(self.optima), 2), self.freedom)
        wide = float(np.exp(reach * np.hypot(low.stderr, high.stderr)))
        return max(1.0, self.factor / wide), self.factor * wide

    @property
    def holds(self) -> bool | None:
        """Whether three optima or more lie within a factor `WITHIN`; None where that is not known."""
        if len(self.optima) < RUNGS:
            return None
        known = all(best.bracketed or best.beyond for best in self.optima.values())
        if known and self.factor > WITHIN:
            return False
        return True if self.bracketed else None

    @property
    def shared(self) -> float:
        """One rate for all rungs: half-way between the furthest optima, in its log."""
        low, high = self._ends()
        return float(np.sqrt(low.value * high.value))

    @property
    def cost(self) -> float | None:
        """Nats that `shared` costs the rung that minds it most (`Optimum.above`); None where that is not
        known of each."""
        costs = [best.above(self.shared) for best in self.optima.values()]
        return None if None in costs else max(cost for cost in costs if cost is not None)

    def _ends(self) -> tuple[Optimum, Optimum]:
        ranked = sorted(self.optima.values(), key=lambda best: best.value)
        return ranked[0], ranked[-1]

    def verdict(self) -> str:
        """One line: the factor, how sure it is, and whether it is within bounds."""
        loose = [width for width, best in self.optima.items() if not best.bracketed]
        known = "at least " if loose and self.holds is False else ""
        spread = f"optima of widths {_listed(list(self.optima))} within a factor of {known}{self.factor:.2f}"
        if interval := self.interval95:
            spread += f" [{interval[0]:.2f}, {interval[1]:.2f}]"
        if self.holds is not None:
            told = (
                ""
                if self.cost is None
                else f"; one rate for all, {self.shared:.2g}, costs {self.cost:.4f} nats"
            )
            return f"{spread}: {'within' if self.holds else 'not within'} {WITHIN}{told}"
        if len(self.optima) < RUNGS:
            return f"{spread}: fewer than {RUNGS} widths do not tell"
        return f"{spread}: not known, the best rate is not bracketed at width {_listed(loose)}"

    def to_json(self) -> dict[str, Any]:
        return {
            "factor": self.factor,
            "interval95": None if self.interval95 is None else list(self.interval95),
            "within": WITHIN,
            "holds": self.holds,
            "bracketed": self.bracketed,
            "shared": self.shared,
            "cost": self.cost,
            "sigma": self.sigma,
            "optima": {str(width): best.to_json() for width, best in self.optima.items()},
        }


@cache  # an integral of a tenth of a second
def _furthest(rungs: int, freedom: int) -> float:
    """The largest difference of so many alike values, in standard errors: 19 times in 20 no more."""
    return float(studentized_range.ppf(0.95, rungs, freedom)) / 2**0.5


def by_rung(runs: Iterable[Run]) -> dict[str, dict[str, Transfer]]:
    """architecture -> transfer rule -> optima by width, over the base rate each run's config names.

    Seeds are averaged, and where there are several their scatter gives the standard errors. Raises ValueError
    when there is no finished run to read, or when the runs of a rung differ in D or batch.
    """
    table = grids.table(runs)
    noise = seed_noise(table.drop(columns="C"))  # C follows from N and D, and from a prefix drawn by the seed
    found: dict[str, dict[str, Transfer]] = {}
    for key, its in table.groupby(["architecture", "transfer"]):
        architecture, rule = cast(tuple[str, str], key)
        optima = {}
        for width, rung in its.groupby("width"):
            try:
                optima[int(str(width))] = _of_rung(pd.DataFrame(rung), noise.sigma if noise else None)
            except ValueError as error:
                raise ValueError(f"{architecture}, transfer={rule}, width {width}: {error}") from None
        known = (noise.freedom, noise.sigma) if noise else (None, None)
        found.setdefault(architecture, {})[rule] = Transfer(optima, *known)
    return found


def _of_rung(runs: pd.DataFrame, sigma: float | None) -> Optimum:
    for name in ("D", "batch_tokens"):
        low, high = min(runs[name]), max(runs[name])
        if high > low * (1 + SAME):
            raise ValueError(
                f"the runs differ in {name}, {low:,.0f} to {high:,.0f}: experiments.hparams reads such"
            )
    return optimum(runs.rate, runs.loss, noise=sigma)


def _listed(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))
