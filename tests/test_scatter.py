"""The scatter of a new run: one figure where it is equal, its place's where it is not, the widest beyond."""

import numpy as np
import pytest

from analysis.solver.scatter import scatter


def logs(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform([15, 20], [22, 26], size=(n, 2))


def test_equal_scatter_is_one_figure():
    """At the 1 % level, over 200 tables of equal scatter, no more than 6 (three standard errors) are
    split."""
    split = 0
    for seed in range(200):
        r = 0.01 * np.random.default_rng(seed).standard_normal(80)
        found = scatter(logs(80, seed), r, 5, 75)
        assert found.pooled == pytest.approx(np.sqrt((r**2).sum() / 75))
        split += found.along is not None
    assert split <= 6


def test_scatter_that_grows_along_a_direction_is_found_and_placed():
    x = logs(400)
    lean = x[:, 1] - x[:, 0]  # log D / N
    sd = 0.002 * np.exp(np.clip(7 - lean, 0, None) / 3)
    found = scatter(x, sd * np.random.default_rng(1).standard_normal(400), 5, 395)
    assert found.along is not None
    assert np.abs(np.array(found.directions[found.along]) @ [1, -1]) == 2  # the difference of N and D
    middle = np.array([[21.5, 21.0], [16.0, 25.5]])  # few tokens a parameter, and many
    few, many = found.at(middle)
    inside = (lean > np.quantile(lean, 0)) & (lean <= np.quantile(lean, 0.25))
    assert few == pytest.approx(np.sqrt((sd[inside] ** 2).mean()), rel=0.2)
    assert few > 3 * many
    # Beyond the table in any direction nothing says which part it is like.
    beyond = np.array([[16.0, 27.0], [23.0, 26.0], [15.0, 26.5]])
    assert found.outside(beyond).all()
    np.testing.assert_allclose(found.at(beyond), max(found.quarters))
    assert not found.outside(x).any()


def test_a_corner_inside_both_ranges_is_still_an_extrapolation():
    """All runs on a band of equal D/N: the largest N with the smallest D was never seen."""
    N = np.linspace(15, 22, 50)
    x = np.stack([N, N + 3 + np.random.default_rng(0).uniform(-0.5, 0.5, 50)], axis=1)
    found = scatter(x, np.full(50, 0.01), 5, 45)
    assert found.outside(np.array([[21.5, 18.5]])).all()
    assert not found.outside(np.array([[18.0, 21.0]])).any()


def test_a_dozen_rows_have_one_scatter():
    r = np.concatenate([np.full(6, 1e-4), np.full(6, 0.1)])
    assert scatter(logs(12), r, 5, 7).along is None
