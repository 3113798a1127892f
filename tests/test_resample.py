"""Resampling schemes: published draws, equivalences, and coverage with rows of common runs."""

import numpy as np
import pytest
from planted import grid

from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanN
from analysis.solver.solve import solve

LAW = Chinchilla()
KNOBS = {"delta": 1e-3, "bootstrap": 200, "seed": 42}


def line(rows: int, seed: int, runs: int | None = None, common: float = 0.0) -> dict[str, np.ndarray]:
    """KaplanN with 1 % scatter of which the share `common` is common to a run's rows."""
    rng = np.random.default_rng(seed)
    N = np.geomspace(1e6, 1e9, rows)
    run = np.arange(rows) % (runs or rows)
    r = np.sqrt(1 - common) * rng.standard_normal(rows) + np.sqrt(common) * rng.standard_normal(rows)[run]
    return {"N": N, "run": run, "loss": (8.8e13 / N) ** 0.076 * np.exp(0.01 * r)}


def test_every_scheme_agrees_on_independent_equal_scatter():
    """300 rows by least squares: all estimate one standard error, the closed form of a straight line's
    slope."""
    table = line(300, seed=0)
    x = np.log(table["N"])
    r = np.log(table["loss"]) - np.polyval(np.polyfit(x, np.log(table["loss"]), 1), x)
    exact = np.sqrt((r**2).sum() / 298) / np.sqrt(((x - x.mean()) ** 2).sum())
    for scheme in ("pairs", "bayesian", "residual", "parametric", "wild", "asymptotic"):
        knobs = KNOBS | {"bootstrap": 1500, "interval": scheme, "criterion": "mse"}
        fit = solve(KaplanN(), table, **knobs)
        assert fit.resampling["method"] == scheme
        # Within 1,500 resamples' 2 %, and what unequal residuals add to the robust ones.
        assert fit.stderr["alpha_N"] == pytest.approx(exact, rel=0.1), scheme


@pytest.mark.parametrize("scheme", ["pairs", "bayesian", "residual", "parametric", "wild", "asymptotic"])
def test_checkpoints_of_a_run_are_worth_less_than_runs(scheme):
    """40 runs of 6 rows with 80 % of the variance common to a run: standard errors grow by about sqrt(5)."""
    table = line(240, seed=1, runs=40, common=0.8)
    order = np.argsort(table["run"], kind="stable")
    table["N"] = np.sort(table["N"])[np.argsort(order)]  # a run's rows side by side in N
    table["loss"] = (8.8e13 / table["N"]) ** 0.076 * np.exp(
        np.log(line(240, seed=1, runs=40, common=0.8)["loss"])
        - 0.076 * np.log(8.8e13 / line(240, seed=1, runs=40)["N"])
    )
    knobs = KNOBS | {"interval": scheme, "criterion": "mse"}
    rows, runs = (solve(KaplanN(), table, cluster=c, **knobs).stderr["alpha_N"] for c in (None, "run"))
    assert 1.6 < runs / rows < 3.0


def test_duplicated_rows_clustered_by_their_origin_are_the_originals():
    """Every row twice, as one run: the same resamples of pairs, so the same standard errors to the digit."""
    table = line(40, seed=2)
    twice = {name: np.repeat(column, 2) for name, column in table.items()}
    knobs = KNOBS | {"interval": "pairs", "criterion": "mse"}
    one = solve(KaplanN(), table, **knobs)
    both = solve(KaplanN(), twice, cluster="run", **knobs)
    assert both.stderr["alpha_N"] == pytest.approx(one.stderr["alpha_N"], rel=1e-9)
    alone = solve(KaplanN(), twice, **knobs).stderr["alpha_N"]
    assert alone < 0.8 * one.stderr["alpha_N"]  # what pretending they are independent would have claimed


def test_many_rows_are_not_fitted_again_and_lose_nothing_by_it():
    table = grid(40, 60, noise=0.01)
    knobs = KNOBS | {"bootstrap": 150}
    again = solve(LAW, table, interval="pairs", **knobs)
    at_once = solve(LAW, table, interval="asymptotic", **knobs | {"bootstrap": 2000})
    for name in LAW.names:
        assert at_once.stderr[name] == pytest.approx(again.stderr[name], rel=0.25), name


def test_intervals_hold_with_few_runs_of_several_rows():
    """10 runs of 4 rows, three quarters of the variance common: rows taken alone are sure of too much."""
    hits = {"run": 0, None: 0}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        run = np.repeat(np.arange(10), 4)
        N = np.exp(np.linspace(14, 21, 10)[run] + np.tile([0.0, 0.1, 0.2, 0.3], 10))
        r = np.sqrt(0.75) * rng.standard_normal(10)[run] + 0.5 * rng.standard_normal(40)
        table = {"N": N, "run": run, "loss": (8.8e13 / N) ** 0.076 * np.exp(0.01 * r)}
        for cluster in hits:
            fit = solve(KaplanN(), table, cluster=cluster, **KNOBS | {"seed": seed})
            low, high = fit.interval95["alpha_N"]
            hits[cluster] += low <= 0.076 <= high
    # Three binomial standard errors about 95 % are 6.5 %.
    assert 88 <= hits["run"] <= 100
    assert hits[None] < 80
