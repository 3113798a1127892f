"""python -m experiments.emergence, as others script it."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import call

from experiments.emergence import main

KEYS = ["task", "metric", "verdict", "score", "p_value", "threshold", "interval95", "mirage", "reason"]
QUICK = ["bootstrap=200"]


@pytest.fixture
def table(tmp_path) -> str:
    random = np.random.default_rng(0)
    N, u = np.geomspace(1e6, 1e10, 12), np.linspace(0, 1, 12)
    p = {"jump": 0.02 + 0.8 * np.clip((u - 0.6) / 0.2, 0, 1), "rise": 0.1 + 0.6 * u, "none": np.zeros(12)}
    rows = [pd.DataFrame({"task": t, "N": N, "score": random.binomial(300, q) / 300}) for t, q in p.items()]
    rows.append(pd.DataFrame({"task": "jump", "N": [np.nan], "score": [0.5]}))
    pd.concat(rows).to_csv(tmp_path / "scores.csv", index=False)
    return f"table={tmp_path / 'scores.csv'}"


def test_what_is_written(table, tmp_path, monkeypatch, capsys):
    assert call(main, monkeypatch, table, *QUICK, f"hydra.run.dir={tmp_path}") == 0
    found = json.loads((tmp_path / "emergence.json").read_text())
    assert [list(one) for one in found] == [KEYS] * 3
    assert {one["task"]: one["verdict"] for one in found} == {
        "jump": "emergent",
        "rise": "smooth",
        "none": "not_learned",
    }
    (jump,) = (one for one in found if one["task"] == "jump")
    assert jump["interval95"][0] <= 1e6 * 10**2.4 <= jump["interval95"][1]
    assert max(found, key=lambda one: one["score"]) == jump
    assert "1 rows left out (row 37: N=nan)" in jump["reason"]
    details = json.loads((tmp_path / "details.json").read_text())
    assert {one["method"] for one in details["forecasts"]} >= {"same as the last", "logit line", "direct"}
    assert details["provenance"]["command"].startswith("python -m experiments.emergence table=")
    page = (tmp_path / "emergence.html").read_text()
    assert page.count("<svg") == 3
    assert "1 emergent, 1 smooth, 1 not learned" in page
    assert "jump score: emergent" in capsys.readouterr().out
    again = tmp_path / "again"
    assert call(main, monkeypatch, table, *QUICK, f"hydra.run.dir={again}") == 0
    assert (again / "emergence.json").read_bytes() == (tmp_path / "emergence.json").read_bytes()


def test_a_second_table_says_where_thresholds_are_again(table, tmp_path, monkeypatch, capsys):
    """The same jump a quarter of a decade later, and a rise that is smooth in both."""
    random = np.random.default_rng(1)
    N, u = np.geomspace(1e6, 1e10, 12), np.linspace(0, 1, 12)
    p = {"jump": 0.02 + 0.8 * np.clip((u - 0.6625) / 0.2, 0, 1), "rise": 0.1 + 0.6 * u}
    rows = [pd.DataFrame({"task": t, "N": N, "score": random.binomial(300, q) / 300}) for t, q in p.items()]
    pd.concat(rows).to_csv(tmp_path / "again.csv", index=False)
    words = [f"again={tmp_path / 'again.csv'}", "forecasts=false", f"hydra.run.dir={tmp_path}"]
    assert call(main, monkeypatch, table, *QUICK, *words) == 0
    one, rise = json.loads((tmp_path / "details.json").read_text())["again"]
    assert (one["task"], one["verdict"], one["verdict_again"]) == ("jump", "emergent", "emergent")
    assert (rise["task"], rise["threshold"]["first"]) == ("rise", None)
    for place in ("threshold", "halfway"):
        assert one[place]["decades"] == pytest.approx(0.25, abs=0.12)
        assert one[place]["decades"] == pytest.approx(np.log10(one[place]["again"] / one[place]["first"]))
    assert rise["halfway"]["decades"] == pytest.approx(0, abs=0.2)
    assert "In other runs" in (tmp_path / "emergence.html").read_text()
    assert "jump score: threshold" in capsys.readouterr().out


def test_what_is_flat_is_half_way_nowhere(tmp_path, monkeypatch):
    N, random = np.geomspace(1e6, 1e10, 12), np.random.default_rng(2)
    scores = {"flat": random.binomial(300, 0.5, 12) / 300, "rise": np.linspace(0.1, 0.7, 12)}
    rows = [pd.DataFrame({"task": task, "N": N, "score": score}) for task, score in scores.items()]
    pd.concat(rows).to_csv(tmp_path / "t.csv", index=False)
    words = [f"table={tmp_path / 't.csv'}", "forecasts=false", f"hydra.run.dir={tmp_path}"]
    assert call(main, monkeypatch, *words, *QUICK) == 0
    verdicts = [one["verdict"] for one in json.loads((tmp_path / "emergence.json").read_text())]
    flat, rise = json.loads((tmp_path / "details.json").read_text())["curves"]
    assert verdicts == ["flat", "smooth"]
    assert flat["halfway"] is None
    assert rise["halfway"]["at"] == pytest.approx(1e8, rel=1e-6)


def test_a_second_table_of_other_tasks_is_refused(table, tmp_path, monkeypatch, capsys):
    other = pd.DataFrame({"task": "else", "N": np.geomspace(1e6, 1e9, 9), "score": 0.5})
    other.to_csv(tmp_path / "other.csv", index=False)
    words = [f"again={tmp_path / 'other.csv'}", f"hydra.run.dir={tmp_path}"]
    assert call(main, monkeypatch, table, *QUICK, *words) != 0
    assert "have no task and metric in common" in capsys.readouterr().err
    itself = f"again={table.removeprefix('table=')}"
    assert call(main, monkeypatch, table, *QUICK, itself, f"hydra.run.dir={tmp_path}") != 0
    assert "is the table itself" in capsys.readouterr().err


def test_checkpoints_get_their_change_points(tmp_path, monkeypatch):
    step = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000], float)
    rows = pd.DataFrame(
        {"task": "t", "model": "a", "N": 1e6, "step": step, "score": np.where(step > 99, 0.7, 0.1)}
    )
    rows.to_csv(tmp_path / "t.csv", index=False)
    words = [f"table={tmp_path / 't.csv'}", "x=step", *QUICK, f"hydra.run.dir={tmp_path}"]
    assert call(main, monkeypatch, *words) == 0
    (one,) = json.loads((tmp_path / "details.json").read_text())["training"]
    assert one["onset"] == [64, 128]
    assert "64 to 128" in (tmp_path / "emergence.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table=nowhere.csv"], "nowhere.csv: no such file"),
        (["x=depth"], "no column depth"),
        (["bootstrap=10"], "bootstrap=10: has to be a whole number of at least 100"),
        (["share=0.9"], "share=0.9: between 0 and 0.8"),
        (["shar=0.9"], "did you mean 'share'?"),
    ],
)
def test_mistakes_are_one_line(table, tmp_path, monkeypatch, capsys, words, message):
    assert call(main, monkeypatch, table, *words, f"hydra.run.dir={tmp_path}") == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


def test_a_table_of_odd_tasks_gets_a_verdict_for_each(tmp_path, monkeypatch):
    N = np.geomspace(1e6, 1e10, 12)
    parts = {
        "one": ([1e9], [0.5]),
        "none": ([np.nan, 0.0], [0.5, 0.2]),
        "same": ([1e9] * 10, np.linspace(0, 1, 10)),
        "falls": (N, np.linspace(0.9, 0.1, 12)),
        "points": (N, np.linspace(50, 1000, 12)),
        "last": (N, np.append(np.zeros(11), 60)),
    }
    rows = [pd.DataFrame({"task": task, "N": at, "score": y}) for task, (at, y) in parts.items()]
    pd.concat(rows).to_csv(tmp_path / "odd.csv", index=False)
    words = [f"table={tmp_path / 'odd.csv'}", *QUICK, f"hydra.run.dir={tmp_path}"]
    assert call(main, monkeypatch, *words) == 0
    found = {one["task"]: one for one in json.loads((tmp_path / "emergence.json").read_text())}
    assert {task: one["verdict"] for task, one in found.items()} == {
        "one": "undecided",
        "none": "undecided",
        "same": "undecided",
        "falls": "flat",
        "points": "smooth",
        "last": "emergent",
    }
    assert "2 rows left out" in found["none"]["reason"]
