"""python -m experiments.fit, as others script it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from planted import grid

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["law=chinchila"], "chinchila"),
        (["table=nowhere.csv"], "nowhere.csv: no such file"),
        ([], "no column N"),
        (["delta=-1", 'columns.N="Model Size"'], "delta=-1"),
        (["budgets=[1e20]", "lw=kaplan"], "lw"),
    ],
)
def test_mistakes_are_one_line(table, tmp_path, words, message):
    done = door(f"table={table}", *words, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "fit.json").exists()
