"""How dear it is to balance N and D badly: the loss given away at equal compute, by group of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparing.comparison import Comparison
from analysis.comparing.multipliers import interval

PARAMS = ("E", "A", "B", "alpha", "beta")


@dataclass(frozen=True)
class Valley:
    """Nats a token that a model of N_opt times or over `factor` gives away at compute C, the dearer of both.

    ratio: to the reference's, in the same draws; None for the reference itself. Intervals are those of the
    comparison's draws; None without any.
    """

    group: str
    C: float
    N_opt: float
    factor: float
    excess: float
    excess95: tuple[float, float] | None
    ratio: float | None
    ratio95: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def valleys(
    found: Comparison, runs: pd.DataFrame, *, budgets: Sequence[float], factor: float
) -> list[Valley]:
    """Each group's valley under its law at each of the budgets (FLOPs). runs: those compared.

    A group's C is k N D, with k the median over its runs. At the optimum alpha A N^-alpha = beta B D^-beta
    (Hoffmann et al. 2022, equation 4). Raises ValueError for a law with other parameters than E, A, B, alpha
    and beta.
    """
    if tuple(found.law.names) != PARAMS:
        raise ValueError(f"law {found.law.name}: a valley takes the parameters {', '.join(PARAMS)}")
    made = []
    for C in budgets:
        reference: np.ndarray | None = None
        for group in found.groups:
            rows = runs.loc[runs[found.by].astype(str) == group]
            k = float((rows.C / (rows.N * rows.D)).median())
            params = np.array([list(found.params(group).values())])
            if (samples := found.samples(group)) is not None:
                params = np.vstack((params, samples))
            N_opt, excess = _excess(params, C / k, factor)
            ratio = None if reference is None else excess / reference
            reference = excess if reference is None else reference
            made.append(
                Valley(
                    group=group,
                    C=float(C),
                    N_opt=float(N_opt[0]),
                    factor=factor,
                    excess=float(excess[0]),
                    excess95=_ends(excess[1:]),
                    ratio=None if ratio is None else float(ratio[0]),
                    ratio95=None if ratio is None else _ends(ratio[1:]),
                )
            )
    return made


def _excess(params: np.ndarray, ND: float, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """(S,) N_opt and (S,) nats for draws (S, 5) at a product of N and D."""
    _, A, B, alpha, beta = params.T
    with np.errstate(all="ignore"):  # a draw whose term vanished has no optimum: NaN, which `interval` counts
        N = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * ND ** (beta / (alpha + beta))

        def loss(at: np.ndarray) -> np.ndarray:
            return A * at**-alpha + B * (ND / at) ** -beta

        return N, np.maximum(loss(N * factor), loss(N / factor)) - loss(N)


def _ends(draws: np.ndarray) -> tuple[float, float] | None:
    if not len(draws):
        return None
    low, high = interval(draws[:, None], 0.95)
    return float(low[0]), float(high[0])
