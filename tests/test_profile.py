"""Profiles: the closed form of a straight line, the truth held as often as said, and no end where there is
none."""

import numpy as np
import pytest
from planted import grid
from scipy import optimize, stats

from analysis.laws.chinchilla import Chinchilla, SaturatingC
from analysis.laws.kaplan import KaplanN
from analysis.solver.solve import solve

LAW = Chinchilla()


def profile(law, table, **knobs):
    common = {"delta": 1e-3, "bootstrap": 0, "seed": 0, "profile": True}
    return solve(law, table, **common | knobs)


def test_for_a_straight_line_it_is_students_interval():
    """log L = k - alpha log N by least squares: the interval of alpha is the textbook's, t with n - 2."""
    N = np.geomspace(1e6, 1e9, 12)
    y = 3.0 - 0.08 * np.log(N) + 0.01 * np.random.default_rng(0).standard_normal(12)
    found = profile(KaplanN(), {"N": N, "loss": np.exp(y)}, criterion="mse").certificate["profile"]
    line = stats.linregress(np.log(N), y)
    # The sandwich's spread for leverage, in place of the pooled variance: the same in expectation.
    x = np.log(N) - np.log(N).mean()
    r = y - line.intercept - line.slope * np.log(N)
    error = np.sqrt((r**2 * x**2).sum() * 12 / 10) / (x @ x)
    half = stats.t.ppf(0.975, 10) * error
    low, high = found["alpha_N"]["interval95"]
    assert low == pytest.approx(-line.slope - half, rel=1e-6)
    assert high == pytest.approx(-line.slope + half, rel=1e-6)
    # The rise is quadratic, with the curvature of the least-squares objective.
    value, rise = np.array(found["alpha_N"]["value"]), np.array(found["alpha_N"]["rise"])
    np.testing.assert_allclose(rise, 0.5 * (value + line.slope) ** 2 * (x @ x), rtol=1e-6, atol=1e-12)
    # N_c means something only with its exponent, and has no profile of its own.
    assert "N_c" not in found


def test_a_factor_is_profiled_in_its_own_unit():
    """The profile of A at a value equals the best fit with A and alpha free but A's value held by hand."""
    table = grid(6, 5, noise=0.004)
    fit = profile(LAW, table)
    one = fit.certificate["profile"]["A"]
    low, high = one["interval95"]
    assert low < fit.params["A"] < high
    k = int(np.argmin(np.abs(np.log(one["value"]) - np.log(2 * fit.params["A"]))))
    value, rise = one["value"][k], one["rise"][k]
    # By hand: A held together with its exponent, the best of all exponents.
    found = optimize.minimize_scalar(
        lambda a: (
            solve(LAW, table, fixed={"A": value, "alpha": a}, delta=1e-3, bootstrap=0, seed=0).objective
        ),
        bounds=(fit.params["alpha"] - 0.1, fit.params["alpha"] + 0.2),
        method="bounded",
        options={"xatol": 1e-5},
    )
    assert fit.objective + rise == pytest.approx(found.fun, rel=1e-3)
    assert fit.objective + rise <= found.fun * (1 + 1e-9)


def test_an_open_end_is_a_verdict():
    """Losses that hardly fall: any E down to 0 does, with an exponent to match, and none of it is told
    apart."""
    C = np.geomspace(1e18, 1e19, 14)
    loss = (1.5 + 2e3 * C**-0.18) * np.exp(0.02 * np.random.default_rng(3).standard_normal(14))
    fit = profile(SaturatingC(), {"C": C, "loss": loss}, criterion="mse")
    assert "not identified: " in fit.status
    assert "95 % profile interval without an end" in fit.status
    named = fit.status.split("not identified: ")[1].split(" (")[0].split(", ")
    assert "E" in named
    assert any(None in fit.certificate["profile"][name]["interval95"] for name in named)
    # Thirty times the precision over four decades: all ends are there.
    C = np.geomspace(1e17, 1e21, 14)
    loss = (1.5 + 2e3 * C**-0.18) * np.exp(0.0006 * np.random.default_rng(3).standard_normal(14))
    fit = profile(SaturatingC(), {"C": C, "loss": loss}, criterion="mse")
    assert fit.status == "converged"
    for name, true in {"E": 1.5, "alpha": 0.18}.items():
        low, high = fit.certificate["profile"][name]["interval95"]
        assert low < true < high


def test_profile_intervals_hold_the_truth():
    """Least squares, 20 rows, 100 tables: 95 % less three binomial standard errors is 88.5 %."""
    hits = np.zeros(3)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        C = np.geomspace(1e17, 1e21, 20)
        loss = (1.5 + 2e3 * C**-0.18) * np.exp(0.003 * rng.standard_normal(20))
        found = profile(SaturatingC(), {"C": C, "loss": loss}, criterion="mse").certificate["profile"]
        ends = [found[name]["interval95"] for name in ("E", "A", "alpha")]
        hits += [
            (low is None or low <= true) and (high is None or true <= high)
            for (low, high), true in zip(ends, (1.5, 2e3, 0.18), strict=True)
        ]
    assert (hits / 100 > 0.885).all(), hits / 100
    assert hits.mean() / 100 < 0.99
