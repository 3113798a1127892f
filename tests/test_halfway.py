"""Where a score is half-way up: known places, runs that fail by luck, how often intervals hold the place."""

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.curves import Curve, curves
from analysis.emergence.detect import detect
from analysis.emergence.halfway import Halfway
from analysis.emergence.halfway import halfway as halfway_of

N = np.geomspace(1e3, 1e5, 12)
X = np.log10(N)


def halfway(curve: Curve) -> Halfway | None:
    return halfway_of(curve, detect(curve, share=0.6, bootstrap=100, seed=0), bootstrap=200, seed=0)


def curve(y: np.ndarray, N: np.ndarray = N, metric: str = "exact") -> Curve:
    (made,) = curves(pd.DataFrame({"task": "t", "N": N, "score": y, "metric": metric}), axis="N", source="t")
    return made


def test_the_middle_of_a_line_is_its_middle():
    found = halfway(curve(0.1 + 0.4 * (X - 3)))
    assert found.at == pytest.approx(1e4)
    assert found.levels == pytest.approx([0.1, 0.9])
    # Without scatter the interval is the two sizes between which it lies.
    assert found.interval95 == pytest.approx([N[5], N[6]])


def test_an_nll_falls_half_way_where_it_does():
    found = halfway(curve(3 - (X - 3), metric="nll"))
    assert found.at == pytest.approx(1e4)


def test_of_a_jump_only_the_sizes_beside_it_are_told():
    found = halfway(curve(np.where(N > 2e4, 1.0, 0.0)))
    assert found.interval95 == pytest.approx([N[7], N[8]])


def test_what_does_not_rise_has_no_middle():
    assert halfway(curve(np.full(12, 0.5))) is None
    assert halfway(curve(1 - 0.1 * (X - 3))) is None
    assert halfway(curve(np.full(36, 0.1), np.repeat(N, 3))) is None


@pytest.mark.parametrize(("steepness", "runs", "luck"), [(0.1, 4, 0.0), (0.1, 4, 0.3), (0.5, 1, 0.0)])
def test_intervals_hold_the_middle(steepness, runs, luck):
    """A sigmoid seen on 200 items, at twelve sizes 0.18 decades apart. Unlucky runs score 0: the mean then
    rises to 1 - luck, and is half-way where the sigmoid is. A slow one is half-way between its ends."""
    random = np.random.default_rng(3)
    held, width = [], []
    for at in random.uniform(3.5, 4.5, size=100):
        g = 1 / (1 + np.exp(-(X - at) / steepness))
        place = np.interp((g[0] + g[-1]) / 2, g, X)
        p = np.repeat(g, runs) * (random.random(12 * runs) >= luck)
        found = halfway(curve(random.binomial(200, p) / 200, np.repeat(N, runs)))
        low, high = np.log10(found.interval95)
        held.append(low <= place <= high)
        width.append(high - low)
    assert np.mean(held) >= 0.92
    assert np.median(width) < (0.4 if luck == 0 else 0.9)
