"""Forecasts of a score from smaller models, where the truth is of a method's own form and where it is not."""

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.curves import curves, groups
from analysis.emergence.forecasts import METHODS, forecasts

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
