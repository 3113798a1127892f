"""Weights, noise, clusters and fixed parameters mean what they say; bad ones are told by row and column."""

import numpy as np
import pandas as pd
import pytest
from planted import TRUE, as_table, grid

from analysis.fits import fit
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import Kaplan
from analysis.solver.criteria import Huber
from analysis.solver.problem import Problem
from analysis.solver.solve import solve

LAW = Chinchilla()
QUICK = {"delta": 1e-3, "bootstrap": 0, "seed": 0}


def test_a_weight_is_so_many_copies_of_a_row():
    table = grid(6, 5, noise=0.01)
    count = np.random.default_rng(0).integers(1, 4, 30)
    weighted = solve(LAW, table | {"w": count.astype(float)}, weights="w", **QUICK)
    written_out = solve(LAW, {name: np.repeat(column, count) for name, column in table.items()}, **QUICK)
    np.testing.assert_allclose(weighted.vector, written_out.vector, rtol=1e-8)
    scaled = solve(LAW, table | {"w": 1e6 * count}, weights="w", **QUICK)
    np.testing.assert_allclose(scaled.vector, weighted.vector, rtol=1e-9)
    assert weighted.certificate["gradient_norm"] < 1e-8


def test_noise_of_least_squares_is_inverse_variance():
    table = grid(6, 5, noise=0.01)
    sd = np.random.default_rng(1).uniform(0.5, 2.0, 30)
    common = QUICK | {"criterion": "mse"}
    by_noise = solve(LAW, table | {"sd": sd}, noise="sd", **common)
    by_weight = solve(LAW, table | {"w": sd**-2}, weights="w", **common)
    np.testing.assert_allclose(by_noise.vector, by_weight.vector, rtol=1e-7)
    percent = solve(LAW, table | {"sd": 100 * sd}, noise="sd", **common)
    np.testing.assert_allclose(percent.vector, by_noise.vector, rtol=1e-9)


