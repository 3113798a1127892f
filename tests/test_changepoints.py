"""Change points on log-spaced checkpoints: calibrated on curves without, found where planted."""

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.changepoints import change_points, onset
from analysis.emergence.training import along_training
from bench.emergence import DATA, lambada

STEP = np.array([0, *2 ** np.arange(0, 10), *np.arange(1, 17) * 1000], float)
X = np.log10(STEP + 1)


@pytest.mark.parametrize("kind", ["level", "slope"])
def test_curves_without_a_break_are_given_one_in_twenty_times(kind):
    random = np.random.default_rng(1)
    drawn = random.standard_normal((300, len(STEP))) + (3 * X if kind == "slope" else 0)
    share = np.mean([bool(change_points(STEP, y, kind=kind, seed=0)) for y in drawn])
    assert 0.02 < share < 0.09  # three standard errors of 300 curves: 3.8 %


def test_a_planted_break_is_found_to_the_checkpoint():
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(STEP))
    score = np.where(STEP >= 256, 0.6, 0.1) + noise
    assert [STEP[k] for k in change_points(STEP, score, kind="level", seed=0)] == [256]
    assert onset(STEP, score, seed=0) == (128, 256)
    loss = 9 - 0.3 * X - 2 * np.maximum(X - np.log10(65), 0) + noise
    (bend,) = change_points(STEP, loss, kind="slope", seed=0)
    assert 32 <= STEP[bend] <= 128


def test_one_high_checkpoint_is_no_onset():
    score = np.where(STEP == 64, 0.5, 0.1) + 0.01 * np.random.default_rng(0).standard_normal(len(STEP))
    assert change_points(STEP, score, kind="level", seed=0)
    assert onset(STEP, score, seed=0) is None


@pytest.mark.parametrize(
    ("step", "y", "message"),
    [
        (STEP[:5], np.zeros(5), "5 checkpoints are too few"),
        (STEP[::-1], np.zeros(len(STEP)), "steps do not increase"),
        (STEP, np.full(len(STEP), np.nan), "values that are numbers"),
    ],
)
def test_bad_checkpoints_are_refused(step, y, message):
    with pytest.raises(ValueError, match=message):
        change_points(step, y, kind="level", seed=0)


def test_every_run_of_a_table_is_searched_or_says_why_not():
    y = np.where(STEP >= 256, 0.6, 0.0)
    rows = pd.DataFrame({"model": "a", "task": "t", "step": STEP, "score": y})
    short = rows.head(3).assign(model="b")
    twice = pd.concat([rows, rows]).assign(model="c")
    found = along_training(pd.concat([rows, short, twice]), seed=0, source="t")
    assert [one["model"] for one in found] == ["a", "b", "c"]
    assert found[0]["onset"] == [128, 256]
    assert "too few" in found[1]["refused"]
    assert "do not increase" in found[2]["refused"]


@pytest.mark.skipif(
    not (DATA / "pythia_evals").exists(), reason="the public tables are not in ../shared/data"
)
def test_lambada_leaves_its_floor_by_step_1000_at_all_sizes():
    checkpoints = [512, 1000, 3000]
    for size, found in lambada().items():
        assert found is not None, size
        assert abs(checkpoints.index(found[1]) - checkpoints.index(1000)) <= 1, size
