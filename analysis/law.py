"""Law: a formula for the loss of a run. Fit: what a table says about its parameters.

Shapes: n rows of the table, P parameters, S parameter vectors evaluated at once, I inputs.
A law knows its formula and nothing about solving; `analysis.solver.solve` knows no formula.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.solver.scatter import Scatter

Table = Mapping[str, Any] | pd.DataFrame
"""Columns of equal length n by name; in a mapping or a DataFrame."""


# A factor is an input to the power of an exponent: within these limits, and exponents up to 5, it is a float.
# Nothing that is counted comes near them.
SMALLEST, LARGEST = 1e-50, 1e50


def unusable(values: np.ndarray) -> np.ndarray:
    """Mask (n,) of the values that no law can take: their logarithms are not numbers, or absurd."""
    with np.errstate(invalid="ignore"):
        return ~((values > SMALLEST) & (values < LARGEST))


def complaint(value: float) -> str:
    """What is wrong with an unusable value, as the end of a sentence."""
    if math.isnan(value):
        return "is empty"
    return f"is {value:g}, not a positive number" + (
        "" if value <= 0 else f" between {SMALLEST} and {LARGEST}"
    )


@dataclass(frozen=True)
class Tradeoff:
    """A N^-alpha + B D^-beta, to be minimised at a fixed product N D. In logarithms, since the factors of a
    barely identified resample overflow long before their ratio does."""

    log_A: np.ndarray
    alpha: np.ndarray
    log_B: np.ndarray
    beta: np.ndarray

    @property
    def a(self) -> np.ndarray:
        return self.beta / (self.alpha + self.beta)

    @property
    def b(self) -> np.ndarray:
        return self.alpha / (self.alpha + self.beta)

    @property
    def G(self) -> np.ndarray:
        ratio = np.log(self.alpha) + self.log_A - np.log(self.beta) - self.log_B
        return np.exp(ratio / (self.alpha + self.beta))

    def optimum(self, product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """N and D with N D = `product` at the minimum (Hoffmann et al. 2022, eq. 4)."""
        N = self.G * product**self.a
        return N, product / N


class Law(ABC):
    """A formula L(inputs; parameters), in two sets of parameters.

    Published ones are those of the paper (`names`). Working ones are those that a solver likes: a term's
    logarithm in place of its factor. Both have P entries, in the same order: the i-th working coordinate
    is what the i-th published one becomes.
    """

    name: str
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    along: str | None = None
    """For a law of one input that holds for the best runs only: that input. None: it holds for all runs."""

    @property
    @abstractmethod
    def bounds(self) -> np.ndarray:
        """(P, 2) limits of the working coordinates, for inputs and losses in units of their means."""

    @abstractmethod
    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log L and its gradient: working (S, P) and log inputs (n, I) -> (S, n) and (S, n, P)."""

    @abstractmethod
    def curvature(self, theta: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Sum over rows of weight (S, n) times the second derivatives of log L: (S, P, P)."""

    @abstractmethod
    def working(self, params: np.ndarray) -> np.ndarray:
        """Published (..., P) -> working (..., P). Analytic, so that it can be differentiated."""

    @abstractmethod
    def published(self, theta: np.ndarray) -> np.ndarray:
        """Working (..., P) -> published (..., P)."""

    @abstractmethod
    def rescale(self, theta: np.ndarray, x_unit: np.ndarray, y_unit: float) -> np.ndarray:
        """The same law in other units: log_loss(rescale(theta, c, d), x - c) = log_loss(theta, x) - d.

        This is what lets a solver centre the logarithms of a table without knowing the formula.
        """

    @abstractmethod
    def guess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Starts (S, P) for centred log inputs (n, I) and log losses (n,)."""

    @abstractmethod
    def tradeoff(self, params: np.ndarray) -> Tradeoff | None:
        """For laws over N and D: what has to be balanced at fixed compute, from published (..., P)."""

    def units(self, x: np.ndarray) -> np.ndarray:
        """What a solver counts log inputs (n, I) from: (I,), their means unless two inputs share a unit."""
        return x.mean(axis=0)

    def frontier(self, N: Any, D: Any, C: Any) -> dict[str, Any]:
        """The inputs of compute-optimal runs of N, D and C, for their loss."""
        return {"N": N, "D": D, "C": C}

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor takes, to make the same law again."""
        return {}

    # The rest follows from the formula.

    def logs(self, table: Table) -> np.ndarray:
        """Log inputs (n, I). Raises ValueError for a column that is missing or not positive."""
        columns = []
        for name in self.inputs:
            if name not in table:
                raise ValueError(f"column {name}: missing, and the law {self.name} needs it")
            values = np.atleast_1d(np.asarray(table[name], dtype=float))
            if (bad := unusable(values)).any():
                told = complaint(values[bad][0])
                raise ValueError(f"column {name}, row {bad.argmax() + 1}: {told}")
            columns.append(np.log(values))
        return np.stack(np.broadcast_arrays(*columns), axis=-1)

    def vector(self, params: Mapping[str, float] | np.ndarray) -> np.ndarray:
        """Published parameters as an array (..., P), from one or from a mapping by name."""
        if isinstance(params, Mapping):
            return np.array([params[name] for name in self.names], dtype=float)
        return np.asarray(params, dtype=float)

    def predict(self, params: Mapping[str, float] | np.ndarray, table: Table) -> np.ndarray:
        """Loss (..., n) of published parameters (..., P) on a table of n rows."""
        params = self.vector(params)
        theta = self.working(params.reshape(-1, len(self.names)))
        f, _ = self.log_loss(theta, self.logs(table))
        return np.exp(f).reshape(*params.shape[:-1], -1)

    def gradient(self, params: Mapping[str, float] | np.ndarray, table: Table) -> np.ndarray:
        """Derivatives of the loss by the published parameters: (..., n, P)."""
        params = self.vector(params)
        flat = params.reshape(-1, len(self.names))
        f, J = self.log_loss(self.working(flat), self.logs(table))
        out = np.exp(f)[..., None] * (J @ jacobian(self.working, flat))
        return out.reshape(*params.shape[:-1], *out.shape[1:])


# Complex step (Squire & Trapp 1998): no subtraction, so any step this small is exact to rounding.
STEP = 1e-30


def jacobian(function, point: np.ndarray) -> np.ndarray:
    """Derivatives (S, P, P) of an analytic map of (S, P) at `point`: [s, i, j] = d out_i / d in_j."""
    P = point.shape[-1]
    columns = [function(point + 1j * STEP * np.eye(P)[j]).imag / STEP for j in range(P)]
    return np.stack(columns, axis=-1)


def complex_step_curvature(law: Law, theta: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`Law.curvature` from the law's own analytic gradient, for formulas nobody wants to derive twice."""

    def slope(at: np.ndarray) -> np.ndarray:
        return np.einsum("sn,snp->sp", weight, law.log_loss(at, x)[1])

    return jacobian(slope, theta)


def plain(value: Any) -> Any:
    """The value with None for every number that JSON has no word for: infinity and NaN."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None) -> float:
    """Undo `plain` for one number."""
    return math.nan if value is None else value


# Of the scatter of a new run, however few resamples of the law there are: the ends of a 95 % interval then
# move by 2 % of its width.
ENOUGH_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to a table: parameters as published, how sure they are, and whether to believe it."""

    law: Law
    params: dict[str, float]
    stderr: dict[str, float]
    interval95: dict[str, tuple[float, float]]
    objective: float
    """Sum over the rows of the robust loss of log L - log L_hat."""
    n: int
    status: str
    """`converged`, or a sentence that says why not."""
    certificate: dict[str, Any]
    delta: float
    scatter: Scatter
    """Standard deviations of log L around the law, for the loss of a new run."""
    residuals: np.ndarray = field(repr=False)
    """(n,) log L - log L_hat, in the order of the table."""
    samples: np.ndarray | None = field(default=None, repr=False)
    """(R, P) published parameters of the resamples."""
    resampling: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    criterion: str = "huber_log"
    fixed: dict[str, float] = field(default_factory=dict)
    """Published parameters that were given, not fitted."""
    noise: dict[str, Any] | None = None
    """With noise by row: its `column`, and the `unit`, their geometric mean, that the scatter is of."""
    used: list[int] = field(default_factory=list, repr=False)
    """Rows of the table that the law was fitted to."""
    dropped: list[dict[str, Any]] = field(default_factory=list)
    """What was left out before fitting: {why, count, rows}."""
    flags: list[dict[str, Any]] = field(default_factory=list)
    """What is doubtful of the rows that were fitted: {kind, rows, why, severity}."""

    @property
    def vector(self) -> np.ndarray:
        return self.law.vector(self.params)

    @property
    def rows(self) -> list[int] | None:
        """The rows fitted, for a law that holds for the best runs only; None: all that could be used."""
        return self.used if self.law.along else None

    @property
    def scale(self) -> float:
        """Standard deviation of log L around the law, degrees of freedom taken off."""
        return self.scatter.pooled

    def predict(self, table: Table) -> np.ndarray:
        """Loss (n,) in nats per token at the table's rows."""
        return self.law.predict(self.vector, table)

    def predict_interval(self, table: Table, kind: str = "mean", level: float = 0.95) -> np.ndarray:
        """Interval (n, 2) for the law's mean loss, or for the loss of a new run (kind="run").

        A new run adds the scatter around the law: that of its part of the table, and outside the table that
        of the noisiest part (`analysis.solver.scatter`), times the row's own noise where the fit was told of
        it and the table has it, at a scale as unsure as the degrees of freedom leave
        it. Raises ValueError when the fit has no resamples.
        """
        if kind not in ("mean", "run"):
            raise ValueError(f"kind={kind!r} is none of mean, run")
        if self.samples is None:
            raise ValueError("the fit has no resamples: fit with bootstrap > 0 to get intervals")
        with np.errstate(
            all="ignore"
        ):  # a draw that put a unit at infinity predicts nothing, and is left out
            draws = np.log(self.law.predict(self.samples, table))
        draws = draws[np.isfinite(draws).all(axis=1)]
        if not len(draws):
            raise ValueError(f"no resample of {self.law.name} predicts a loss there: its parameters are open")
        if kind == "run":
            rng = np.random.default_rng(self.seed)
            spread = self.scatter.at(self.law.logs(table)[:, : len(self.law.inputs)])
            if self.noise is not None and self.noise["column"] in table:
                spread = spread * np.asarray(table[self.noise["column"]], float) / self.noise["unit"]
            draws = np.tile(draws, (-(-ENOUGH_DRAWS // len(draws)), 1))
            # Antithetic pairs: the draws are symmetric around the mean, whatever the seed.
            z = rng.standard_t(self.scatter.freedom, size=draws.shape) * spread
            draws = np.concatenate([draws + z, draws - z])
        tail = (1 - level) / 2
        return np.exp(_ends(draws, tail)).T

    def optimum(self, C: Any = None, *, flops: float = 6.0, level: float = 0.95) -> dict[str, Any]:
        """Compute-optimal N and D under C = flops * N * D (Hoffmann et al. 2022, eq. 4), with intervals.

        Returns a and b (N_opt = G (C / flops)^a, D_opt = (C / flops)^b / G), G, and with `C` (a number or a
        sequence of FLOPs) N_opt, D_opt and loss in its shape; `interval95` holds [lo, hi] of each.
        Raises ValueError for a law that is not one of N and D.
        """
        best = self._optimum(self.vector, C, flops)
        out = {name: value.tolist() for name, value in best.items()}
        if self.samples is not None:
            draws = self._optimum(self.samples[:, None, :] if np.ndim(C) else self.samples, C, flops)
            tail = (1 - level) / 2
            out["interval95"] = {
                name: np.moveaxis(_ends(values, tail), 0, -1).reshape(*np.shape(best[name]), 2).tolist()
                for name, values in draws.items()
            }
        return out

    def _optimum(self, params: np.ndarray, C: Any, flops: float) -> dict[str, np.ndarray]:
        trade = self.law.tradeoff(params)
        if trade is None:
            raise ValueError(f"the law {self.law.name} is not one of N and D: it has no compute optimum")
        # A resample whose term vanished (an exponent of 0) has its optimum at 0 or infinity, and says so.
        with np.errstate(all="ignore"):
            out = {"a": trade.a, "b": trade.b, "G": trade.G}
            if C is not None:
                N, D = trade.optimum(np.asarray(C, dtype=float) / flops)
                out |= {"N_opt": N, "D_opt": D, "loss": self._pairwise(params, N, D, flops)}
        return {name: np.asarray(value) for name, value in out.items()}

    def _pairwise(self, params: np.ndarray, N: np.ndarray, D: np.ndarray, flops: float) -> np.ndarray:
        """Loss of each parameter vector at its own N and D, in the shape of N."""
        each = np.broadcast_to(params, (*N.shape, params.shape[-1])).reshape(-1, params.shape[-1])
        loss = [
            np.nan
            if unusable(np.array([n, d])).any()
            else float(self.law.predict(p, self.law.frontier(n, d, flops * n * d))[0])
            for p, n, d in zip(each, N.ravel(), D.ravel(), strict=True)
        ]
        return np.array(loss).reshape(N.shape)

    def to_json(self, samples: bool = False) -> dict[str, Any]:
        """Plain JSON values. With `samples`, residuals too, and what comes back gives intervals."""
        formula = type(self.law)
        out = {
            "law": self.law.name,
            "formula": f"{formula.__module__}.{formula.__qualname__}",
            "arguments": self.law.arguments,
            "params": self.params,
            "stderr": self.stderr,
            "interval95": {name: list(pair) for name, pair in self.interval95.items()},
            "objective": self.objective,
            "n": self.n,
            "status": self.status,
            "certificate": self.certificate,
            "delta": self.delta,
            "scale": self.scale,
            "scatter": self.scatter.to_json(),
            "criterion": self.criterion,
            "fixed": self.fixed,
            "noise": self.noise,
            "resampling": self.resampling,
            "seed": self.seed,
            "rows": self.rows,
            "dropped": self.dropped,
            "flags": self.flags,
        }
        if samples:
            out["residuals"] = self.residuals.tolist()
            out["samples"] = None if self.samples is None else self.samples.tolist()
        return plain(out)

    @classmethod
    def from_json(cls, data: dict[str, Any], law: Law | None = None) -> Fit:
        """Undo `to_json`. A law from outside `analysis` has to be given: a file may not name code to load."""
        if law is None:
            module, _, formula = data["formula"].rpartition(".")
            if not module.startswith("analysis."):
                raise ValueError(f"law {data['formula']} is not one of analysis: pass it as `law`")
            law = getattr(importlib.import_module(module), formula)(**data.get("arguments", {}))
        assert law is not None
        known = {k: v for k, v in data.items() if k in cls.__dataclass_fields__}
        known["used"] = data.get("rows") or []
        return cls(
            **known
            | {
                "law": law,
                "params": {name: number(v) for name, v in data["params"].items()},
                "stderr": {name: number(v) for name, v in data["stderr"].items()},
                "interval95": {
                    name: (number(lo), number(hi)) for name, (lo, hi) in data["interval95"].items()
                },
                "scatter": Scatter(**data["scatter"]),
                "residuals": np.array(data.get("residuals", []), dtype=float),
                "samples": None if data.get("samples") is None else np.array(data["samples"], dtype=float),
            }
        )


def _ends(draws: np.ndarray, tail: float) -> np.ndarray:
    """(2, ...) quantiles of (R, ...) draws, some of which may be infinite: no mean of two of those is."""
    quantiles = [tail, 1 - tail]
    with np.errstate(invalid="ignore"):
        between = np.quantile(draws, quantiles, axis=0)
    return np.where(np.isnan(between), np.quantile(draws, quantiles, axis=0, method="inverted_cdf"), between)