def test_noise_recovers_what_equal_noise_loses():
    """Half the rows twenty times noisier: told so, the fit comes five times closer to the planted
    exponent."""
    off = {"told": [], "not told": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        table = grid(8, 5)
        sd = np.where(rng.permutation(40) < 20, 0.0005, 0.02)
        table |= {"loss": table["loss"] * np.exp(sd * rng.standard_normal(40)), "sd": sd}
        for name, noise in (("told", "sd"), ("not told", None)):
            found = solve(LAW, table, noise=noise, **QUICK | {"criterion": "mse"})
            off[name].append(found.params["alpha"] - TRUE[3])
    spread = {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in off.items()}
    assert spread["told"] < spread["not told"] / 5


@pytest.mark.parametrize("fixed", [{"E": 1.7}, {"alpha": 0.34, "beta": 0.28}, {"A": 400.0, "alpha": 0.34}])
def test_fixed_parameters_stay_and_the_others_come_back(fixed):
    found = solve(LAW, grid(5, 4), fixed=fixed, profile=True, **QUICK)
    for name, value in fixed.items():
        assert found.params[name] == pytest.approx(value, rel=1e-12)
        assert name not in found.certificate["profile"]
    np.testing.assert_allclose(found.vector, TRUE, rtol=1e-8)
    assert found.fixed == fixed


def test_a_wrong_fixed_value_costs_and_says_so():
    table = grid(5, 4, noise=0.003)
    free, held = solve(LAW, table, **QUICK), solve(LAW, table, fixed={"E": 1.2}, **QUICK)
    assert held.objective > free.objective
    assert held.certificate["gradient_norm"] < 1e-8
    assert not held.certificate["bounds_hit"]


def test_fixing_needs_fewer_rows():
    table = {name: column[:4] for name, column in grid(4, 4).items()}
    with pytest.raises(ValueError, match="4 rows for the 5 parameters"):
        solve(LAW, table, **QUICK)
    assert solve(LAW, table, fixed={"alpha": 0.34, "beta": 0.28}, **QUICK).n == 4


def test_bad_columns_are_named_with_their_row():
    table = as_table(**grid(4, 4)).assign(w=1.0, run="a")
    table.index = range(101, 117)
    cases = [
        ({"weights": "w"}, "w", 0.0, "row 105, column w: is 0, not a positive number"),
        ({"noise": "w"}, "w", np.nan, "row 105, column w: is empty"),
        ({"cluster": "run"}, "run", None, "row 105, column run: is empty, and rows are clustered by it"),
        ({}, "loss", -1.0, "row 105, column loss: is -1, not a positive number"),
        ({"fixed": {"E": 1.7}}, "loss", 1.6, "row 105, column loss: is 1.6, not above the E = 1.7"),
    ]
    for knobs, column, value, message in cases:
        bad = table.copy()
        bad[column] = bad[column].astype(object)
        bad.loc[105, column] = value
        with pytest.raises(ValueError, match=message):
            solve(LAW, bad, **QUICK | knobs)
    with pytest.raises(ValueError, match="column speed: missing"):
        solve(LAW, table, weights="speed", **QUICK)
    with pytest.raises(ValueError, match=r"fixed\.gamma: chinchilla has E, A, B, alpha, beta"):
        solve(LAW, table, fixed={"gamma": 1.0}, **QUICK)
    with pytest.raises(ValueError, match=r"fixed\.A: it has a meaning only together with its exponent"):
        solve(LAW, table, fixed={"A": 400.0}, **QUICK)
    with pytest.raises(ValueError, match=r"fixed\.N_c"):
        solve(Kaplan(), table, fixed={"N_c": 1e14}, **QUICK)


def test_a_loss_far_below_the_fitted_floor_is_told_by_row():
    table = as_table(**grid(6, 5, noise=0.003))
    table.attrs["source"] = "t.csv"
    table.loc[9, "loss"] = 0.4
    with pytest.raises(
        ValueError, match=r"t\.csv, row 9, column loss: is 0\.4, far below the irreducible loss"
    ):
        fit(table, LAW, **QUICK)
    N = np.geomspace(1e9, 1e13, 20)
    near = as_table(N=N, D=20 * N[::-1])
    near["loss"] = LAW.predict(TRUE, near) * np.exp(0.01 * (-1.0) ** np.arange(20))
    E = solve(LAW, near, **QUICK).params["E"]
    largest = near.index[int(LAW.predict(TRUE, near).argmin())]
    near.loc[largest, "loss"] = E * np.exp(-0.012)  # under the floor, by no more than the scatter of one row
    assert fit(near, LAW, **QUICK).n == 20


def test_rows_of_one_run_are_one_unit():
    table = grid(5, 4, noise=0.01)
    problem = Problem.of(LAW, table | {"run": np.arange(20) // 4}, Huber(1e-3), cluster="run")
    assert problem.units == 5
    by_unit = np.arange(5.0)[None]
    for k in range(20):
        at = problem.order[k]
        assert problem.each_row(by_unit)[0, k] == by_unit[0, problem.cluster[k]]
        assert (problem.cluster[k] == problem.cluster[np.flatnonzero(problem.order // 4 == at // 4)]).all()


def test_the_runs_own_column_clusters_by_itself():
    rows = pd.concat([as_table(**grid(5, 4, noise=0.01, seed=k)) for k in range(3)], ignore_index=True)
    rows.index += 1
    rows["run"] = [f"r{k % 20}" for k in range(60)]
    found = fit(rows, LAW, **QUICK | {"bootstrap": 20})
    assert found.resampling["clusters"] == 20
    assert "checkpoints" in {flag["kind"] for flag in found.flags}
    alone = fit(rows, LAW, cluster=None, **QUICK | {"bootstrap": 20})
    assert "clusters" not in alone.resampling
    assert alone.params == found.params
