"""IsoFLOP parabolas and the counted frontier against the closed form of a noise-free Chinchilla surface."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import Akima1DInterpolator
from study import PLANTED

from analysis.laws.chinchilla import Chinchilla
from analysis.optima.frontier import Cost, envelope, frontier
from analysis.optima.isoflop import Price, Profile, approach_two, exponent, groups, minima, profile
from analysis.solver.solve import solve
from analysis.tables.runs import efficient

SIX = Cost(6.0, 0.0, 0.0, 0.0)  # C = 6 N D
PARAMS = PLANTED["causal_decoder"]


def optimum(C):
    """Hoffmann et al. 2022, eq. 4."""
    alpha, beta = PARAMS["alpha"], PARAMS["beta"]
    G = (alpha * PARAMS["A"] / (beta * PARAMS["B"])) ** (1 / (alpha + beta))
    return G * (C / 6) ** (beta / (alpha + beta)), (C / 6) ** (alpha / (alpha + beta)) / G


def sampled(C, N):
    N = np.asarray(N, float)
    D = C / (6 * N)
    loss = Chinchilla().predict(PARAMS, {"N": N, "D": D})
    return pd.DataFrame({"N": N, "D": D, "C": np.full(len(N), float(C)), "loss": loss})


@pytest.fixture(scope="module")
def fit():
    """The planted surface itself, as a Fit: solved from noise-free points."""
    table = pd.concat([sampled(C, np.geomspace(1e4, 1e6, 6)) for C in (1e11, 1e12, 1e13)])
    found = solve(Chinchilla(), table, delta=1e-3, bootstrap=0, seed=0)
    return dataclasses.replace(found, params={name: PARAMS[name] for name in found.law.names})


def test_the_counted_frontier_is_the_closed_form_when_the_cost_is_6nd(fit):
    C = np.geomspace(1e9, 1e20, 23)
    line = frontier(fit, SIX, C)
    N, D = optimum(C)
    # The grid's parabola leaves a few parts in ten thousand of one grid step; without it, 1e-2.
    assert np.abs(line.N / N - 1).max() < 1e-4
    assert np.abs(line.D / D - 1).max() < 1e-4
    assert np.allclose(line.loss, Chinchilla().predict(PARAMS, {"N": N, "D": D}), rtol=1e-9)


def test_the_counted_frontier_balances_both_terms_by_the_elasticity_of_the_cost(fit):
    """First-order condition under C = k(N) D: alpha A N^-alpha = (dlog k / dlog N) beta B D^-beta."""
    dear = Cost(6.0, 200.0, 4000.0, 0.0)
    line = frontier(fit, dear, np.geomspace(1e10, 1e15, 6))
    N, D = line.N.to_numpy(), line.D.to_numpy()
    step = 1e-5
    elasticity = np.log(dear.per_token(N * (1 + step)) / dear.per_token(N)) / step
    assert elasticity.min() < 0.9  # far enough from 6 N D, where it is 1
    sizes = PARAMS["alpha"] * PARAMS["A"] * N ** -PARAMS["alpha"]
    tokens = PARAMS["beta"] * PARAMS["B"] * D ** -PARAMS["beta"]
    assert np.abs(sizes / (elasticity * tokens) - 1).max() < 1e-4
    assert np.allclose(dear.per_token(N) * D, line.C)


def test_the_cost_of_a_token_is_recovered_from_counted_flops():
    N = np.array([13824, 46656, 110592, 216000, 373248, 592704])
    true = 6 * N + 35.0 * N ** (2 / 3) + 700.0 * N ** (1 / 3)
    cost = Cost.fitted(pd.DataFrame({"N": N, "D": 1e6, "C": true * 1e6}))
    assert cost.error < 1e-9
    assert np.allclose([cost.weights, cost.attention, cost.head], [6, 35, 700], rtol=1e-6)


def test_a_parabola_on_centre_finds_the_minimum_and_off_centre_is_biased(fit):
    N, _ = optimum(1e13)
    around = np.geomspace(1 / 3, 3, 7)
    centred, aside = profile(sampled(1e13, N * around)), profile(sampled(1e13, 3.0 * N * around * 0.999))
    assert centred.status == aside.status == "bracketed"
    assert abs(centred.N_opt / N - 1) < 0.01
    # The valley is steeper on one side: a threefold sweep three times too large puts the vertex 5 % off.
    assert 0.04 < aside.N_opt / N - 1 < 0.06
    assert aside.loss == pytest.approx(Chinchilla().predict(PARAMS, {"N": N, "D": 1e13 / 6 / N})[0], rel=1e-3)


def test_the_bias_of_each_parabola_is_reported_from_the_fitted_surface(fit):
    N, _ = optimum(1e13)
    table = sampled(1e13, 3.0 * N * 0.999 * np.geomspace(1 / 3, 3, 7))
    (found,) = approach_two(table, fit, SIX, width=1.3)["profiles"]
    assert found["bias"] == pytest.approx(profile(table).N_opt / N - 1, abs=1e-3)
    assert found["bias"] > 0.04


def test_the_exponent_of_parabolas_is_beta_over_alpha_plus_beta():
    table = pd.concat(
        [sampled(C, optimum(C)[0] * np.geomspace(1 / 4, 4, 5)) for C in (1e11, 1e12, 1e13, 1e14)]
    )
    found = approach_two(table, None, SIX, width=1.3)
    assert [p["sizes"] for p in found["profiles"]] == [5, 5, 5, 5]
    a = PARAMS["beta"] / (PARAMS["alpha"] + PARAMS["beta"])
    assert found["exponent"]["a"] == pytest.approx(a, abs=1e-3)
    assert found["exponent"]["stderr"] < 1e-3


def test_a_minimum_that_the_sizes_do_not_bracket_is_not_reported():
    N, _ = optimum(1e13)
    below = profile(sampled(1e13, N * np.array([3, 5, 9, 15])))
    assert below.N_opt is None
    assert below.status == "minimum not bracketed: it lies below the smallest size"
    above = profile(sampled(1e13, N / np.array([3, 5, 9, 15])))
    assert above.status == "minimum not bracketed: it lies above the largest size"
    assert profile(sampled(1e13, [1e4, 1e5])).status == "2 of the 3 sizes a parabola needs"
    hill = sampled(1e13, [1e4, 1e5, 1e6]).assign(loss=[2.0, 3.0, 2.0])
    assert profile(hill).status == "no minimum: the losses do not curve upwards"


def test_too_few_minima_give_no_slope_or_no_error():
    one = Profile(C=1e12, spread=1.0, sizes=3, status="bracketed", N_opt=1e5)
    two = Profile(C=1e13, spread=1.0, sizes=3, status="bracketed", N_opt=3e5)
    assert exponent([one]).a is None
    pair = exponent([one, two])
    assert pair.a == pytest.approx(np.log10(3))
    assert pair.stderr is None


def test_groups_never_span_more_than_their_width():
    C = 1e12 * 1.15 ** np.arange(12)  # a chain: each within the width of its neighbour
    table = pd.DataFrame({"N": 1e5, "D": 1e6, "C": C, "loss": 2.0})
    found = list(groups(table, width=1.3))
    assert sum(map(len, found)) == 12
    assert all(g.C.max() / g.C.min() <= 1.3 for g in found)
    assert [g.C.min() for g in found] == sorted(g.C.min() for g in found)
    with pytest.raises(ValueError, match="width above 1"):
        list(groups(table, width=1.0))


def test_runs_that_share_a_budget_are_grouped_by_it():
    """Two budgets nearer than `width` stay apart where each C is met exactly, and meet where it is not."""
    budgets = np.repeat([1e12, 1.2e12], 3)
    table = pd.DataFrame({"N": np.tile([1e5, 2e5, 4e5], 2), "D": 1e6, "C": budgets, "loss": 2.0})
    assert [len(g) for g in groups(table, width=1.3)] == [3, 3]
    assert [len(g) for g in groups(table.head(5), width=1.3)] == [5]
    near = table.assign(C=budgets * (1 + 1e-8 * np.arange(6)))  # D rounded to whole tokens
    assert [len(g) for g in groups(near, width=1.3)] == [3, 3]


def test_without_noise_a_cubic_needs_the_centre_and_an_akima_curve_nothing():
    N, _ = optimum(1e13)
    centred, aside = (sampled(1e13, c * N * np.geomspace(1 / 8, 8, 15)) for c in (1.0, 3.0))
    off = {
        (curve, name): abs(profile(table, curve).N_opt / N - 1)
        for curve in ("parabola", "cubic", "akima")
        for name, table in (("centred", centred), ("aside", aside))
    }
    assert off["parabola", "centred"] > 0.01
    assert off["cubic", "centred"] < 1e-3  # the valley's lean is its third order
    assert min(off["parabola", "aside"], off["cubic", "aside"]) > 0.015
    assert max(off["akima", "centred"], off["akima", "aside"]) < 1e-3
    assert profile(aside, "cubic").parabola is None
    assert profile(aside.head(3), "cubic").status == "3 of the 4 sizes a cubic needs"
    assert profile(aside.head(4), "akima").status == "4 of the 5 sizes an Akima curve needs"
    below = sampled(1e13, N * np.geomspace(1.5, 9, 7))
    assert profile(below, "akima").status == "minimum not bracketed: it lies below the smallest size"


def test_minima_are_those_of_a_search_over_the_curve():
    random = np.random.default_rng(3)
    x = np.sort(random.uniform(0, 4, 9))
    y = (x - 2) ** 2 + random.normal(0, 0.2, (50, 9))
    fine = np.linspace(x[0], x[-1], 100_001)
    for curve in ("parabola", "cubic", "akima"):
        found = minima(x, y, curve)
        for k in range(50):
            if curve == "akima":
                values = Akima1DInterpolator(x, y[k])(fine)
            else:
                values = np.polynomial.Polynomial.fit(x, y[k], 2 if curve == "parabola" else 3)(fine)
            assert found.loss[k] <= values.min() + 1e-9
            assert found.inside[k] == (x[0] < found.x[k] < x[-1])
            if 0 < values.argmin() < len(fine) - 1:
                assert found.loss[k] == pytest.approx(values.min(), abs=1e-7)
                assert found.x[k] == pytest.approx(fine[values.argmin()], abs=1e-4)
    twice = minima(np.repeat(x, 2), np.repeat(y, 2, axis=1) + np.tile([0.1, -0.1], 9), "akima")
    assert twice.x == pytest.approx(minima(x, y, "akima").x)  # through the mean of each size


def test_a_token_costs_what_the_runs_paid_for_it():
    N = np.array([1e5, 2e5, 8e5])
    runs = pd.DataFrame({"N": N, "D": 1e6, "C": 6 * N * 1e6})
    at = np.log([5e4, 1e5, 3e5, 1e6])
    assert Price.of(runs).log_per_token(at) == pytest.approx(np.log(6) + at)


def test_efficient_points_and_the_envelope_of_curves():
    C = np.array([3.0, 1.0, 2.0, 2.0])
    loss = np.array([2.6, 3.0, 2.5, 2.8])
    assert efficient(C, loss).tolist() == [False, True, True, False]
    # Two runs of one budget, a step apart: the dearer one's better loss is no progress with compute.
    assert efficient(np.array([1.0, 1.01, 1.2]), np.array([3.0, 2.9, 2.8])).tolist() == [False, True, True]
    low = pd.DataFrame({"flops": [1.0, 100.0], "loss": [3.0, 1.0]})
    late = pd.DataFrame({"flops": [10.0, 1000.0], "loss": [2.5, 0.5]})
    seen = envelope([low, late], np.array([0.5, 10.0, 100.0, 1000.0]))
    assert np.isnan(seen[0])
    assert np.allclose(seen[1:], [2.0, 1.0, 0.5])
