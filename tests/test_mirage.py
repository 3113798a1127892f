"""Jumps that the metric makes, and jumps that it does not."""

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.curves import curves
from analysis.emergence.verdicts import judge

N = np.geomspace(1e7, 1e11, 14)
U = np.linspace(0, 1, 14)
SMOOTH = np.exp(-(10 ** np.interp(U, [0, 1], [0.4, -1.5])))
REAL = 0.15 + 0.8 * np.clip((U - 0.55) / 0.15, 0, 1)
L = 6


def rows(p: np.ndarray, *metrics: str, **columns) -> pd.DataFrame:
    random = np.random.default_rng(0)
    noise = 1 + 0.02 * random.standard_normal((3, len(p)))
    scores = {
        "exact_match": random.binomial(500, p**L) / 500,
        "nll": -np.log(p) * noise[0],
        "brier": (1 - p) ** 2 * noise[1],
        "log_prob": np.log(p) * noise[2],
    }
    parts = [
        pd.DataFrame({"task": "t", "metric": name, "N": N, "score": scores[name], "n": 500, **columns})
        for name in ("exact_match", *metrics)
    ]
    return pd.concat(parts, ignore_index=True)


def first(table: pd.DataFrame):
    found = judge(curves(table, axis="auto", source="t"), share=0.6, bootstrap=300, seed=0)
    return found[0][2]


@pytest.mark.parametrize("metric", ["nll", "brier", "log_prob"])
def test_a_smooth_probability_makes_the_jump_vanish_and_a_real_threshold_survives(metric):
    made = first(rows(SMOOTH, metric))
    assert (made.verdict, made.mirage) == ("emergent", "vanishes")
    real = first(rows(REAL, metric))
    assert (real.verdict, real.mirage) == ("emergent", "survives")
    assert metric in real.reason


def test_the_length_of_the_answer_undoes_the_power():
    made = first(rows(SMOOTH, length=L))
    assert made.verdict == "emergent"
    assert made.mirage in ("vanishes", "undecided")
    assert f"exact_match^(1/{L})" in made.reason
    alone = first(rows(REAL))
    assert (alone.verdict, alone.mirage) == ("emergent", None)


def test_metrics_that_disagree_leave_it_undecided():
    table = rows(SMOOTH, "nll")
    other = rows(REAL, "brier")
    both = pd.concat([table, other[other.metric == "brier"]], ignore_index=True)
    assert first(both).mirage == "undecided"


def test_a_continuous_metric_has_no_mirage_of_its_own():
    found = judge(curves(rows(REAL, "nll"), axis="auto", source="t"), share=0.6, bootstrap=300, seed=0)
    assert [j.mirage for _, _, j in found] == ["survives", None]
