"""What a study is after: a number that the parameters of a law determine, and how it moves with each of them.

Shapes: S parameter vectors, P parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from analysis.law import STEP, Law, Tradeoff

OPTIMA = ("a", "b", "N_opt", "D_opt")


@dataclass(frozen=True)
class Target:
    """A published parameter; the exponents `a` or `b`; log N_opt or log D_opt at compute C; or log loss at a
    point. A law whose own parameter is called `a` means that one.

    name: the parameter's name, or one of a, b, N_opt, D_opt, loss. at: {"C": FLOPs} for N_opt and D_opt, the
    law's inputs for loss. flops: C = flops N D.
    Raises ValueError for a name that the law does not have, or a place that is not given.
    """

    law: Law
    name: str
    at: Mapping[str, float] = field(default_factory=dict)
    flops: float = 6.0

    def __post_init__(self) -> None:
        if self.name in self.law.names:
            return
        if self.name not in (*OPTIMA, "loss"):
            known = ", ".join((*self.law.names, *OPTIMA, "loss"))
            raise ValueError(f"target={self.name}: {self.law.name} has {known}")
        needs = self.law.inputs if self.name == "loss" else ("C",) if self.name.endswith("_opt") else ()
        for place in needs:
            if not self.at.get(place, 0) > 0:
                raise ValueError(f"target={self.name} needs a positive at.{place}")

    @property
    def label(self) -> str:
        """The target in words."""
        if self.name in self.law.names or self.name in ("a", "b"):
            return self.name
        places = self.law.inputs if self.name == "loss" else ("C",)
        return f"log {self.name} at {', '.join(f'{place} = {self.at[place]:.4g}' for place in places)}"

    def value(self, params: np.ndarray) -> np.ndarray:
        """(S,) of published (S, P). Analytic, so that it can be differentiated by a complex step."""
        if self.name in self.law.names:
            return params[..., self.law.names.index(self.name)]
        if self.name == "loss":
            return self.law.log_loss(self.law.working(params), self.law.logs(self.at))[0][..., 0]
        trade = self._tradeoff(params)
        if self.name == "a":
            return trade.a
        if self.name == "b":
            return trade.b
        N, D = trade.optimum(np.asarray(self.at["C"] / self.flops))
        return np.log(N if self.name == "N_opt" else D)

    def gradient(self, theta: np.ndarray, x_unit: np.ndarray) -> np.ndarray:
        """Derivatives (S, P) by working coordinates (S, P) of inputs in units of exp(x_unit)."""

        def value(at: np.ndarray) -> np.ndarray:
            return self.value(self.law.published(self.law.rescale(at, -x_unit, 0.0)))

        each = np.eye(theta.shape[-1])
        with np.errstate(all="ignore"):  # a draw at a bound has no gradient: what is not finite says so
            return np.stack([np.imag(value(theta + 1j * STEP * one)) / STEP for one in each], axis=-1)

    def _tradeoff(self, params: np.ndarray) -> Tradeoff:
        trade = self.law.tradeoff(params)
        if trade is None:
            raise ValueError(f"target={self.name}: the law {self.law.name} has no compute optimum")
        return trade
