"""Thresholds: found where planted, silent where not, in whatever units and order a table comes."""

import numpy as np
import pandas as pd
import pytest

from analysis.emergence import shapes
from analysis.emergence.curves import curves, groups
from analysis.emergence.detect import detect, tail
from analysis.emergence.verdicts import judge
from bench.emergence import DATA, auc, detection, mirages, obsscaling, predicted

KNOBS = {"share": 0.6, "bootstrap": 300, "seed": 0}
N = np.geomspace(1e7, 1e11, 12)
U = np.linspace(0, 1, 12)


def table(y, task: str = "t", **columns) -> pd.DataFrame:
    return pd.DataFrame({"task": task, "N": N[: len(y)], "score": y, **columns})


def ramp(at: float, width: float = 0.3, base: float = 0.02, rise: float = 0.7) -> np.ndarray:
    noise = 0.01 * np.random.default_rng(3).standard_normal(12)
    return np.clip(base + rise * np.clip((U - at) / width, 0, 1) + noise, 0, 1)


def verdicts(rows: pd.DataFrame, axis: str = "auto") -> list:
    return [j for _, _, j in judge(curves(rows, axis=axis, source="t"), **KNOBS)]


def test_a_planted_threshold_is_found_and_its_interval_holds_it():
    (found,) = verdicts(table(ramp(0.5)))
    assert found.verdict == "emergent"
    assert found.p_value < 0.01
    low, high = found.interval95
    assert low < 1e9 < high
    assert low < found.threshold < high
    assert np.log10(high / low) < 0.8


def test_lines_power_laws_and_noise_at_chance_are_no_thresholds():
    random = np.random.default_rng(0)
    noise = 0.015 * random.standard_normal((4, 12))
    parts = {
        "line": 0.1 + 0.7 * U,
        "saturating": 0.9 * -np.expm1(-4 * U),
        "chance": np.full(12, 0.25),
        "known": np.full(12, 0.6),
    }
    rows = [table(y + e, name, chance=0.25) for (name, y), e in zip(parts.items(), noise, strict=True)]
    found = {j.task: j for j in verdicts(pd.concat(rows))}
    assert {name: j.verdict for name, j in found.items()} == {
        "line": "smooth",
        "saturating": "smooth",
        "chance": "not_learned",
        "known": "flat",
    }
    assert all(j.threshold is None and j.interval95 is None for j in found.values())
    (emergent,) = verdicts(table(ramp(0.6)))
    assert emergent.score > 5 * max(j.score for j in found.values())


def test_a_rise_from_well_above_chance_is_not_emergent():
    (found,) = verdicts(table(ramp(0.5, base=0.45, rise=0.5), chance=0.0))
    assert found.verdict == "smooth"
    assert "above chance" in found.reason
    (unknown,) = verdicts(table(ramp(0.5, base=0.45, rise=0.5)))
    assert unknown.verdict == "emergent"  # where chance is not told, 0.45 may be it


def test_units_and_order_make_no_difference():
    plain = verdicts(table(ramp(0.5)))[0]
    shuffled = table(100 * ramp(0.5)).sample(frac=1, random_state=1)
    percent = verdicts(shuffled.rename(columns={"N": "C"}))[0]
    assert percent.p_value == pytest.approx(plain.p_value)
    assert percent.score == pytest.approx(plain.score)
    assert percent.threshold == pytest.approx(plain.threshold)


def test_unusable_rows_are_left_out_named_and_counted():
    rows = table(ramp(0.5))
    rows = pd.concat([rows, table([np.nan, 0.5]).assign(N=[1e9, -1.0])], ignore_index=True)
    rows.index += 1
    (curve,) = curves(rows, axis="auto", source="t")
    assert curve.left_out == ("row 13: score=nan", "row 14: N=-1")
    (found,) = verdicts(rows)
    assert found.verdict == "emergent"
    assert "2 rows left out (row 13: score=nan, ...)" in found.reason


def test_a_threshold_in_loss_is_where_it_falls_below():
    y = ramp(0.5)
    loss = 4 * (N / N[0]) ** -0.1
    rows = pd.DataFrame({"task": "t", "N": N, "loss": loss, "score": y})
    (found,) = verdicts(rows, axis="loss")
    low, high = found.interval95
    assert found.verdict == "emergent"
    assert low < 4 * 10**-0.2 < high  # two decades of N above the smallest


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pd.DataFrame({"task": ["a"], "score": [1.0]}), "no column N or C"),
        (table(U).drop(columns="score"), "no column score"),
        (table(U).assign(N=-1.0), "no row has both a score and N > 0"),
        (table(U).assign(score="many"), "column score: 'many' is not a number"),
        (table(U).assign(task=None), "row 0: no task"),
    ],
)
def test_tables_that_cannot_be_read_are_told_in_a_line(rows, message):
    with pytest.raises(ValueError, match=message) as told:
        curves(rows, axis="auto", source="t")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("y", [[0.1] * 5, [0.1]])
