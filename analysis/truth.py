"""A law's fitted E held against the truth, where the language's own process says what no model can lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis import fits
from analysis.law import Law


@dataclass(frozen=True)
class Truth:
    """What one part of a table says of E: nats a token. exact: the Bayes loss on the runs' own windows.

    exponents: fitted, with their intervals; theory: what they tend to where facts have a long tail, alpha in
    N and alpha / (1 + alpha) in D (Hutter 2021; Michaud et al. 2023). lowest: the best run's loss.
    """

    part: str
    n: int
    exact: float
    E: float
    interval95: tuple[float, float] | None
    verdict: str
    lowest: float
    exponents: Mapping[str, tuple[float, Any]]
    theory: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def said(self) -> str:
        ends = "no interval" if self.interval95 is None else "[{:.4f}, {:.4f}]".format(*self.interval95)
        powers = ", ".join(
            f"{name} {value:.2f} {_ends(pair)}" for name, (value, pair) in self.exponents.items()
        )
        theory = ", ".join(f"{name} {value:.2f}" for name, value in self.theory.items())
        return (
            f"{self.part}: E = {self.E:.4f} {ends}, exactly {self.exact:.4f}: {self.verdict}; "
            f"{powers} (theory: {theory}); best of {self.n} runs {self.lowest:.4f}"
        )


def truths(
    table: pd.DataFrame, law: Law, alpha: float, by: str = "architecture", **knobs: Any
) -> list[Truth]:
    """A Truth for each part of the table, which has `bayes_loss` beside `loss`.

    Raises ValueError naming the part where the rows do not share one truth, or the law cannot be fitted.
    """
    found = []
    for part, rows in table.groupby(by):
        exact = rows.bayes_loss.unique()
        if len(exact) != 1:
            raise ValueError(f"{part}: {len(exact)} Bayes losses, where its runs have to share their windows")
        fit = fits.fit(rows, law, **knobs)
        interval = fit.interval95.get("E")
        inside = interval is not None and interval[0] <= exact[0] <= interval[1]
        names = [name for name in ("alpha", "beta") if name in fit.params]
        found.append(
            Truth(
                part=str(part),
                n=len(rows),
                exact=float(exact[0]),
                E=float(fit.params["E"]),
                interval95=None if interval is None else (float(interval[0]), float(interval[1])),
                verdict="the interval holds it" if inside else "the interval does not hold it",
                lowest=float(rows.loss.min()),
                exponents={name: (float(fit.params[name]), fit.interval95.get(name)) for name in names},
                theory={"alpha": alpha, "beta": alpha / (1 + alpha)},
            )
        )
    return found


def _ends(pair: Any) -> str:
    return "" if pair is None else "[{:.2f}, {:.2f}]".format(*pair)
