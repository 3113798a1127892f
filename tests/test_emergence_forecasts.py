"""Forecasts of a score from smaller models, where the truth is of a method's own form and where it is not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.curves import curves, groups
from analysis.emergence.forecasts import METHODS, Seen, by_family, forecasts

N = np.geomspace(1e7, 1e11, 17)
X = np.log10(N)


def table(y: np.ndarray, **columns) -> pd.DataFrame:
    return pd.DataFrame({"task": "t", "N": N, "score": y, **columns})


def made(rows: pd.DataFrame) -> dict:
    parts = groups(rows, axis="auto", source="t")
    (curve,) = curves(rows, axis="auto", source="t")
    return {one.method: one for one in forecasts(curve, parts.get(("t", "score"), []))}


TRUTHS = {
    "logit line": 1 / (1 + np.exp(-(X - 10))),
    "direct": 1 - 0.95 * (N / N[0]) ** -0.2,
    "sigmoid": 0.05 + 0.6 / (1 + np.exp(-(X - 9) / 0.3)),
    "n-break": 1 - np.exp(-0.5 * np.maximum(X - 9, 0)),
    "PassUntil": np.exp(-(10 ** (0.5 - 0.3 * (X - 7)))),
}


@pytest.mark.parametrize("method", TRUTHS)
def test_a_method_forecasts_a_curve_of_its_own_form(method):
    found = made(table(TRUTHS[method]))
    assert found[method].error < 0.02
    held = [n for n in N if n > N[-1] / 4]
    assert found[method].x == pytest.approx(held)


def test_two_steps_need_a_loss_and_use_it():
    loss = 3 * (N / N[0]) ** -0.08
    y = 0.9 / (1 + np.exp((loss - 1.7) / 0.15))
    found = made(table(y, loss=loss))
    assert found["two steps through loss"].error < 0.01
    assert found["two steps through loss"].wins
    assert "two steps through loss" not in made(table(y))


def test_groups_by_difficulty_see_what_their_sum_hides():
    easy, hard = (0.98 / (1 + np.exp(-(X - c) / 0.15)) for c in (8.3, 9.9))
    parts = [table(easy, difficulty="easy"), table(hard, difficulty="hard"), table((easy + hard) / 2)]
    found = made(pd.concat(parts, ignore_index=True))
    assert found["by difficulty"].wins
    assert found["by difficulty"].error < 0.5 * found["sigmoid"].error


def test_every_method_is_listed_whether_it_wins_or_not():
    found = made(table(TRUTHS["logit line"]))
    assert set(found) == {*METHODS, "chosen by an earlier hold-out", "median of all"} - {
        "two steps through loss"
    }
    assert found["same as the last"].wins is None
    assert not any(one.wins for one in found.values())  # nothing beats the truth itself
    assert found["chosen by an earlier hold-out"].error < 1e-6
    at_the_largest = [found[name].predicted[-1] for name in METHODS if name in found]
    assert found["median of all"].predicted[-1] == pytest.approx(np.median(at_the_largest))


def test_too_short_a_curve_is_not_forecast():
    rows = table(TRUTHS["direct"]).iloc[-6:]
    with pytest.raises(ValueError, match="too few to forecast"):
        made(rows)


def test_the_hold_outs_go_down_by_fours_while_five_sizes_are_left():
    found = made(table(TRUTHS["direct"]))
    # 17 sizes, 1.78 apart: three to each factor of 4 (1.78^2 = 3.2), and 17 - 4 * 3 = 5 below the fourth.
    assert {one.hold_outs for name, one in found.items() if name in METHODS and name != "PassUntil"} == {4}
    assert found["direct"].mean_error == pytest.approx(0, abs=1e-6)
    assert found["direct"].wins_over_all
    assert found["logit line"].wins_over_all is None
    # Below the last one nothing is left to choose by.
    assert found["chosen by an earlier hold-out"].hold_outs == 3


def families(shift: dict[str, float]) -> pd.DataFrame:
    """A family for each shift, seven sizes each, on a line in the logit that the shift moves."""
    rows = [
        {"task": "t", "N": n, "score": 1 / (1 + np.exp(-(np.log10(n) - 9.5 + moved))), "family": name}
        for name, moved in shift.items()
        for n in np.geomspace(1e7, 1e11, 7)
    ]
    return pd.DataFrame(rows)


def test_what_a_family_is_off_the_others_is_found_in_its_smaller_models():
    found = made(families({"strong": 1.5, "middling": 0.0, "weak": -1.5}))
    assert found["median of all, by family"].error < 0.7 * found["median of all"].error
    assert found["median of all, by family"].wins


def test_families_that_differ_by_chance_are_not_told_apart():
    rows = families(dict.fromkeys("abcdef", 0.0))
    noisy = rows.assign(score=rows.score.clip(0.1, 0.9) + np.random.default_rng(0).normal(0, 0.05, len(rows)))
    found = made(noisy)
    moved, median = (found[name].predicted for name in ("median of all, by family", "median of all"))
    assert moved == pytest.approx(median, abs=0.01)


def test_moments_of_families_by_hand():
    """Families of two, off by 1 and -1, 0.2 about that: MSW = 0.16 / 2, MSB = 4, between = 3.92 / 2."""
    logits = np.array([1.2, 0.8, -0.8, -1.2])
    names = np.array(["a", "a", "b", "b"], object)
    seen = Seen(np.arange(4.0), 1 / (1 + np.exp(-logits)), np.array([4.0, 4.0, 4.0]), 0.0)
    seen = replace(seen, family=names, to_family=np.array(["a", "b", "new"], object))
    moved = by_family(seen, np.full(7, 0.5))
    shift = 1.96 / (1.96 + 0.08 / 2)
    assert np.log(moved / (1 - moved)) == pytest.approx([shift, -shift, 0], abs=1e-9)
    alone = replace(seen, family=np.array(["a", "b", "c", "d"], object))
    assert by_family(alone, np.full(7, 0.5)).tolist() == [0.5] * 3


def test_one_family_is_no_family():
    assert "median of all, by family" not in made(table(TRUTHS["direct"], family="one"))