def test_too_short_a_curve_is_undecided(y):
    (found,) = verdicts(table(y))
    assert (found.verdict, found.p_value, found.score) == ("undecided", None, 0.0)
    assert "too few" in found.reason


def test_points_that_are_all_equal_are_flat():
    (zeros,) = verdicts(table(np.zeros(12)))
    assert zeros.verdict == "not_learned"
    (half,) = verdicts(table(np.full(12, 0.5)))
    assert half.verdict == "flat"


def test_the_closed_form_is_least_squares():
    random = np.random.default_rng(0)
    g, y, w = U**2, 0.3 + 0.5 * U**2 + 0.1 * random.standard_normal(12), random.uniform(0.5, 2, 12)
    a, b = shapes.fitted(y, g, w)
    slope, level = np.polyfit(g, y, 1, w=np.sqrt(w))
    assert (a, b) == (pytest.approx(level), pytest.approx(slope))
    S, _ = shapes.squares(y[None], g[None], w)
    assert S[0, 0] == pytest.approx(float(w @ (y - level - slope * g) ** 2))
    assert shapes.squares(-y[None], g[None], w)[1][0, 0] == 0  # a fall is no rise


def test_no_smooth_shape_is_a_ramp_with_a_floor():
    dense = np.linspace(0, 1, 101)
    smooth = shapes.smooth(dense, 0.6)
    risen = (smooth - smooth[:, :1]) / (smooth[:, -1:] - smooth[:, :1])
    begin, end = (dense[(risen < part).sum(axis=1).clip(max=100)] for part in (0.1, 0.9))
    assert ((end - begin >= 0.58) | (begin <= 0.11)).all()
    assert len(smooth) > 100


def test_a_p_value_is_a_share_of_draws_and_goes_on_beyond_them():
    drawn = np.random.default_rng(0).exponential(size=40000)
    assert tail(0.5, drawn) == pytest.approx(np.exp(-0.5), abs=0.02)
    assert tail(12.0, drawn) == pytest.approx(np.exp(-12), rel=0.5)


def test_groups_of_items_are_no_points_of_the_curve():
    rows = pd.concat([table(U), table(U / 2).assign(difficulty="hard"), table(U).assign(difficulty="easy")])
    assert len(curves(rows, axis="auto", source="t")[0].x) == 12
    (parts,) = groups(rows, axis="auto", source="t").values()
    assert [part.y[-1] for part in parts] == [1.0, 0.5]


def test_repeats_at_few_sizes_are_searched():
    y = np.repeat([0.0, 0.0, 0.01, 0.5, 0.8, 0.82], 4) + 0.02 * np.random.default_rng(0).random(24)
    rows = pd.DataFrame({"task": "t", "N": np.repeat(np.geomspace(1e6, 1e9, 6), 4), "score": y})
    assert verdicts(rows)[0].verdict == "emergent"
    with pytest.raises(ValueError, match="3 sizes are too few"):
        detect(curves(rows[rows.N < 1e8].iloc[:12], axis="auto", source="t")[0], **KNOBS)


def test_short_simulations_keep_their_promises():
    """The quick form of bench/results/emergence.json."""
    found = detection(12, 30, KNOBS)
    assert found["false_positives"] <= 0.06
    assert found["found"] >= 0.65
    assert found["auc"] >= 0.97
    assert found["coverage"] >= 0.85
    said = mirages(12, 12, KNOBS)
    assert said["decided"] >= 10
    assert said["right"] >= 0.95


def test_auc_counts_pairs():
    assert auc([3, 2], [1, 2]) == 3.5 / 4


@pytest.mark.skipif(not (DATA / "obsscaling").exists(), reason="the public tables are not in ../shared/data")
def test_public_curves_rank_as_they_are_labelled():
    found = obsscaling(KNOBS)
    assert found["C"]["auc"] >= 0.95
    assert found["N"]["auc"] >= 0.95
    emergent = " ".join(found["C"]["emergent"])
    for name in (
        "arithmetic_3da",
        "arithmetic_3ds",
        "arithmetic_2dm",
        "word_unscrambling",
        "ipa",
        "parsinlu",
    ):
        assert name in emergent
    for name in ("MMLU", "ARC-C", "HellaSwag", "Winograd", "XWinograd", "TruthfulQA"):
        assert all(name not in found[axis]["emergent"] for axis in ("N", "C"))


@pytest.mark.skipif(not (DATA / "obsscaling").exists(), reason="the public tables are not in ../shared/data")
def test_public_scores_are_forecast_from_smaller_models():
    """Over all hold-outs. At the top 4x alone there are one or two models, and four sums of which all is
    known."""
    found = predicted()
    for axis in "NC":
        one = found[f"obsscaling, {axis}"]
        assert one["median of all, by family"]["curves"] == 16
        assert one["median of all, by family"]["wins_over_all"] >= 14
        assert one["median of all, by family"]["mean_error"] < 0.9 * one["nearer baseline"]["mean_error"]
