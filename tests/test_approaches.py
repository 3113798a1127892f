"""Approaches 1, 2 and 3 on planted surfaces, where the answer is a closed form, and on Chinchilla's runs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import fits
from analysis.laws.chinchilla import Chinchilla, SaturatingC
from analysis.optima.approaches import approach, loss_along
from analysis.optima.disagreements import disagreement
from analysis.optima.frontier import Cost, frontier
from analysis.optima.surfaces import Surface, best_split
from analysis.optima.vertices import Noise, Vertices
from analysis.tables import runs

LAW = Chinchilla()
# Besiroglu et al. 2024, as published: a surface with a = 0.513.
PLANTED = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
ASKED = {"budgets": [1e22, 1e23], "flops": 6, "curve": "parabola", "width": 1.3, "seed": 0}
DATA = Path(__file__).parents[2] / "shared/data/epoch_chinchilla/svg_extracted_data.csv"


def optimum(C, params=PLANTED):
    """N_opt, a (Hoffmann et al. 2022, eq. 4)."""
    alpha, beta = params["alpha"], params["beta"]
    G = (alpha * params["A"] / (beta * params["B"])) ** (1 / (alpha + beta))
    return G * (np.asarray(C) / 6) ** (beta / (alpha + beta)), beta / (alpha + beta)


def planted(N, C, *, noise=0.0, seed=0, params=PLANTED, **more) -> pd.DataFrame:
    table = pd.DataFrame({"N": N, "D": C / (6 * N), "C": C} | more)
    table.index = pd.RangeIndex(1, len(table) + 1)
    scatter = np.random.default_rng(seed).normal(0, noise, len(table))
    return table.assign(loss=LAW.predict(params, table) * np.exp(scatter))


def isoflop(budgets, sizes, *, around=4.0, centre=1.0, **more) -> pd.DataFrame:
    """Sizes spread by a factor `around` to either side of `centre` times the optimum of each budget."""
    params = more.get("params", PLANTED)
    spread = centre * np.geomspace(1 / around, around, sizes)
    return planted(np.outer(optimum(budgets, params)[0], spread).ravel(), np.repeat(budgets, sizes), **more)


def ladder(sizes, points=20, **more) -> pd.DataFrame:
    """Learning curves from 1 to 300 tokens a parameter."""
    N = np.repeat(np.geomspace(1e7, 3e9, sizes), points)
    C = 6 * N**2 * np.tile(np.geomspace(1, 300, points), sizes)
    return planted(N, C, run=[f"run{k}" for k in np.repeat(np.arange(sizes), points)], **more)


def fitted(table, bootstrap=0):
    return fits.fit(table, LAW, delta=1e-3, bootstrap=bootstrap, seed=0)


def test_without_noise_all_three_are_what_they_can_be():
    N, a = optimum(np.array(ASKED["budgets"]))
    table = isoflop(np.geomspace(1e18, 1e21, 4), 7)
    fit = fitted(table)
    three = approach(table, "approach3", fit=fit, bootstrap=0, **ASKED)
    assert three.a == pytest.approx(a, rel=1e-8)
    assert three.b == pytest.approx(1 - a, rel=1e-8)
    assert three.N_opt == pytest.approx(N, rel=1e-6)
    assert three.D_opt == pytest.approx(np.array(three.C) / 6 / N, rel=1e-6)
    two = approach(table, "approach2", fit=fit, bootstrap=0, **ASKED)
    off = two.bias["noise_free"]
    assert two.a - off["a"] == pytest.approx(a, rel=1e-8)
    assert two.N_opt / (1 + np.array(off["N_opt"])) == pytest.approx(N, rel=1e-6)
    assert two.bias["corrected"]["D_opt"] == pytest.approx(three.D_opt, rel=1e-6)
    assert abs(two.a / a - 1) < 1e-4  # the same spread around every optimum: a is unbiased
    curves = ladder(30)
    one = approach(curves, "approach1", fit=fitted(curves), bootstrap=0, **ASKED)
    at = one.points
    step = np.log(3e9 / 1e7) / 29
    # Between two sizes the envelope takes the better one, so it is never further off than a step.
    assert np.abs(np.log(at.N / optimum(at.C.to_numpy())[0])).max() < step
    assert abs(one.a - a) < step / np.log(at.C.max() / at.C.min())
    assert one.bias["corrected"]["a"] == pytest.approx(a, rel=1e-6)


@pytest.mark.parametrize(
    ("alpha", "beta", "around", "error"),
    [
        (0.34, 0.28, 4, 5.690942), (0.34, 0.28, 8, 3.376108), (0.34, 0.28, 16, 0.237881),
        (0.465, 0.155, 4, 14.413662), (0.465, 0.155, 8, 6.959366), (0.465, 0.155, 16, -2.424573),
    ],
)  # fmt: skip
def test_the_published_biases_of_off_centre_parabolas(alpha, beta, around, error):
    """Czech et al. 2026 (arXiv:2603.22339), offset by 3: per cent by which D_opt is off at 1e24 FLOPs."""
    params = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": alpha, "beta": beta}
    table = isoflop(np.geomspace(1e17, 1e21, 5), 15, around=around, centre=1 / 3, params=params)
    asked = ASKED | {"budgets": [1e24]}
    found = approach(table, "approach2", fit=fitted(table), bootstrap=0, **asked)
    truth = 1e24 / 6 / optimum(1e24, params)[0]
    assert 100 * (found.D_opt[0] / truth - 1) == pytest.approx(error, abs=1e-5)
    assert 100 * found.bias["noise_free"]["D_opt"][0] == pytest.approx(error, abs=1e-3)
    assert found.bias["corrected"]["D_opt"][0] == pytest.approx(truth, rel=1e-4)
    assert found.extrapolated == [True]


def test_a_minimum_outside_the_sizes_is_no_minimum():
    """The narrowest grid of the same study: D 7 or 19 % off, were one to believe its vertices."""
    for alpha, beta, error in ((0.34, 0.28, 7.110119), (0.465, 0.155, 19.221180)):
        params = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": alpha, "beta": beta}
        budgets = np.geomspace(1e17, 1e21, 5)
        table = isoflop(budgets, 15, around=2, centre=1 / 3, params=params)
        found = approach(table, "approach2", fit=None, bootstrap=50, **ASKED)
        assert np.isnan(found.a)
        assert found.status == "0 of 5 groups of equal compute bracket a minimum; no exponent: it takes two"
        assert found.interval95 == {}
        vertex = [-p["parabola"][1] / (2 * p["parabola"][2]) for p in found.profiles]
        line = np.polynomial.Polynomial.fit(np.log(budgets), vertex, 1)
        D = 1e24 / 6 / np.exp(line(np.log(1e24)))
        assert 100 * (D * 6 * optimum(1e24, params)[0] / 1e24 - 1) == pytest.approx(error, abs=1e-5)


@pytest.mark.parametrize(
    ("budgets", "sizes", "curve"), [(3, 5, "parabola"), (5, 7, "parabola"), (4, 7, "akima")]
)
def test_intervals_of_approach_2_hold_the_exponent(budgets, sizes, curve):
    """80 tables: 95 % of them, give or take two and a half binomial standard errors."""
    truth = optimum(1e22)[1]
    held = 0
    for seed in range(80):
        table = isoflop(np.geomspace(1e18, 1e21, budgets), sizes, noise=0.004, seed=seed)
        asked = ASKED | {"curve": curve, "seed": seed}
        low, high = approach(table, "approach2", fit=None, bootstrap=200, **asked).interval95["a"]
        held += low < truth < high
    assert 0.89 <= held / 80 <= 0.995


def test_a_sampling_that_drifts_is_biased_and_says_so():
    """The same sizes at every budget: off centre on either side at the ends of the range."""
    budgets = np.geomspace(1e18, 1e21, 4)
    table = planted(np.tile(np.geomspace(3e7, 8e9, 9), 4), np.repeat(budgets, 9), noise=0.002, seed=1)
    found = approach(table, "approach2", fit=fitted(table), bootstrap=300, **ASKED)
    truth = optimum(1e22)[1]
    low, high = found.interval95["a"]
    assert not low < truth < high
    assert "sampled like this the fitted surface itself gives an a off by -0.0" in found.status
    assert abs(found.bias["corrected"]["a"] - truth) < 0.02 < abs(found.a - truth)
    low, high = found.bias["corrected"]["interval95"]["a"]
    assert low < truth < high


def test_what_the_interval_is_from_depends_on_what_the_table_can_tell():
    budgets = np.geomspace(1e18, 1e21, 6)
    exact = approach(isoflop(budgets, 3, noise=0.002), "approach2", fit=None, bootstrap=100, **ASKED)
    assert exact.resampling["method"] == "minima around their law"
    assert "no row more than the curves take" in exact.status
    pair = approach(isoflop(budgets[:2], 3, noise=0.002), "approach2", fit=None, bootstrap=100, **ASKED)
    assert np.isfinite(pair.a)
    assert pair.interval95 == {}
    assert pair.status.endswith("two minima tell no scatter: no interval")
    # Budgets whose optimum is moved to and fro, as a setting that changes between them would.
    sizes = [isoflop(budgets[k : k + 1], 7, centre=(1.5, 0.7)[k % 2], noise=1e-3, seed=k) for k in range(6)]
    centred = [isoflop(budgets[k : k + 1], 7, noise=0.0) for k in range(6)]
    shaken = pd.concat(
        [t.assign(N=c.N, D=c.D) for t, c in zip(sizes, centred, strict=True)], ignore_index=True
    )
    found = approach(shaken, "approach2", fit=None, bootstrap=300, **ASKED)
    assert found.resampling["method"] == "minima around their law"
    assert "further off their law than the noise within groups explains" in found.status
    steady = approach(isoflop(budgets, 7, noise=1e-3), "approach2", fit=None, bootstrap=300, **ASKED)
    assert steady.resampling["method"] == "losses around the curves"
    assert np.ptp(found.interval95["a"]) > 5 * np.ptp(steady.interval95["a"])


def test_an_outlier_is_named_and_stays_in():
    table = isoflop(np.geomspace(1e18, 1e21, 4), 9, noise=0.001)
    table.loc[14, "loss"] *= 1.02
    found = approach(table, "approach2", fit=None, bootstrap=0, **ASKED)
    assert found.outliers == [14]
    assert found.n == 36
    rows = [
        Noise.around(Vertices.of(t, curve="parabola", width=1.3), t.loss.to_numpy()).outliers
        for t in (isoflop(np.geomspace(1e18, 1e21, 4), 9, noise=0.001, seed=seed) for seed in range(100))
    ]
    assert sum(map(bool, rows)) <= 4  # one table in a hundred by chance


def test_lucky_runs_win_the_envelope_and_the_simulation_sees_it():
    """Approach 1 on 12 noisy ladders: low by 0.02 on average, as simulated; right once that is taken off."""
    truth = optimum(1e22)[1]
    off, corrected, held = [], [], 0
    for seed in range(12):
        noise = np.repeat(np.random.default_rng(seed).normal(0, 0.006, 20), 20)
        table = ladder(20)
        table["loss"] *= np.exp(noise)
        found = approach(table, "approach1", fit=fitted(table), bootstrap=100, **ASKED)
        off.append(found.a - truth)
        corrected.append(found.bias["corrected"]["a"] - truth)
        low, high = found.interval95["a"]
        held += low < truth < high
    assert -0.06 < np.mean(off) < -0.015
    assert abs(np.mean(corrected)) < 0.015
    assert held >= 10
    alone = approach(table, "approach1", fit=None, bootstrap=100, **ASKED)
    assert alone.resampling["method"] == "runs drawn with replacement"
    assert "lucky runs win" in alone.status


def test_approach_1_reads_curves_between_their_rows_and_single_rows_as_they_are():
    table = ladder(12)
    single = table.groupby("run").head(1).assign(run=lambda t: t.run + "b", N=lambda t: 1.01 * t.N)
    both = approach(
        pd.concat([table, single], ignore_index=True), "approach1", fit=None, bootstrap=0, **ASKED
    )
    assert {"why": "runs at a single C have no learning curve", "count": 12} in both.dropped
    assert both.a == pytest.approx(approach(table, "approach1", fit=None, bootstrap=0, **ASKED).a)
    C = np.geomspace(1e18, 1e21, 400)
    on = planted(optimum(C)[0] * np.exp(0.05 * np.sin(np.arange(400))), C)
    dear = planted(optimum(C)[0] * 9, C)
    rows = approach(pd.concat([on, dear], ignore_index=True), "approach1", fit=None, bootstrap=0, **ASKED)
    assert rows.a == pytest.approx(optimum(1e22)[1], abs=0.002)
    assert rows.points.N.max() <= on.N.max()
    assert rows.status.startswith("envelope of 800 single rows")


def test_counted_flops_are_priced_and_d_is_what_they_buy():
    """C = 6 N D + 3000 N^(2/3) D: the optimum of the surface at that price, against a grid search over it."""
    cost = Cost(6.0, 3000.0, 0.0, 0.0)
    table = isoflop(np.geomspace(1e18, 1e21, 4), 7)
    table["C"] = cost.per_token(table.N.to_numpy()) * table.D
    fit = fitted(table)
    budgets = np.array([1e19, 1e20, 1e21])
    three = approach(table, "approach3", fit=fit, bootstrap=0, **ASKED | {"budgets": budgets})
    line = frontier(fit, cost, budgets)
    assert three.N_opt == pytest.approx(line.N, rel=1e-4)
    assert three.D_opt == pytest.approx(line.D, rel=1e-4)
    assert three.a + three.b > 1.01  # a token gets dearer more slowly than N grows
    assert "FLOPs a token" in three.status
    groups = pd.concat(
        [
            pd.DataFrame({"N": n * np.geomspace(1 / 3, 3, 7), "C": C})
            for C, n in zip(budgets, three.N_opt, strict=True)
        ],
        ignore_index=True,
    )
    groups["D"] = groups.C / cost.per_token(groups.N.to_numpy())
    groups["loss"] = fit.predict(groups)
    two = approach(groups, "approach2", fit=None, bootstrap=0, **ASKED | {"budgets": budgets})
    assert two.N_opt == pytest.approx(three.N_opt, rel=0.02)
    # Exact but for the line between two sizes that the price is read off.
    assert np.array(two.points.D) * cost.per_token(two.points.N.to_numpy()) == pytest.approx(
        budgets, rel=0.01
    )
    # Where C goes with something else than N there is no price, and that is said.
    odd = table.assign(C=table.C * np.tile([1, 2, 4, 1, 2, 4, 1], 4))
    with pytest.raises(ValueError, match="C / D is no sum of N"):
        approach(odd, "approach3", fit=fit, bootstrap=0, **ASKED)


def test_the_best_split_is_the_closed_form_at_6nd_for_any_draw():
    params = np.array([[1.7, 400.0, 410.0, 0.34, 0.28], [1.8, 477.8, 2143.4, 0.347, 0.367]])
    C = np.array([1e9, 1e20, 1e30])
    log_N, log_D = best_split(LAW.tradeoff(params[:, None, :]), Cost(6.0, 0.0, 0.0, 0.0), np.log(C))
    for row, one in zip(log_N, params, strict=True):
        N, D = LAW.tradeoff(one).optimum(C / 6)
        assert np.exp(row) == pytest.approx(N, rel=1e-10)
    assert np.exp(log_D[-1]) == pytest.approx(D, rel=1e-10)


def test_approach_3_is_fit_optimum_with_its_intervals():
    table = isoflop(np.geomspace(1e18, 1e21, 4), 7, noise=0.003)
    fit = fitted(table, bootstrap=200)
    found = approach(table, "approach3", fit=fit, bootstrap=200, **ASKED)
    known = fit.optimum(ASKED["budgets"])
    assert found.a == pytest.approx(known["a"], rel=1e-9)
    for name in ("a", "b", "N_opt", "D_opt"):
        assert np.array(found.interval95[name]) == pytest.approx(
            np.array(known["interval95"][name]), rel=1e-6
        )


def test_the_frontier_law_goes_through_the_minima():
    """E + A C^-gamma, gamma = alpha beta / (alpha + beta): eq. 4 of Hoffmann et al. 2022 put into eq. 2."""
    table = isoflop(np.geomspace(1e17, 1e21, 6), 7)
    knobs = {"delta": 1e-3, "bootstrap": 0, "seed": 0}
    alpha, beta = PLANTED["alpha"], PLANTED["beta"]
    gamma = alpha * beta / (alpha + beta)
    three = approach(table, "approach3", fit=fitted(table), bootstrap=0, **ASKED)
    exact = loss_along(three, SaturatingC(), **knobs)
    assert exact.params["alpha"] == pytest.approx(gamma, rel=1e-6)
    assert exact.params["E"] == pytest.approx(PLANTED["E"], rel=1e-6)
    two = loss_along(approach(table, "approach2", fit=None, bootstrap=0, **ASKED), SaturatingC(), **knobs)
    assert two.params["alpha"] == pytest.approx(gamma, rel=0.01)


def three_approaches(table):
    fit = fitted(table)
    return [approach(table, f"approach{k}", fit=fit, bootstrap=0, **ASKED) for k in (1, 2, 3)]


def test_a_bias_is_no_disagreement_and_more_than_that_is():
    budgets = np.repeat(np.geomspace(1e18, 1e21, 4), 9)
    table = planted(np.tile(np.geomspace(3e7, 8e9, 9), 4), budgets, noise=0.003, seed=2)
    same = disagreement(three_approaches(table), bootstrap=200, seed=0)
    pair = next(p for p in same["pairs"] if p["approaches"] == ["approach2", "approach3"])
    assert pair["p"] < 1e-3  # they differ, as a test that knows no bias would call it
    assert pair["p_beyond"] > 0.05
    assert pair["expected"] == pytest.approx(pair["difference"], abs=3 * pair["stderr"])
    assert same["verdict"].startswith("no disagreement")
    # Had approach 2 read an exponent five standard errors further up, it would not be the same surface's.
    one, two, three = three_approaches(table)
    moved = dataclasses.replace(two, a=two.a + 5 * pair["stderr"])
    other = disagreement((one, moved, three), bootstrap=200, seed=0)
    again = next(p for p in other["pairs"] if p["approaches"] == ["approach2", "approach3"])
    assert again["z_beyond"] == pytest.approx(pair["z_beyond"] + 5)
    assert other["verdict"].startswith("approach2 and approach3 differ in a by")
    json.dumps(other, allow_nan=False)
    with pytest.raises(ValueError, match="takes approach 3 and another"):
        disagreement((one, two), bootstrap=100, seed=0)
    with pytest.raises(ValueError, match="approach2 and approach 3 are not of the same rows"):
        disagreement((three_approaches(table.head(27))[1], three), bootstrap=100, seed=0)


def test_simulated_tables_have_the_scatter_of_the_runs():
    table = ladder(15)
    table["loss"] *= np.exp(np.repeat(np.random.default_rng(5).normal(0, 0.004, 15), 20))
    surface = Surface.of(fitted(table), table, flops=6)
    off = np.log(np.concatenate(list(surface.simulated(400, 0, 64)))) - np.log(surface.losses())
    assert off.shape == (400, 300)
    # By run 0.004, at the 10 degrees of freedom that 15 runs leave; within a run hardly any.
    assert off.std() == pytest.approx(0.004, rel=0.35)
    assert off.reshape(400, 15, 20).std(axis=2).mean() < 0.0015
    rows = isoflop(np.geomspace(1e18, 1e21, 4), 7, noise=0.003)
    fit = fitted(rows)
    drawn = np.log(next(Surface.of(fit, rows, flops=6).simulated(2, 0, 10))) - np.log(fit.predict(rows))
    assert np.abs(drawn[0]) == pytest.approx(np.abs(np.log(rows.loss / fit.predict(rows))) * np.sqrt(28 / 23))


def test_c_or_d_is_enough_and_the_result_is_plain():
    table = isoflop(np.geomspace(1e18, 1e21, 4), 7, noise=0.003)
    whole = approach(table, "approach2", fit=None, bootstrap=50, **ASKED)
    for missing in ("C", "D"):
        some = approach(table.drop(columns=missing), "approach2", fit=None, bootstrap=50, **ASKED)
        assert some.a == pytest.approx(whole.a, rel=1e-9)
        assert some.interval95["a"] == pytest.approx(whole.interval95["a"], rel=1e-6)
    dearer = approach(table.drop(columns="C"), "approach2", fit=None, bootstrap=0, **ASKED | {"flops": 7})
    assert dearer.points.C.to_numpy() == pytest.approx(whole.points.C.to_numpy() * 7 / 6)
    for found in (whole, approach(table, "approach1", fit=fitted(table), bootstrap=20, **ASKED)):
        out = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert set(out) >= {
            "method",
            "a",
            "b",
            "C",
            "N_opt",
            "D_opt",
            "interval95",
            "status",
            "points",
            "bias",
        }
        assert len(out["interval95"]["N_opt"]) == len(out["C"]) == 2
    assert whole.to_json()["profiles"][0]["status"] == "bracketed"


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("approach4", {}, "method='approach4' is none of approach1, approach2, approach3"),
        ("approach3", {}, "give it as `fit`"),
        ("approach2", {"curve": "spline"}, "curve='spline' is none of parabola, cubic, akima"),
        ("approach2", {"width": 1.0}, "a width above 1, not 1.0"),
        ("approach2", {"flops": 0}, "flops=0 is not a positive number"),
        ("approach1", {"budgets": [1e20, -1]}, "FLOPs are positive numbers"),
        ("approach1", {"bootstrap": -1}, "bootstrap=-1 is negative"),
    ],
)
def test_mistakes_are_named(method, change, message):
    table = isoflop(np.geomspace(1e18, 1e21, 3), 5)
    with pytest.raises(ValueError, match=message):
        approach(table, method, fit=None, **ASKED | {"bootstrap": 0} | change)


def test_bad_tables_are_named_by_row_and_column():
    table = isoflop(np.geomspace(1e18, 1e21, 3), 5)
    for bad, message in (
        (table.drop(columns="loss"), "no column loss"),
        (table.assign(C=table.C.where(table.index != 4)), "row 4, column C: is empty"),
        (table.assign(N=table.N.where(table.index != 2, -1.0)), "row 2, column N: is -1"),
        (table.assign(run=["a", "a", None, *"bcdefghijklm"]), "row 3, column run: is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            approach(bad, "approach2", fit=None, bootstrap=0, **ASKED)
    alone = approach(table.head(5), "approach2", fit=None, bootstrap=10, **ASKED)
    assert "no exponent: it takes two" in alone.status
    assert alone.to_json()["a"] is None


def test_many_budgets_are_refused_before_they_fill_the_memory():
    C = np.geomspace(1e18, 1e22, 6000)
    with pytest.raises(ValueError, match="6000 different C are no IsoFLOP budgets"):
        approach(planted(optimum(C)[0], C, noise=0.01), "approach2", fit=None, bootstrap=0, **ASKED)


@pytest.mark.skipif(not DATA.exists(), reason="the Chinchilla points are not here")
def test_the_chinchilla_runs_by_all_three():
    """Hoffmann et al. 2022, table 2: a = 0.50 (0.488, 0.502), 0.49 (0.462, 0.534); approach 3 as refitted by
    Besiroglu et al. 2024: 0.512. They published 0.46 for it, which these data do not give."""
    table = runs.load(DATA, {"N": "Model Size", "C": "Training FLOP"}).sort_values("loss").iloc[:-5]
    fit = fits.fit(table, LAW, delta=1e-3, bootstrap=100, seed=0)
    asked = ASKED | {"budgets": [5.76e23]}
    one, two, three = (approach(table, f"approach{k}", fit=fit, bootstrap=200, **asked) for k in (1, 2, 3))
    for found, published in ((one, 0.50), (two, 0.49), (three, 0.512)):
        low, high = found.interval95["a"]
        assert low < published < high
        assert found.a == pytest.approx(published, abs=0.02)
        assert high - low < 0.12
    same = disagreement((one, two, three), bootstrap=200, seed=0)
    assert same["verdict"].startswith("no disagreement")
    # For Gopher's budget the paper has 67, 63 and 40 billion parameters by the three (section 3).
    assert 5e10 < one.N_opt[0] < 8e10
    assert 5e10 < two.N_opt[0] < 8e10
