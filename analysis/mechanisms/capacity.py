"""How much a parameter holds: bits of facts stored over parameters, from the scores of runs on facts.

Allen-Zhu and Li 2024, Physics of Language Models 3.3.

A model that stores all facts says nothing of its capacity but a lower bound, and one that was trained too
little says what training gave it. Capacity is what the sizes that had more to store than they could hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from scalelaw.run import Run

FULL = 0.9  # share of all bits, above which a model may have had room left
FEWEST = 2  # sizes below that


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """bits: a parameter (of N_total), mean over the sizes that are full; interval95 over sizes, each the mean
    of its runs. sizes: how many are full. at_least: the most bits a parameter that any run stored. exponent:
    of bits on N_total among full sizes, with its interval: 1 where capacity is proportional to size.
    exposures: how often a fact was told in each of its forms, the least and the most of all runs.
    """

    task: str
    group: str
    facts_bits: float
    sizes: int
    bits: float | None
    interval95: tuple[float, float] | None
    exponent: tuple[float, float, float] | None
    at_least: float
    exposures: tuple[float, float]

    def said(self) -> str:
        often = "each form of a fact told {:.3g} to {:.3g} times".format(*self.exposures)
        floor = f"at least {self.at_least:.3g} bits a parameter were stored"
        if self.bits is None or self.interval95 is None:
            why = f"{self.sizes} sizes had more to store than they held, it takes {FEWEST}"
            return f"{self.task}: capacity is not identified: {why}; {floor}; {often}"
        low, high = self.interval95
        told = (
            f"{self.task}: {self.bits:.3g} [{low:.3g}, {high:.3g}] bits a parameter over {self.sizes} sizes"
        )
        if self.exponent is not None:
            told += ", growing as N_total^{:.3g} [{:.3g}, {:.3g}]".format(*self.exponent)
        return f"{told}; {often}, and more training may store more: a lower bound of capacity"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"said": self.said()}


def capacities(runs: Iterable[Run]) -> list[Capacity]:
    """For each task of facts and architecture that finished runs were scored on; empty without any."""
    parts: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        for task, score in run.scores.items() if run.finished else ():
            if "facts_bits" in score:
                parts.setdefault((task, run.architecture.replace("_", " ")), []).append(run)
    return [_capacity(task, group, part) for (task, group), part in sorted(parts.items())]


def _capacity(task: str, group: str, runs: Sequence[Run]) -> Capacity:
    whole = runs[0].scores[task]["facts_bits"]
    by_size: dict[int, list[float]] = {}
    for run in runs:
        by_size.setdefault(run.N_total, []).append(run.scores[task]["bits"])
    full = {N: float(np.mean(bits)) for N, bits in by_size.items() if np.mean(bits) < FULL * whole}
    N, stored = np.array(list(full), float), np.array(list(full.values()))
    exposures = [run.D / run.unique_tokens for run in runs]
    bits = interval = None
    if len(N) >= FEWEST:
        bits = float((stored / N).mean())
        half = float(stdtrit(len(N) - 1, 0.975) * (stored / N).std(ddof=1) / np.sqrt(len(N)))
        interval = bits - half, bits + half
    return Capacity(
        task=task,
        group=group,
        facts_bits=whole,
        sizes=len(N),
        bits=bits,
        interval95=interval,
        exponent=_exponent(np.log(N), np.log(stored)) if len(N) > FEWEST and (stored > 0).all() else None,
        at_least=max(run.scores[task]["bits"] / run.N_total for run in runs),
        exposures=(min(exposures), max(exposures)),
    )


def _exponent(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slope of the line, and the ends of its 95 % interval."""
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    freedom = len(x) - 2
    error = np.sqrt(((y - y.mean() - slope * x) ** 2).sum() / freedom / (x @ x))
    half = float(stdtrit(freedom, 0.975) * error)
    return slope, slope - half, slope + half
