"""Power laws of the best knobs: y = k prod (x / at_x)^e, least squares in logs, with Student-t intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

# Inputs that vary by less are constant: budgets are met in whole batches.
SAME = 0.02
# Smallest over largest singular value of the standardised inputs: below, they moved together, as where every
# run has the same tokens a parameter, and their exponents cannot be told apart.
APART = 0.05


@dataclass(frozen=True)
class Power:
    """A fitted power law.

    k: the value where every input is at `at`, their geometric means. exponents: by input. covariance: of
    (log k, *exponents). scatter: standard deviation of the log residuals over `freedom` degrees of freedom.
    held: inputs that did not vary, at the value they had; the law says nothing of others.
    ranges: the least and the largest of each input.
    """

    inputs: tuple[str, ...]
    k: float
    at: dict[str, float]
    exponents: dict[str, float]
    covariance: list[list[float]]
    scatter: float
    freedom: int
    held: dict[str, float]
    ranges: dict[str, tuple[float, float]]

    @classmethod
    def fit(cls, points: Mapping[str, ArrayLike], values: ArrayLike, inputs: Sequence[str]) -> Power:
        """From columns (n,) of positive inputs and (n,) positive values.

        Raises ValueError saying why the law is not determined: too few points to leave one over after a
        coefficient for each input that varies, or inputs that moved together.
        """
        y = np.log(np.asarray(values, float))
        n = len(y)
        if n == 0:
            raise ValueError("not determined: no optimum is bracketed")
        x = {name: np.log(np.asarray(points[name], float)) for name in inputs}
        held = {name: float(np.exp(v.mean())) for name, v in x.items() if np.ptp(v) < np.log1p(SAME)}
        free = [name for name in inputs if name not in held]
        if n < len(free) + 2:
            raise ValueError(f"not determined: {n} of the {len(free) + 2} bracketed optima it needs")
        centre = {name: float(x[name].mean()) for name in free}
        V = np.column_stack([np.ones(n), *(x[name] - centre[name] for name in free)])
        if free and _together(V[:, 1:]):
            raise ValueError(f"not determined: {' and '.join(free)} moved together")
        c = np.linalg.lstsq(V, y, rcond=None)[0]
        freedom = n - V.shape[1]
        residual = y - V @ c
        scatter = float(np.sqrt(residual @ residual / freedom))
        return cls(
            inputs=tuple(inputs),
            k=float(np.exp(c[0])),
            at={name: float(np.exp(centre[name])) for name in free},
            exponents=dict(zip(free, map(float, c[1:]), strict=True)),
            covariance=(scatter**2 * np.linalg.inv(V.T @ V)).tolist(),
            scatter=scatter,
            freedom=freedom,
            held=held,
            ranges={name: (float(np.exp(v.min())), float(np.exp(v.max()))) for name, v in x.items()},
        )

    def predict(self, point: Mapping[str, float]) -> tuple[float, float, float]:
        """The law's value at a point and the 95 % interval of it. Raises ValueError naming an input that is
        not positive, not there, or other than the only one the law was measured at."""
        for name in self.inputs:
            if not point.get(name, 0) > 0:
                raise ValueError(f"{name} must be a positive number, not {point.get(name)!r}")
            if name in self.held and abs(np.log(point[name] / self.held[name])) > np.log1p(SAME):
                raise ValueError(
                    f"the law holds for {name}={self.held[name]:.4g} alone, not {point[name]:.4g}"
                )
        v = np.array([1.0, *(np.log(point[name] / at) for name, at in self.at.items())])
        value = float(np.log(self.k) + v[1:] @ list(self.exponents.values()))
        half = self._t * float(np.sqrt(v @ np.array(self.covariance) @ v))
        return float(np.exp(value)), float(np.exp(value - half)), float(np.exp(value + half))

    def beyond(self, point: Mapping[str, float]) -> list[str]:
        """The inputs at which a point lies outside what the law was fitted to, as text."""
        return [
            f"{name}={point[name]:.4g} (fitted {low:.4g} to {high:.4g})"
            for name, (low, high) in self.ranges.items()
            if not low / (1 + SAME) <= point[name] <= high * (1 + SAME)
        ]

    @property
    def interval95(self) -> dict[str, tuple[float, float]]:
        """Of k and of every exponent, by name."""
        half = self._t * np.sqrt(np.diag(self.covariance))
        whole = {"k": (self.k * np.exp(-half[0]), self.k * np.exp(half[0]))}
        for (name, value), h in zip(self.exponents.items(), half[1:], strict=True):
            whole[name] = (value - h, value + h)
        return {name: (float(low), float(high)) for name, (low, high) in whole.items()}

    @property
    def _t(self) -> float:
        return float(stdtrit(self.freedom, 0.975))

    def formula(self) -> str:
        """0.0061 (N/3.2e+04)^-0.02 [-0.1, 0.06] ..., an interval behind every exponent."""
        interval = self.interval95
        low, high = interval["k"]
        terms = [f"{self.k:.4g} [{low:.4g}, {high:.4g}]"]
        for name, e in self.exponents.items():
            low, high = interval[name]
            terms.append(f"({name}/{self.at[name]:.4g})^{e:.3f} [{low:.3f}, {high:.3f}]")
        only = "".join(f", at {name}={value:.4g} alone" for name, value in self.held.items())
        return " ".join(terms) + only

    def to_json(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in FIELDS}
        lists = {name: list(pair) for name, pair in self.ranges.items()}
        interval = {name: list(pair) for name, pair in self.interval95.items()}
        return own | {"inputs": list(self.inputs), "ranges": lists, "interval95": interval}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Power:
        """Raises ValueError naming a field that is not there."""
        if missing := [name for name in FIELDS if name not in said]:
            raise ValueError(f"a law without {missing[0]}")
        own = {name: said[name] for name in FIELDS}
        ranges = {name: (float(low), float(high)) for name, (low, high) in said["ranges"].items()}
        return cls(**own | {"inputs": tuple(said["inputs"]), "ranges": ranges})


FIELDS = ("inputs", "k", "at", "exponents", "covariance", "scatter", "freedom", "held", "ranges")


def _together(X: np.ndarray) -> bool:
    s = np.linalg.svd(X / np.linalg.norm(X, axis=0), compute_uv=False)
    return bool(s[-1] < APART * s[0])
