"""What must not pass for a result: too few runs, terms that change places, values that cannot be meant."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import call
from planted import TRUE, as_table, grid

from analysis import fit, forecast
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import Kaplan
from analysis.tables.runs import load
from experiments.fit import main

LAW = Chinchilla()
QUICK = {"bootstrap": 40, "profile": False}


def runs(rows: int = 60, noise: float = 0.003) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    table = as_table(N=10 ** rng.uniform(7, 10, rows), D=10 ** rng.uniform(8, 11, rows))
    return table.assign(loss=LAW.predict(TRUE, table) * np.exp(noise * rng.standard_normal(rows)))


def test_a_column_that_names_an_experiment_is_no_run():
    plain = fit(runs(), LAW, **QUICK)
    for run in ("exp", np.repeat(["a", "b", "c"], 20)):  # one name, and names that span many sizes
        named = fit(runs().assign(run=run), LAW, **QUICK)
        assert named.interval95 == plain.interval95
        assert "clusters" not in named.resampling


def test_fewer_runs_than_parameters_give_no_intervals_and_say_so():
    table = runs().assign(group=np.arange(60) % 3)
    found = fit(table, LAW, cluster="group", **QUICK)
    assert found.interval95 == {}
    assert found.samples is None
    assert found.status == "no intervals: 3 runs are too few to resample for so many parameters"
    assert fit(table.assign(group=np.arange(60) % 6), LAW, cluster="group", **QUICK).interval95


@pytest.mark.parametrize("noise", [1e-5, 1e-4, 3e-4])
def test_terms_that_can_change_places_are_rivals(noise):
    """D = 20 N: A / N^alpha and B / D^beta are one family of curves, and either may be either."""
    N = np.geomspace(1e6, 1e11, 80)
    table = as_table(N=N, D=20 * N)
    random = np.random.default_rng(0)
    table["loss"] = LAW.predict(TRUE, table) * np.exp(noise * random.standard_normal(80))
    found = fit(table, LAW, **QUICK | {"bootstrap": 0, "profile": True})
    assert found.status != "converged"
    one, other = found.certificate["minima"][:2]
    assert other["gap"] < 1e-6
    swapped = [one["params"][name] for name in ("alpha", "beta")][::-1]
    assert [other["params"][name] for name in ("alpha", "beta")] == pytest.approx(swapped, rel=0.02)


def test_empty_cells_of_c_are_filled_and_counted(tmp_path):
    table = pd.DataFrame(grid(4, 4))
    table["C"] = 6 * table.N * table.D
    table.loc[[2, 5, 7], "C"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    read = load(tmp_path / "t.csv")
    np.testing.assert_allclose(read.C, 6 * read.N * read.D)
    assert read.attrs["filled"] == "C = 6 N D in 3 rows"


def test_a_new_run_is_as_noisy_as_its_row_says():
    """Half the rows twenty times noisier, and told so: each kind's interval holds its own new runs."""
    inside = {0.001: [], 0.02: []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        table, new = runs(), runs(200)
        for its in (table, new):
            its["sd"] = np.where(rng.random(len(its)) < 0.5, 0.001, 0.02)
            its["loss"] = LAW.predict(TRUE, its) * np.exp(its.sd * rng.standard_normal(len(its)))
        out = forecast(fit(table, LAW, noise="sd", criterion="mse", **QUICK), new.drop(columns="loss"))
        for sd, shares in inside.items():
            its = (new.sd == sd).to_numpy()
            shares.append(((out.run_lo95 <= new.loss) & (new.loss <= out.run_hi95))[its].mean())
    assert 0.90 < np.mean(inside[0.001]) <= 1.0
    assert 0.90 < np.mean(inside[0.02]) < 0.99


def test_misspelt_knobs_and_impossible_values_are_told():
    for knobs, message in [
        ({"boostrap": 40}, "unknown knob 'boostrap'"),
        ({"fixed": {"E": -1.0}}, r"fixed\.E=-1: chinchilla has no such value"),
        ({"fixed": dict(zip(LAW.names, TRUE, strict=True))}, "none is left to fit"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(runs(), LAW, **knobs)
    words = pd.Series(1.0, index=runs().index).astype(object)
    words[3] = "heavy"
    with pytest.raises(ValueError, match="row 3, column w: 'heavy' is not a number"):
        fit(runs().assign(w=words), LAW, weights="w", **QUICK)


def test_a_unit_at_infinity_forecasts_nothing_rather_than_nan():
    flat = fit(as_table(**grid(5, 4)).assign(loss=2.0 + 1e-6 * np.arange(20)), Kaplan(), **QUICK)
    assert not np.isfinite(flat.vector).all()
    with pytest.raises(ValueError, match="no forecast: N_c of kaplan is infinite"):
        forecast(flat, pd.DataFrame({"N": [1e6], "D": [1e7]}))


def test_points_are_forecast_by_their_own_architecture(tmp_path, monkeypatch):
    parts = [
        runs().assign(architecture="x"),
        runs(noise=0.01).assign(architecture="y", loss=lambda t: 2 * t.loss),
    ]
    pd.concat(parts).drop(columns="C").to_csv(tmp_path / "t.csv", index=False)
    points = pd.DataFrame({"N": [1e9, 1e9], "D": [2e10, 2e10], "architecture": ["y", "x"]})
    points.to_csv(tmp_path / "p.csv", index=False)
    words = [f"table={tmp_path / 't.csv'}", f"forecast={tmp_path / 'p.csv'}", "bootstrap=40", "audit=false"]
    words += ["profile=false", f"hydra.run.dir={tmp_path}"]
    assert call(main, monkeypatch, *words) == 0
    out = pd.read_csv(tmp_path / "forecast.csv").set_index("architecture")
    assert len(out) == 2
    assert out.loss["y"] == pytest.approx(2 * out.loss["x"], rel=0.02)
    fits = json.loads((tmp_path / "fit.json").read_text())
    assert out.loss["x"] == pytest.approx(LAW.predict(fits["x"]["params"], {"N": 1e9, "D": 2e10})[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bootstrap=1.5"], "bootstrap=1.5: has to be a whole number"),
        (["seed=null"], "seed=None: has to be a whole number"),
        (["delta=abc"], "delta=abc: has to be a number"),
        (["budgets=[abc]"], "'abc' is not a number of FLOPs"),
        (["flops=0"], "flops=0.0 is not positive"),
        (["budgets=[1e20,-1]"], "FLOPs are positive numbers"),
        (["forecast=p.csv"], "p.csv: column N, row 2: is 0, not a positive number"),
    ],
)
def test_knobs_are_checked_before_anything_is_written(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    runs().to_csv("t.csv", index=False)
    pd.DataFrame({"N": [1e9, 0], "D": [2e10, 2e10]}).to_csv("p.csv", index=False)
    assert call(main, monkeypatch, "table=t.csv", *words, "hydra.run.dir=out") == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "fit.json").exists()
