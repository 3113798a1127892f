"""Trends of measures over N: planted slopes come back, and their intervals are as wide as they say."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import training
from commands import call
from scipy.stats import linregress

from analysis.mechanisms.trends import Trend, trend, trends
from analysis.tables import measures
from experiments.mechanisms import main as mechanisms

SIZES = np.geomspace(7e3, 6e5, 6)


def planted(slope=-0.3, *, seeds=3, noise=0.1, bend=0.0, rng=None, D=1e6, **columns) -> pd.DataFrame:
    rng = rng or np.random.default_rng(0)
    N = np.repeat(SIZES, seeds)
    x = np.log(N) - np.log(N).mean()
    value = np.exp(slope * x + bend * x**2 + noise * rng.standard_normal(len(N)))
    table = pd.DataFrame({"figure": "a.b", "value": value, "N": N, "D": D, "seed": np.tile(range(seeds), 6)})
    known = {"architecture": "causal_decoder", "objective": "causal_lm", "data": "sotu"}
    return table.assign(**known | columns)


def test_a_planted_slope_comes_back_with_its_verdict():
    found = trend(planted(-0.3), figure="a.b", group="g")
    low, high = found.interval95
    assert low < -0.3 < high
    assert high - low < 0.2
    assert found.verdict == "falls"
    assert trend(planted(0.3), figure="a.b", group="g").verdict == "rises"
    assert found.scatter == pytest.approx(0.1, rel=0.4)
    assert found.said().startswith("falls with N, as N^-0.")
    assert "6 sizes, N = 7e+03 to 6e+05, 3 seeds" in found.said()


def test_one_seed_gives_the_textbook_interval():
    table = planted(-0.2, seeds=1, noise=0.3)
    found, line = trend(table, figure="a.b", group="g"), linregress(np.log(table.N), np.log(table.value))
    assert found.slope == pytest.approx(line.slope)
    assert found.interval95[1] - found.slope == pytest.approx(2.776445 * line.stderr)  # t with 4 degrees
    assert found.scatter is None


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_hold_no_trend_at_least_as_often_as_they_say(seeds):
    rng = np.random.default_rng(1)
    said = [trend(planted(0.0, seeds=seeds, rng=rng), figure="a", group="g").verdict for _ in range(200)]
    false = 200 - said.count("no trend shown")
    assert false < 20  # 10 expected with one seed, and 3 standard deviations; with several, fewer


def test_a_bend_widens_the_interval_however_many_seeds_agree():
    straight, bent = (trend(planted(bend=b, noise=0.02), figure="a", group="g") for b in (0.0, 0.05))
    assert np.diff(bent.interval95) > 3 * np.diff(straight.interval95)


def test_a_figure_that_is_not_positive_is_told_on_its_own_scale():
    table = planted(0.0, noise=0.0)
    table["value"] = -0.05 * (np.log(table.N) - np.log(table.N).mean()) + 1e-3 * np.tile([-1, 0, 1], 6)
    found = trend(table, figure="a", group="g")
    assert found.scale == "linear"
    assert found.slope == pytest.approx(-0.05)
    assert "a factor e of N" in found.said()


def test_what_could_not_be_had_is_counted_and_too_few_sizes_are_refused():
    table = planted()
    table.loc[table.N == SIZES[0], "value"] = None
    found = trend(table, figure="a", group="g")
    assert (found.sizes, found.missing) == (5, 3)
    assert "not to be had in 3 runs" in found.said()
    table.loc[table.N > SIZES[2], "value"] = None
    with pytest.raises(ValueError, match="not determined: 2 sizes, where it could not be had in 12 runs"):
        trend(table, figure="a", group="g")


def test_budgets_that_move_by_themselves_are_told_apart_from_size():
    rng = np.random.default_rng(2)
    parts = []
    for D in (1e6, 4e6):
        part = planted(-0.3, rng=rng, noise=0.02, D=D)
        parts.append(part.assign(value=part.value * (D / 1e6) ** 0.5))
    # Smaller models trained longer: without D in the fit the slope would come out far too steep.
    table = pd.concat([parts[0][parts[0].N > SIZES[1]], parts[1][parts[1].N < SIZES[4]]])
    found = trend(table, figure="a", group="g")
    assert found.interval95[0] < -0.3 < found.interval95[1]
    assert found.besides == "at the same D"
    together = planted(-0.3, D=20 * np.repeat(SIZES, 3))
    assert "D moved with N" in trend(together, figure="a", group="g").said()


def test_each_ladder_has_its_own_trend():
    tables = [planted(-0.3), planted(0.3, architecture="prefix_decoder"), planted(figure="c.d")]
    found, refused = trends(pd.concat([*tables, planted(figure="e.f")[:3]]))
    assert {(one.group, one.figure): one.verdict for one in found} == {
        ("causal decoder", "a.b"): "falls",
        ("prefix decoder", "a.b"): "rises",
        ("causal decoder", "c.d"): "falls",
    }
    assert list(refused) == ["causal decoder: e.f"]
    assert isinstance(found[0], Trend)
    assert found[0].to_json()["said"] == found[0].said()


def test_runs_without_measures_are_refused(tmp_path, monkeypatch, capsys):
    made = training.run(tmp_path)
    assert measures.table([made]).empty
    assert call(mechanisms, monkeypatch, f"runs={tmp_path}") == 1
    assert "no finished run was measured" in capsys.readouterr().err
    content: dict = {"measures": {"a.b": 2.0, "a.b_error": 0.1, "a.c": None}}
    table = measures.table([replace(made, **content)])
    assert table.figure.tolist() == ["a.b", "a.c"]
    assert table.value.isna().tolist() == [False, True]


def test_the_door_writes_verdicts_and_a_page(tmp_path, monkeypatch, capsys):
    made = training.run(tmp_path / "one")
    (tmp_path / "one" / "run.json").unlink()
    for row in planted(-0.3, noise=0.01).itertuples():
        measured = {"a.b": row.value, "a.c": row.value - 1, "a.d": None}
        replace(made, N=int(row.N), seed=row.seed, measures=measured).save(
            tmp_path / f"{row.N:.0f}-{row.seed}"
        )
    assert call(mechanisms, monkeypatch, f"runs={tmp_path}") == 0
    said = capsys.readouterr().out
    assert "causal decoder, a.b: falls with N, as N^-0.3" in said
    assert "a.d: not determined: 0 sizes, where it could not be had in 18 runs" in said
    result = json.loads((tmp_path / "mechanisms.json").read_text())
    assert [one["scale"] for one in result["trends"]] == ["log", "linear"]
    page = (tmp_path / "mechanisms.html").read_text()
    assert page.count("<svg") == 1
    assert "falls with N" in page
