"""python -m experiments.fit, as others script it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call
from omegaconf import OmegaConf
from planted import TRUE, grid

from analysis.api import DEFAULTS
from analysis.laws.chinchilla import Chinchilla
from experiments.fit import main

ROOT = Path(__file__).parents[1]


def door(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.fit", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "runs.csv"
    pd.DataFrame(grid(5, 4, noise=0.003)).rename(columns={"N": "Model Size"}).to_csv(path, index=False)
    return path


def test_one_table_one_fit(table, tmp_path):
    words = [f"table={table}", "law=chinchilla", 'columns.N="Model Size"', "bootstrap=50"]
    done = door(*words, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "fit.json").read_text())
    assert result["law"] == "chinchilla"
    assert list(result["params"]) == list(result["stderr"]) == ["E", "A", "B", "alpha", "beta"]
    assert result["status"] == "converged"
    assert result["n"] == 20
    low, high = result["interval95"]["alpha"]
    assert low < result["params"]["alpha"] < high
    assert result["certificate"]["gradient_norm"] < 1e-8
    optimum = result["optimum"]
    assert optimum["a"] == pytest.approx(
        result["params"]["beta"] / (result["params"]["alpha"] + result["params"]["beta"])
    )
    assert len(optimum["N_opt"]) == len(optimum["interval95"]["N_opt"]) == len(optimum["C"])
    assert "converged" in done.stdout
    assert "95 % interval" in done.stdout
    again = tmp_path / "again"
    assert door(*words, f"hydra.run.dir={again}").returncode == 0
    assert (again / "fit.json").read_bytes() == (tmp_path / "fit.json").read_bytes()


def test_architectures_come_as_a_mapping_and_resampling_can_be_off(tmp_path):
    parts = [pd.DataFrame(grid(5, 4, noise=0.003, seed=k)).assign(architecture=f"arch{k}") for k in range(2)]
    few = parts[0].head(3).assign(architecture="few")
    pd.concat([*parts, few]).to_csv(tmp_path / "runs.csv", index=False)
    done = door(f"table={tmp_path / 'runs.csv'}", "bootstrap=0", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "fit.json").read_text())
    assert sorted(result) == ["arch0", "arch1", "few"]
    assert result["arch0"]["stderr"] == {}
    assert result["arch0"]["interval95"] == {}
    assert result["few"]["status"].startswith("not fitted: ")
    assert "few: not fitted" in done.stdout


def fitted(monkeypatch, out: Path, *words: str) -> dict:
    """The door in this process: fit.json as it leaves it."""
    assert call(main, monkeypatch, *words, f"hydra.run.dir={out}") == 0
    return json.loads((out / "fit.json").read_text())


@pytest.fixture(scope="module")
def isoflop(tmp_path_factory) -> Path:
    """Five budgets of seven sizes around the optimum: columns N, C, loss and nothing else."""
    C = np.repeat(np.geomspace(1e15, 1e19, 5), 7)
    _, A, B, alpha, beta = TRUE
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    N = G * (C / 6) ** (beta / (alpha + beta)) * np.tile(np.geomspace(1 / 5, 5, 7), 5)
    loss = Chinchilla().predict(TRUE, {"N": N, "D": C / (6 * N)})
    loss *= np.exp(0.002 * np.random.default_rng(0).standard_normal(35))
    path = tmp_path_factory.mktemp("isoflop") / "runs.csv"
    pd.DataFrame({"N": N, "C": C, "loss": loss}).to_csv(path, index=False)
    return path


def test_forecasts_of_points_are_written_with_both_intervals(isoflop, tmp_path, monkeypatch):
    pd.DataFrame({"N": [1e9, 1e8], "D": [2e10, 2e9]}).to_csv(tmp_path / "points.csv", index=False)
    words = [f"table={isoflop}", "bootstrap=100", f"forecast={tmp_path / 'points.csv'}"]
    result = fitted(monkeypatch, tmp_path, *words)
    out = pd.read_csv(tmp_path / "forecast.csv")
    wanted = ["N", "D", "loss", "mean_lo95", "mean_hi95", "run_lo95", "run_hi95"]
    assert [name for name in out if name in wanted] == wanted
    assert out.N.tolist() == [1e9, 1e8]  # in the order of the points
    np.testing.assert_allclose(out.loss, Chinchilla().predict(result["params"], out), rtol=1e-9)
    assert (out.run_lo95 < out.mean_lo95).all()
    assert (out.mean_hi95 < out.run_hi95).all()
    np.testing.assert_allclose(out.loss, Chinchilla().predict(TRUE, out), rtol=0.01)


@pytest.mark.parametrize("method", ["approach1", "approach2", "approach3"])
def test_every_approach_gives_its_exponents_with_intervals(isoflop, tmp_path, monkeypatch, method):
    words = [f"table={isoflop}", f"method={method}", "bootstrap=100", "audit=false"]
    optimum = fitted(monkeypatch, tmp_path, *words)["optimum"]
    assert optimum["method"] == method
    true = TRUE[4] / (TRUE[3] + TRUE[4])
    tolerance = 0.15 if method == "approach1" else 0.03  # an envelope of five budgets has five sizes to read
    assert optimum["a"] == pytest.approx(true, abs=tolerance)
    assert optimum["b"] == pytest.approx(1 - true, abs=tolerance)
    for name in ("a", "b"):
        low, high = optimum["interval95"][name]
        assert low < optimum[name] < high
    assert len(optimum["N_opt"]) == len(optimum["D_opt"]) == len(optimum["C"]) == 3


def test_the_law_is_chosen_by_its_forecasts_and_the_losers_are_told(isoflop, tmp_path, monkeypatch):
    result = fitted(monkeypatch, tmp_path, f"table={isoflop}", "law=auto", "bootstrap=50")
    assert result["law"] == "chinchilla"
    assert set(result["losers"]) == {"overtraining", "kaplan", "kaplan_additive"}
    scores = [loser["score"] for loser in result["losers"].values()]
    assert result["audit"]["score"] < min(scores)
    assert {cut["axis"] for cut in result["audit"]["cuts"]} == {"C", "N", "D"}


def test_clusters_weights_and_fixed_values_reach_the_fit(tmp_path, monkeypatch):
    parts = [pd.DataFrame(grid(5, 4, noise=0.005, seed=k)) for k in range(3)]
    rows = pd.concat(parts, ignore_index=True)
    rows["trial"], rows["w"] = np.tile(np.arange(20), 3), np.repeat([1.0, 2.0, 1e-6], 20)
    rows.to_csv(tmp_path / "t.csv", index=False)
    rows.iloc[:40].to_csv(tmp_path / "two.csv", index=False)
    common = ["bootstrap=30", "audit=false", "profile=false"]
    every = [f"table={tmp_path / 't.csv'}", "cluster=trial", "weights=w", "+fixed.E=1.7", *common]
    result = fitted(monkeypatch, tmp_path, *every)
    assert result["resampling"]["clusters"] == 20
    assert result["params"]["E"] == 1.7
    assert result["fixed"] == {"E": 1.7}
    two = [f"table={tmp_path / 'two.csv'}", "cluster=trial", "weights=w", "+fixed.E=1.7", *common]
    alone = fitted(monkeypatch, tmp_path, *two)  # rows of weight 1e-6 count for nothing
    assert result["params"]["alpha"] == pytest.approx(alone["params"]["alpha"], rel=1e-3)
    assert result["provenance"]["command"].startswith("python -m experiments.fit table=")
    assert len(result["sha256"]) == 64
    assert result["sha256"] != alone["sha256"]


def test_a_notebook_and_the_command_have_one_set_of_defaults():
    conf = OmegaConf.load(ROOT / "conf/fit.yaml")
    assert {name: conf[name] for name in DEFAULTS} == dict(DEFAULTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["law=chinchila"], "chinchila"),
        (["table=nowhere.csv"], "nowhere.csv: no such file"),
        ([], "no column N"),
        (["delta=-1", 'columns.N="Model Size"'], "delta=-1"),
        (["budgets=[1e20]", "lw=kaplan"], "lw"),
        (["weights=speed", 'columns.N="Model Size"'], "column speed: missing"),
        (["method=approach4", 'columns.N="Model Size"'], "method='approach4' is none of approach1"),
        (["+fixed.gamma=1", 'columns.N="Model Size"'], "fixed.gamma: chinchilla has E, A, B, alpha, beta"),
        (["forecast=nowhere.csv", 'columns.N="Model Size"'], "nowhere.csv: no such file"),
    ],
)
def test_mistakes_are_one_line(table, tmp_path, words, message):
    done = door(f"table={table}", *words, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "fit.json").exists()
