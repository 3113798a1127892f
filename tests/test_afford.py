"""What a budget buys: at the optimum of the law, with the intervals of the fit, from every kind of source."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import ROOT, call
from hydra.utils import instantiate
from omegaconf import OmegaConf
from planted import grid

from analysis import api
from analysis.designing.afford import Known, affordable
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanN
from experiments.afford import main as door
from experiments.fit import main as fit_door


def published(name):
    cfg = OmegaConf.load(ROOT / "conf/published" / f"{name}.yaml")
    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    return Known(**plain | {"law": instantiate(cfg.law)})


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "conf/published").glob("*"))])
def test_no_other_run_of_the_budget_is_better(name):
    """Against every N of a fine grid, at the D that is left."""
    known, C = published(name), 1e20
    best = affordable(known, C, flops=6)
    assert 6 * best.N_opt * best.D_opt == pytest.approx(C)
    N = best.N_opt * np.geomspace(1e-2, 1e2, 401)  # the 201st is N_opt itself
    loss = known.law.predict(known.params, {"N": N, "D": C / 6 / N})
    assert loss.argmin() == 200
    assert best.loss == pytest.approx(loss[200])


@pytest.mark.parametrize(
    ("name", "exponent"),
    [
        ("hoffmann", 0.2849 / (0.3392 + 0.2849)),  # 0.46 in their table 2
        ("besiroglu", 0.3658 / (0.3478 + 0.3658)),  # 0.513 in their abstract's figures
        ("kaplan", 0.103 / (0.076 + 0.103)),  # of eq. 1.5: both terms under one power
    ],
)
def test_ten_times_the_budget_buys_the_published_power_of_ten(name, exponent):
    small, large = (affordable(published(name), C, flops=6).N_opt for C in (1e21, 1e22))
    assert np.log10(large / small) == pytest.approx(exponent)


def test_chinchilla_itself():
    """Hoffmann et al. 2022 trained 70B on 1.4T tokens; the corrected fit finds that near its optimum."""
    best = affordable(published("besiroglu"), 5.76e23, flops=6)
    assert best.interval95["N_opt"][0] < 70e9 < 1.15 * best.interval95["N_opt"][1]
    assert 15 < best.D_opt / best.N_opt < 25


def test_intervals_are_those_of_the_fit_at_its_budgets_and_hold_the_optimum_between():
    optimum = {
        "C": [1e22, 1e20],
        "interval95": {"N_opt": [[8e9, 1e10], [8e8, 9e8]], "loss": [[2.1, 2.2], [None, 3]]},
    }
    known = Known("a fit", Chinchilla(), published("besiroglu").params, None, optimum)
    assert affordable(known, 1e20, flops=6).interval95["N_opt"] == pytest.approx((8e8, 9e8))
    assert affordable(known, 1e22, flops=6).interval95["N_opt"] == pytest.approx((8e9, 1e10))
    between = affordable(known, 1e21, flops=6)
    half_way = np.sqrt(np.prod([affordable(known, C, flops=6).N_opt for C in (1e20, 1e22)]))
    assert between.N_opt == pytest.approx(half_way)
    assert between.interval95["N_opt"] == pytest.approx((np.sqrt(8e9 * 8e8), np.sqrt(1e10 * 9e8)))
    assert "loss" not in between.interval95  # one end beside it is open
    assert not between.beyond
    outside = affordable(known, 1e23, flops=6)
    assert (outside.interval95, outside.beyond) == ({}, True)


def test_a_law_of_N_alone_has_no_optimum():
    known = Known("fit=x.json", KaplanN(), {"N_c": 8.8e13, "alpha_N": 0.076}, None, None)
    with pytest.raises(ValueError, match=r"fit=x\.json: kaplan_N is not a law of N and D"):
        affordable(known, 1e20, flops=6)


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """A fit.json of two architectures on planted tables, as the door writes it."""
    one = pd.DataFrame(grid(5, 5, noise=0.005))
    table = pd.concat([one.assign(architecture="wide"), one.assign(architecture="deep", loss=one.loss * 1.1)])
    table.to_csv(tmp_path / "table.csv", index=False)
    words = [f"table={tmp_path / 'table.csv'}", "bootstrap=30", "audit=false", "profile=false"]
    assert call(fit_door, monkeypatch, *words, "budgets=[1e13,1e15]", f"hydra.run.dir={tmp_path}") == 0
    return tmp_path / "fit.json"


def test_ones_own_fit(fitted, tmp_path, monkeypatch, capsys):
    words = ["flops=1e14", f"fit={fitted}", f"hydra.run.dir={tmp_path}"]
    assert call(door, monkeypatch, *words, "part=wide") == 0
    found = json.loads((tmp_path / "afford.json").read_text())
    low, high = found["interval95"]["N_opt"]
    assert low < found["N_opt"] < high
    assert 6 * found["N_opt"] * found["D_opt"] == pytest.approx(1e14)
    content = json.loads(fitted.read_text())["wide"]["params"]
    law = Chinchilla()
    at = {"N": found["N_opt"], "D": found["D_opt"]}
    assert found["loss"] == pytest.approx(float(law.predict(content, at)[0]))
    capsys.readouterr()
    assert call(door, monkeypatch, *words) == 1
    assert "fit.json: has fits of deep, wide; say which one: part=" in capsys.readouterr().err


def test_a_fit_without_resamples_has_no_interval():
    table = api.fit(pd.DataFrame(grid(5, 5, noise=0.005)), Chinchilla(), bootstrap=0)
    known = Known.of_fit(table.to_json(), name="fit=mine", part=None)
    assert affordable(known, 1e14, flops=6).interval95 == {}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["flops=1e20", "kwh=3"], "flops=1e+20 and kwh=3: give one of flops, gpu_hours, money, kwh"),
        (["kwh=-3"], "kwh=-3: has to be a positive number"),
        (["kwh=3", "hardware=h1000"], "Could not find 'hardware/h1000'"),
        (["kwh=3", "flops_per_token_parameter=0"], "flops_per_token_parameter=0: has to be"),
        (["money=3", "hardware=v100"], "money=3: V100 has no price"),
        (["gpu_hour=3"], "unknown key 'gpu_hour': did you mean 'gpu_hours'?"),
        (["kwh=3", "fit=pyproject.toml"], "fit=pyproject.toml: is not what experiments.fit writes"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(monkeypatch, capsys, tmp_path, words, told):
    monkeypatch.chdir(ROOT)
    assert call(door, monkeypatch, *words, f"hydra.run.dir={tmp_path}") == 1
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
