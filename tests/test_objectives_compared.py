"""Objectives at equal N, D and C: planted differences and shares come back, as often as the intervals say."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from commands import call
from training import run

from analysis.comparing.objectives import difference, fieller, grouped, recovered
from experiments.objectives import main as objectives

SIZES, BUDGETS, SEEDS = (2e4, 5e4, 1e5), (120_000, 240_000), (0, 1)
OFFSET = {"causal": 0.0, "prefix": -0.06, "both": -0.10}
TIMES = {"causal": 1.0, "prefix": 1.0, "both": 2.2}  # parameters of one shape


def study(rng: np.random.Generator, *, noise: float = 0.01, common: float = 0.03) -> pd.DataFrame:
    """Losses linear in log N, with an offset for each group; seeds shift all groups alike, and each."""
    rows = []
    for size in SIZES:
        shifts = {seed: rng.normal(0, common) for seed in SEEDS}
        for group, offset in OFFSET.items():
            for seed in SEEDS:
                own = rng.normal(0, noise) + shifts[seed]  # of the trunk: alike at every D
                for D in BUDGETS:
                    N = TIMES[group] * size
                    loss = 4 - 0.1 * np.log(N) - 0.05 * np.log(D) + offset + own
                    rows.append(
                        {"group": group, "N": N, "D": D, "C": 6 * size * D, "seed": seed, "loss": loss}
                    )
    return pd.DataFrame(rows)


def test_a_planted_difference_lies_in_95_of_100_intervals():
    rng = np.random.default_rng(0)
    found = [difference(study(rng), "prefix", "causal") for _ in range(400)]
    held = np.mean([one.low <= -0.06 <= one.high for one in found])
    assert held == pytest.approx(0.95, abs=0.035)  # three standard errors of 400 draws
    assert np.mean([one.mean for one in found]) == pytest.approx(-0.06, abs=0.001)
    assert {(one.sizes, one.seeds, one.freedom) for one in found} == {(3, 2, 3)}
    assert {one.said for one in found} <= {"is below it", "not told apart from it"}


def test_a_difference_by_hand():
    """Gaps 0.1, 0.3 and 0.2, 0.2 of two sizes: means 0.2, pooled variance 0.01, t of 2 degrees."""
    rows = [
        {"group": group, "N": N, "D": 1, "seed": seed, "loss": 3 + (gap if group == "a" else 0), "other": 3.5}
        for N, gaps in ((1, (0.1, 0.3)), (2, (0.2, 0.2)))
        for seed, gap in enumerate(gaps)
        for group in "ab"
    ]
    found = difference(pd.DataFrame(rows), "a", "b")
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.mean == pytest.approx(4.302653 * np.sqrt(0.01 * (0.5 + 0.5)) / 2, rel=1e-6)
    assert found.said == "not told apart from it"
    assert difference(pd.DataFrame(rows), "a", "b", against="other").mean == pytest.approx(-0.3)


def test_what_cannot_be_compared_is_said():
    table = study(np.random.default_rng(1))
    with pytest.raises(ValueError, match="no run of ul2"):
        difference(table, "ul2", "causal")
    with pytest.raises(ValueError, match="no column loss_causal"):
        difference(table, "prefix", "causal", loss="loss_causal")
    with pytest.raises(ValueError, match="share no run of equal N"):
        difference(table, "both", "causal")
    with pytest.raises(ValueError, match="one seed a size"):
        difference(table[table.seed == 0], "prefix", "causal")
    apart = table[(table.N < 3e4) | (table.group == "both")]
    with pytest.raises(ValueError, match="have no N in common"):
        recovered(apart, plain="causal", part="prefix", full="both", axis="N", D=240_000)


@pytest.mark.parametrize("axis", ["N", "C"])
def test_the_share_of_a_gain_is_exact_without_noise(axis: str):
    """At equal N the offsets are all there is; at equal C the larger model has 0.1 ln 2.2 more."""
    table = study(np.random.default_rng(0), noise=0, common=0)
    names = {"plain": "causal", "part": "prefix", "full": "both"}
    found = recovered(table, **names, axis=axis, D=240_000)
    gain = 0.10 + (0.1 * np.log(2.2) if axis == "C" else 0)
    assert found.gain == pytest.approx(gain)
    assert found.share == pytest.approx(0.06 / gain)
    assert found.low == pytest.approx(found.share) == pytest.approx(found.high)
    if axis == "N":  # where all three groups have sizes
        assert (min(found.points), max(found.points)) == pytest.approx((2.2 * 2e4, 1e5))


def test_fieller_s_interval_holds_the_ratio_as_often_as_it_says():
    rng = np.random.default_rng(3)
    over, under, freedom = 0.06, 0.10, 6
    held = 0
    for _ in range(2000):
        common, a, b = rng.normal(0, 0.01, 3)
        deviation = 0.01 * np.sqrt(rng.chisquare(freedom) / freedom)
        v = deviation**2
        ends = fieller(over + common + a, under + common + b, 2 * v, 2 * v, v, freedom)
        held += ends is None or ends[0] <= over / under <= ends[1]
    assert held / 2000 == pytest.approx(0.95, abs=0.015)
    assert fieller(0.06, 0.01, 1e-4, 1e-4, 0, 6) is None  # a gain within its own noise has no share


def test_groups_are_named_by_what_differs():
    rows = [{"architecture": "a", "objective": o} for o in ("x", "x", "y")]
    knobs = [{"rate": 0.1, "span": 3}, {"rate": 0.4, "span": 3}, {"rate": 0.1}]
    assert grouped(rows, knobs).group.tolist() == ["a, x, rate=0.1", "a, x, rate=0.4", "a, y"]


def test_the_command(tmp_path, monkeypatch, capsys):
    """Records of a planted study, one without a common loss: what was planted, and what is missing."""
    like = run(tmp_path / "like")
    (tmp_path / "like" / "run.json").unlink()
    pairs = {"causal": "causal_decoder", "prefix": "prefix_decoder", "both": "encoder_decoder"}
    table = study(np.random.default_rng(5), noise=0.001)
    for k, row in enumerate(table.to_dict("records")):
        changes = {"run": f"r{k}", "architecture": pairs[row.pop("group")], "objective": "prefix_lm"}
        dataclasses.replace(like, **changes, **row | {"N": int(row["N"])}).save(tmp_path / str(k))
    masked = {"architecture": "encoder", "objective": "masked_lm", "loss": None}
    dataclasses.replace(like, run="e", **masked).save(tmp_path / "e")
    assert call(objectives, monkeypatch, f"runs={tmp_path}") == 0
    told = json.loads((tmp_path / "objectives.json").read_text())
    page = (tmp_path / "objectives.md").read_text()
    assert page.startswith(f"`{told['provenance']['command']}`, commit {told['provenance']['commit']}, ")
    assert page.count("nats/token") == len(told["differences"]) + len(told["recovered"])
    (found,) = told["differences"]
    assert (found["group"], found["said"]) == ("prefix_decoder, prefix_lm", "is below it")
    assert found["mean"] == pytest.approx(-0.06, abs=0.003)
    assert {(one["axis"], one["D"]) for one in told["recovered"]} == {(a, D) for a in "NC" for D in BUDGETS}
    said = capsys.readouterr().out
    assert "encoder, masked_lm" in said
    assert "not told: no run of prefix_decoder, mixture" in said
