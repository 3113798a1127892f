"""Before any compute is spent: would these runs, at this noise, give the law back?

Tables are drawn around a known law at the planned runs, each is fitted, and what comes out is held against
what was put in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.designing.trials import as_user, quantities, tally
from analysis.law import Law, plain
from analysis.solver.certificate import GRADIENT
from analysis.solver.minimise import Minimum
from analysis.solver.problem import Problem
from analysis.solver.solve import problem

# What falls outside a 95 % interval anyway: trouble in a larger share of tables shows in the quantiles.
TOLERATED = 0.05


@dataclass(frozen=True, eq=False)
class Recovery:
    """What fits to simulated tables make of a known law."""

    law: Law
    truth: dict[str, float]
    n: int
    tables: int
    scale: float
    cluster_scale: float
    spread: dict[str, dict[str, float]]
    """Published parameter, a, b, `N_opt at C = ...` -> {truth, median, bias, sd, lo95, hi95} over the tables:
    bias is the mean less the truth, lo95 and hi95 are the 2.5 and 97.5 % quantiles. Not a number where a
    table put it at infinity."""
    trouble: dict[str, float]
    """Share of tables whose fit, from the truth, ended without converging or at a bound."""
    checked: dict[str, Any]
    """The tables fitted in full, as a user would: {tables, verdicts: status -> count, not_converged: share of
    verdicts other than converged, better: share in which another start found a lower objective, coverage:
    quantity -> share of 95 % intervals that hold the truth, empty without resampling}."""
    forecast: pd.DataFrame | None
    """The points asked for, with loss (the truth's), lo95 and hi95 of the fitted loss, and run_lo95, run_hi95
    with a new run's noise added."""
    status: str
    """`recovered`, or a sentence that says what to beware of."""
    samples: np.ndarray = field(repr=False)
    """(tables, P) published parameters."""

    def table(self) -> pd.DataFrame:
        """The quantities, for a reader; with the coverage of their intervals where that was measured."""
        rows = pd.DataFrame(self.spread).T.drop(columns="bias").rename_axis("quantity").reset_index()
        held = self.checked["coverage"]
        return rows.assign(coverage=rows.quantity.map(held)) if held else rows

    def sentences(self) -> list[str]:
        """What came out, a line each."""
        comes = ", ".join(f"{name} {at['median']:.4g} +- {at['sd']:.2g}" for name, at in self.spread.items())
        trouble = ", ".join(f"{share:.1%} {what}" for what, share in self.trouble.items())
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in self.checked["verdicts"].items())
        return [
            f"with these {self.n} runs and {self.scale:.2%} noise: {comes}",
            f"{self.tables} tables fitted from the truth: {trouble}",
            f"{self.checked['tables']} of them fitted from all starts: {verdicts or 'none'}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without the samples."""
        out = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "samples"}
        out["law"] = self.law.name
        out["forecast"] = None if self.forecast is None else self.forecast.to_dict("records")
        return plain(out)


def recover(
    law: Law,
    params: Mapping[str, float],
    runs: pd.DataFrame,
    *,
    scale: float,
    cluster_scale: float,
    tables: int,
    seed: int,
    budgets: Sequence[float],
    points: pd.DataFrame | None,
    flops: float,
    check: int,
    **knobs: Any,
) -> Recovery:
    """Simulate `tables` tables of `runs` around the law at published `params`, and fit each.

    runs: the planned runs, columns of the law's inputs (a loss, if there is one, is ignored). scale: standard
    deviation of log loss, normal; where the knobs name a column of noise, times what that column says.
    cluster_scale: standard deviation of an error that all rows of a run share (its checkpoints), the knob
    `cluster` naming the column that tells runs apart; 0 for none. budgets: FLOPs to give N_opt for.
    points: where to forecast the loss, columns of the law's inputs. flops: C = flops N D.
    check: so many of the tables are also fitted as a user would, by `analysis.fits.fit` with `knobs`: all
    starts, verdict, and intervals if knobs["bootstrap"] > 0. All tables are fitted side by side from the
    truth, by the same criterion; a law that holds for the best runs only takes every row here.
    Raises ValueError for parameters, columns or numbers that cannot be used.
    """
    truth = _truth(law, params)
    if not (0 < scale < math.inf and tables >= 2 and check >= 0 and 0 <= cluster_scale < math.inf):
        given = f"scale={scale}, tables={tables}, check={check}, cluster_scale={cluster_scale}"
        raise ValueError(f"{given}: scale is positive, tables at least 2, the others not negative")
    known = runs.assign(loss=law.predict(truth, runs))
    asked = problem(law, known, **knobs)
    rng = np.random.default_rng(seed)
    errors = rng.normal(0, scale, (tables, len(runs))) * asked.rows.noise
    if cluster_scale:
        if asked.cluster is None:
            raise ValueError(f"cluster_scale={cluster_scale}: cluster has to name the column of runs")
        errors += asked.each_row(rng.normal(0, cluster_scale, (tables, asked.units)))
    asked = replace(asked, criterion=asked.criterion.scaled_to(errors / asked.rows.noise))
    found = asked.refit(asked.centred(truth), asked.y + errors)
    samples = asked.published(found.theta)
    names = quantities(law, truth, budgets, flops)
    values = quantities(law, samples, budgets, flops)
    in_table = errors[:check, np.argsort(asked.order)]
    drawn = (known.assign(loss=known.loss * np.exp(e)) for e in in_table)
    users = [
        (as_user(table, law, knobs | {"seed": seed}), near)
        for table, near in zip(drawn, found.objective, strict=False)
    ]
    trouble, checked = _trouble(asked, found), tally(users, len(runs), names, budgets, flops)
    whole = math.hypot(scale, cluster_scale)
    return Recovery(
        law=law,
        truth=dict(zip(law.names, map(float, truth), strict=True)),
        n=len(runs),
        tables=tables,
        scale=float(scale),
        cluster_scale=float(cluster_scale),
        spread={name: _spread(float(names[name]), values[name]) for name in names},
        trouble=trouble,
        checked=checked,
        forecast=None if points is None else _forecast(asked, truth, found, points, whole, rng),
        status=_status(trouble, checked),
        samples=samples,
    )


def _truth(law: Law, params: Mapping[str, float]) -> np.ndarray:
    if set(params) != set(law.names):
        raise ValueError(
            f"params: {law.name} takes {', '.join(law.names)}, not {', '.join(map(str, params))}"
        )
    truth = law.vector(params)
    if not np.isfinite(truth).all():
        raise ValueError(f"params: {law.names[int((~np.isfinite(truth)).argmax())]} is not a finite number")
    return truth


def _spread(truth: float, values: np.ndarray) -> dict[str, float]:
    with np.errstate(all="ignore"):
        lo, median, hi = np.quantile(values, [0.025, 0.5, 0.975])
        return {
            "truth": truth,
            "median": float(median),
            "bias": float(values.mean() - truth),
            "sd": float(values.std(ddof=1)),
            "lo95": float(lo),
            "hi95": float(hi),
        }


def _trouble(asked: Problem, found: Minimum) -> dict[str, float]:
    low, high = asked.bounds[asked.free].T
    theta = found.theta[:, asked.free]
    return {
        "not converged": float((np.abs(found.gradient).max(axis=1) > GRADIENT).mean()),
        "at a bound": float(((theta <= low) | (theta >= high)).any(axis=1).mean()),
    }


def _forecast(
    asked: Problem, truth: np.ndarray, found: Minimum, points: pd.DataFrame, scale: float, rng: Any
) -> pd.DataFrame:
    law = asked.law
    draws = law.log_loss(found.theta, law.logs(points) - asked.x_unit)[0] + asked.rows.y_unit
    z = rng.normal(0, scale, draws.shape)
    lo, hi = np.exp(np.quantile(draws, [0.025, 0.975], axis=0))
    run_lo, run_hi = np.exp(np.quantile(np.concatenate([draws + z, draws - z]), [0.025, 0.975], axis=0))
    loss = law.predict(truth, points)
    return points.assign(loss=loss, lo95=lo, hi95=hi, run_lo95=run_lo, run_hi95=run_hi)


def _status(trouble: Mapping[str, float], checked: Mapping[str, Any]) -> str:
    shares = {f"of the fits are {name}": share for name, share in trouble.items()} | {
        "of the verdicts are other than converged": checked["not_converged"],
        "of the tables have a better minimum than the one found from the truth": checked["better"],
    }
    return (
        "; ".join(f"{share:.0%} {what}" for what, share in shares.items() if share > TOLERATED) or "recovered"
    )
