"""Comparisons: laws over groups, nested tests of the right size, paired draws, compute multipliers."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import TRUE, as_table, grid
from scipy import stats
from scipy.special import erf

from analysis.comparing.comparisons import compare
from analysis.comparing.effects import scatter, variances
from analysis.comparing.grouped import Grouped, entangled
from analysis.comparing.hypotheses import aicc, closure, hypotheses
from analysis.comparing.multipliers import Side, frontier_loss, multiplier, no_frontier
from analysis.comparing.nested import Question, lattice, run_tests
from analysis.comparing.pairing import Pairing
from analysis.law import jacobian
from analysis.laws.chinchilla import Chinchilla, SaturatingC
from analysis.laws.data_constrained import DataConstrained
from analysis.laws.kaplan import Kaplan, KaplanN
from analysis.laws.overtraining import Overtraining
from analysis.optima.frontier import Cost, frontier
from analysis.plots import multiplier as plot
from analysis.plots.style import look
from analysis.solver.criteria import Huber
from analysis.solver.solve import solve

LAW = Chinchilla()
HIGHER = TRUE + np.array([0.1, 0.0, 0.0, 0.0, 0.0])  # a floor 0.1 nats up, all else the same
OTHER = TRUE * [1.1, 1.3, 0.8, 1.05, 1.02]  # another architecture: every parameter differs
KNOBS: dict[str, Any] = {
    "by": "architecture",
    "reference": None,
    "shared": (),
    "points": (),
    "cluster": None,
    "flops": 6.0,
    "budgets": None,
    "simulations": 0,
    "bootstrap": 0,
    "seed": 0,
    "delta": 1e-3,
}


def groups(
    *true, sizes=5, budgets=4, noise=0.0, names=("causal", "prefix", "encoder"), seed=0
) -> pd.DataFrame:
    """A table with one group a parameter vector, all at the same N and D."""
    parts = [
        as_table(**grid(sizes, budgets, true=t, noise=noise, seed=100 * seed + k), architecture=name)
        for k, (t, name) in enumerate(zip(true, names, strict=False))
    ]
    table = pd.concat(parts, ignore_index=True)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table.assign(C=6 * table.N * table.D)


# A law over groups


@pytest.mark.parametrize(("law", "true", "shared"), [
    (LAW, (TRUE, OTHER), ("E", "alpha")),
    (LAW, (TRUE, OTHER), ()),
    (Kaplan(), ((8.8e9, 0.3, 5.4e9, 0.4), (7e9, 0.3, 6e9, 0.35)), ("alpha_N",)),
])  # fmt: skip
def test_a_law_over_groups_is_that_of_each_with_its_derivatives(law, true, shared):
    table = groups(TRUE, TRUE)
    grouped = Grouped(law, "architecture", ["causal", "prefix"], shared)
    params = grouped.join([np.array(t, dtype=float) for t in true])
    predicted = grouped.predict(params, table)
    for name in ("causal", "prefix"):
        its = (table.architecture == name).to_numpy()
        np.testing.assert_allclose(
            predicted[its], law.predict(grouped.part(params, name), table[its]), rtol=1e-13
        )
    theta, x = grouped.working(params)[None], grouped.logs(table)
    J = grouped.log_loss(theta, x)[1]
    numeric = jacobian(lambda at: grouped.log_loss(at, x)[0][:, :1] + 0 * at, theta)
    np.testing.assert_allclose(J[:, 0], numeric[:, 0], atol=1e-12)
    weight = np.random.default_rng(0).normal(size=(1, len(x)))
    curvature = jacobian(lambda at: np.einsum("sn,snp->sp", weight, grouped.log_loss(at, x)[1]), theta)
    np.testing.assert_allclose(grouped.curvature(theta, x, weight), curvature, atol=1e-9)


def test_membership_and_shared_parameters_survive_centring():
    """What a solver does: the means of the log inputs taken off, and the units put back."""
    grouped = Grouped(LAW, "architecture", ["causal", "prefix"], ("A", "alpha"))
    table = groups(TRUE, OTHER).iloc[:25]  # unequal groups
    params = grouped.join([TRUE, OTHER])
    theta, x = grouped.working(params), grouped.logs(table)
    unit = grouped.units(x)
    np.testing.assert_allclose(unit, [*np.log(table[["N", "D"]]).mean(), 0, 0])
    centred = grouped.rescale(theta, unit, 0.4)
    f, _ = grouped.log_loss(centred[None], x - unit)
    np.testing.assert_allclose(f[0], np.log(grouped.predict(params, table)) - 0.4, atol=1e-12)
    np.testing.assert_allclose(grouped.published(grouped.rescale(centred, -unit, -0.4)), params, rtol=1e-12)
    assert grouped.names == (
        "E[causal]", "E[prefix]", "A", "B[causal]", "B[prefix]", "alpha", "beta[causal]", "beta[prefix]",
    )  # fmt: skip


def test_what_a_unit_mixes_cannot_be_shared_alone():
    assert entangled(LAW) == {"E": set(), "A": {"alpha"}, "B": {"beta"}, "alpha": set(), "beta": set()}
    assert entangled(Kaplan())["N_c"] == {"alpha_N"}
    assert entangled(DataConstrained())["R_D_star"] == set()
    assert closure(LAW, ["B"]) == ("B", "beta")
    with pytest.raises(ValueError, match="shared=A: without alpha shared too"):
        Grouped(LAW, "architecture", ["causal", "prefix"], ("A",))
    with pytest.raises(ValueError, match="shared=gamma: chinchilla has E, A, B, alpha, beta"):
        Grouped(LAW, "architecture", ["causal", "prefix"], ("gamma",))


def test_shared_and_separate_parameters_come_back():
    other = TRUE * [1.2, 1.0, 0.7, 1.0, 1.0]
    c = compare(groups(TRUE, other, TRUE), LAW, **KNOBS | {"shared": ("A", "beta")})
    assert [c.params(g) for g in c.groups] == [
        pytest.approx(dict(zip(LAW.names, t, strict=True)), rel=1e-7) for t in (TRUE, TRUE, other)
    ]
    assert c.groups == ["causal", "encoder", "prefix"]
    assert c.fit.law.shared == ("A", "alpha", "beta")  # A needs its exponent
    assert c.tests[0].status.startswith("not tested: the losses lie on the laws exactly")


def test_all_separate_is_each_group_for_itself_and_wider_is_never_worse():
    c = compare(groups(TRUE, OTHER, noise=0.01), LAW, **KNOBS)
    for name, fit in c.alone.items():
        assert c.params(name) == pytest.approx(fit.params, rel=1e-5)
    by_name = {h.name: h for h in c.hypotheses}
    assert by_name["all separate"].fit.objective == pytest.approx(sum(f.objective for f in c.alone.values()))
    for a in c.hypotheses:
        for b in c.hypotheses:
            if set(a.shared) < set(b.shared):
                assert a.fit.objective <= b.fit.objective * (1 + 1e-9)


# Nested tests


def line_table(rng, n=12, slope=0.0, noise=0.02) -> pd.DataFrame:
    """Kaplan's L(N) for two groups: in logarithms a straight line each, with known least squares."""
    N = np.geomspace(1e5, 1e8, n)
    parts = [
        as_table(N=N, loss=(8.8e13 / N) ** (0.076 + s) * np.exp(rng.normal(0, noise, n)), architecture=g)
        for g, s in (("a", 0.0), ("b", slope))
    ]
    table = pd.concat(parts, ignore_index=True)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def asked(table, law, questions, *, delta, R, seed=0, cluster=None, points=()):
    knobs = {"delta": delta}
    names = sorted(table.architecture.unique())
    alone = {g: solve(law, table[table.architecture == g], bootstrap=0, seed=0, **knobs) for g in names}
    wanted = [(), *(s for q in questions for s in (q.null, q.alternative))]
    fitted = hypotheses(table, law, wanted, by="architecture", alone=alone, **knobs)
    number = table.architecture.map(names.index).to_numpy()
    pairing = Pairing.of(table, number, cluster=cluster, points=points)
    return fitted, run_tests(table, questions, fitted, pairing, R=R, seed=seed, knobs=knobs)


ANY = Question("any", None, ("N_c", "alpha_N"), ())
SLOPE = Question("besides", "alpha_N", ("alpha_N",), ())


def test_least_squares_gives_fishers_test_and_the_normal_aicc():
    table = line_table(np.random.default_rng(3), slope=0.003)
    fitted, tests = asked(table, KaplanN(), [ANY, SLOPE], delta=10.0, R=999)
    x, y = np.log(table.N.to_numpy()), np.log(table.loss.to_numpy())
    b = (table.architecture == "b").to_numpy(float)

    def rss(*columns):
        return np.linalg.lstsq(np.stack(columns, axis=1), y, rcond=None)[1][0]

    one = np.ones(24)
    full, slope, same = rss(one, x, b, b * x), rss(one, x, b), rss(one, x)
    for test, null, q in ((tests[0], same, 2), (tests[1], slope, 1)):
        F = (null - full) / q / (full / 20)
        assert test.statistic == pytest.approx(F, rel=1e-6)
        assert test.p_F == pytest.approx(stats.f.sf(F, q, 20), rel=1e-6)
        # 999 tables leave p a standard error of 1.5 %; the smoothed scatter is not quite normal.
        assert test.p == pytest.approx(test.p_F, abs=0.05)
    k = 5  # four parameters and the scale
    normal = 24 * (np.log(2 * np.pi * full / 24) + 1) + 2 * k + 2 * k * (k + 1) / (24 - k - 1)
    assert fitted[()].aicc == pytest.approx(normal, abs=1e-3)


def test_aicc_of_huber_is_that_of_its_density():
    """exp(-Huber / tau) integrates to sqrt(2 pi tau) erf(d / sqrt(2 tau)) + 2 tau / d exp(-d^2 / 2 tau)."""
    table, d = line_table(np.random.default_rng(0)), 5e-3
    fit = solve(KaplanN(), table, delta=d, bootstrap=0, seed=0)
    tau = np.geomspace(1e-7, 1, 200_000)
    Z = np.sqrt(2 * np.pi * tau) * erf(d / np.sqrt(2 * tau)) + 2 * tau / d * np.exp(-(d**2) / (2 * tau))
    likelihood = 2 * (fit.objective / tau + 24 * np.log(Z)).min()
    assert aicc(fit, Huber(d), 2) == pytest.approx(likelihood + 6 + 24 / 20, abs=1e-3)


def test_the_five_per_cent_test_rejects_five_per_cent_of_equal_groups():
    """30 tables: three binomial standard deviations are 11.9 %. The slow test has 300."""
    rng = np.random.default_rng(0)
    p = [
        [t.p for t in asked(line_table(rng), KaplanN(), [ANY, SLOPE], delta=1e-3, R=19, seed=k)[1]]
        for k in range(30)
    ]
    rejected = (np.array(p) <= 0.05).mean(axis=0)
    assert (rejected <= 0.05 + 0.119).all(), rejected
    assert np.mean(p) == pytest.approx(0.5, abs=0.16)


@pytest.mark.slow
@pytest.mark.parametrize("alike", ["rows", "runs", "points"])
def test_the_size_of_the_test_on_the_chinchilla_surface(alike):
    """300 tables without a difference, 20 rows a group, 1 % scatter. Independent rows: 3 to 7 % rejected.

    Rows alike within a run of four checkpoints, or at the same point of both groups, where five runs or
    twenty points say little of how alike: within three binomial standard deviations of 5 %, 3.8 %.
    """
    questions = [q for q in lattice(LAW, (), ()) if (q.kind, q.about) in (("any", None), ("alone", "E"))]
    p = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        table = groups(TRUE, TRUE)
        point, run = np.tile(np.arange(20), 2), np.arange(40) // 4
        own = rng.normal(0, 0.01, 40)
        common = {"rows": own, "runs": rng.normal(0, 0.01, 10)[run], "points": rng.normal(0, 0.01, 20)[point]}
        share = 0.0 if alike == "rows" else 0.6
        table["loss"] *= np.exp(np.sqrt(1 - share) * own + np.sqrt(share) * common[alike])
        table["run"] = run
        how = {"rows": {}, "runs": {"cluster": "run"}, "points": {"points": ("N", "D")}}[alike]
        p.append([t.p for t in asked(table, LAW, questions, delta=1e-3, R=99, seed=seed, **how)[1]])
    rejected = (np.array(p) <= 0.05).mean(axis=0)
    assert (np.abs(rejected - 0.05) <= (0.02 if alike == "rows" else 0.038)).all(), rejected


def test_a_planted_difference_is_found_and_named():
    c = compare(groups(TRUE, HIGHER, noise=0.005, seed=1), LAW, **KNOBS | {"simulations": 39})
    assert c.preferred == "separate E"
    p = {(t.kind, t.about, t.null): t.p for t in c.tests}
    assert p["any", None, "all shared"] <= 0.05
    assert p["alone", "E", "all shared"] == pytest.approx(1 / 40)
    assert p["step", None, "separate E"] > 0.05  # nothing more is needed
    assert any(s.startswith("causal, prefix differ: one law for all is rejected") for s in c.verdict)
    assert any(s.startswith("E: ") and "p = 0.025 if nothing else differs" in s for s in c.verdict)


def test_what_is_fixed_is_not_asked_about():
    c = compare(groups(TRUE, TRUE, noise=0.01), LAW, **KNOBS | {"fixed": {"E": 1.7}, "simulations": 19})
    assert {t.about for t in c.tests} == {None, "A", "B", "alpha", "beta"}
    assert c.params("causal")["E"] == c.params("prefix")["E"] == 1.7
    overall = next(t for t in c.tests if t.kind == "any")
    assert (overall.null, overall.alternative, overall.freedom) == ("all shared", "all separate", (4, 32))
    assert "E: held at 1.7" in c.verdict


# Pairing


def test_the_same_points_of_several_groups_are_one_unit():
    table = pd.DataFrame({
        "N": [1.0, 2.0, 2.0, 4.0, 1.008, 2.016, 2.0, 8.0],
        "seed": ["x", "x", "y", "x", "x", "x", "y", "x"],
    })  # fmt: skip
    group = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    pairing = Pairing.of(table, group, cluster=None, points=("N", "seed"))
    unit = pairing.unit
    assert [unit[a] == unit[b] for a, b in ((0, 4), (1, 5), (2, 6), (3, 7), (1, 2))] == [True] * 3 + [
        False
    ] * 2
    assert pairing.said.startswith("paired: 6 of 8 rows match another group's at the same N, seed")
    weights = pairing.weights(4000, np.random.default_rng(0))
    np.testing.assert_array_equal(weights[:, 1], weights[:, 5])
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.06)
    assert abs(np.corrcoef(weights[:, 3], weights[:, 7])[0, 1]) < 0.06
    alone = Pairing.of(table.assign(N=table.N * (1 + group)), group, cluster=None, points=("N", "seed"))
    assert alone.said.startswith("paired: 4 of 8 rows")  # N = 2 and 4, seed x
    with pytest.raises(ValueError, match="row 3, column run: is empty"):
        Pairing.of(table.assign(run=[1.0] * 3 + [None] * 5), group, cluster="run", points=())


def test_runs_pair_as_wholes_and_repeats_by_their_order():
    run, tokens = np.repeat([0, 1, 0, 2], 3), np.tile([1e6, 2e6, 4e6], 4)
    table = pd.DataFrame({"run": run, "D": tokens, "N": np.repeat([1e5, 2e5, 1e5, 1e5], 3)})
    pairing = Pairing.of(table, np.repeat([0, 0, 1, 1], 3), cluster="run", points=("N", "D"))
    assert np.ptp(pairing.unit.reshape(4, 3), axis=1).max() == 0
    first = pairing.unit.reshape(4, 3)[:, 0]
    assert first[0] == first[2]  # the run at N = 1e5; run 2 repeats it and has no partner
    assert len(set(first)) == 3
    assert pairing.said.startswith("paired: 2 of 4 values of run match")


def test_scatter_is_drawn_as_wide_and_as_alike_as_it_is():
    """Six tenths of the variance common to the groups at a point; 1 % scatter in one, 3 % in the other."""
    rng, n = np.random.default_rng(0), 400
    group, point = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    table = pd.DataFrame({"point": point, "run": np.arange(2 * n) // 4})
    wide, J = np.where(group == 0, 0.01, 0.03), np.stack([group == 0, group == 1], axis=1).astype(float)
    r = wide * (np.sqrt(0.6) * rng.normal(size=n)[point] + np.sqrt(0.4) * rng.normal(size=2 * n))
    paired = Pairing.of(table, group, cluster=None, points=("point",))
    drawn = scatter(paired, r, J, 200, rng)
    for g, scale in ((0, 0.01), (1, 0.03)):
        assert drawn[:, group == g].std() == pytest.approx(scale, rel=0.1)
    assert np.corrcoef(drawn[:, :n].ravel(), drawn[:, n:].ravel())[0, 1] == pytest.approx(0.6, abs=0.08)
    runs = Pairing.of(table, group, cluster="run", points=())
    r = wide * (np.sqrt(0.3) * rng.normal(size=n // 2)[table.run] + np.sqrt(0.7) * rng.normal(size=2 * n))
    drawn = scatter(runs, r, J, 200, rng) / wide
    assert np.corrcoef(drawn[:, ::4].ravel(), drawn[:, 1::4].ravel())[0, 1] == pytest.approx(0.3, abs=0.08)


def test_what_a_fit_takes_up_of_the_scatter_is_given_back():
    """Ten runs of four rows, a fit with ten parameters: residuals show half of what runs have in common."""
    rng, n = np.random.default_rng(1), 40
    table = pd.DataFrame({"run": np.arange(n) // 4})
    runs = Pairing.of(table, np.repeat([0, 1], 20), cluster="run", points=())
    J = np.repeat(rng.normal(size=(10, 5)), 4, axis=0)  # five directions of the runs, five of anything
    J = np.concatenate([J, rng.normal(size=(n, 5))], axis=1)
    left = np.eye(n) - J @ np.linalg.pinv(J)
    found = [
        np.median(
            variances(runs, left @ (rng.normal(size=10)[table.run] + rng.normal(size=n)), J, 51, rng), axis=0
        )
        for _ in range(150)
    ]
    np.testing.assert_allclose(np.mean(found, axis=0), [1, 1], rtol=0.35)


def test_paired_draws_cancel_what_the_groups_have_in_common():
    """Scatter nine tenths common to the groups: the difference is known about 1 / sqrt(0.1) times better."""
    table = groups(TRUE, TRUE, sizes=7, budgets=7)
    rng = np.random.default_rng(2)
    common, own = rng.normal(0, 0.01, 49)[np.tile(np.arange(49), 2)], rng.normal(0, 0.01, 98)
    noise = np.sqrt(0.9) * common + np.sqrt(0.1) * own
    table["loss"] *= np.exp(noise)
    knobs = KNOBS | {"bootstrap": 200, "shared": ("A", "B", "alpha", "beta"), "delta": 1.0}
    width = {}
    for points in ((), None):
        c = compare(table, LAW, **knobs | {"points": points})  # None: N and D, there are no seeds
        low, high = c.differences["prefix"]["E"]["difference95"]
        width[points] = high - low
        assert low < 0 < high
    assert c.pairing == "paired: 98 of 98 rows match another group's at the same N, D, resampled jointly"
    a, b = noise[:49], noise[49:]
    assert width[None] / width[()] == pytest.approx(np.std(b - a) / np.hypot(a.std(), b.std()), rel=0.2)


# The compute multiplier


def side(name, *params, cost=None):
    return Side(name, np.array(params, dtype=float), cost or Cost(6.0, 0.0, 0.0, 0.0), (1e11, 1e13))


def test_multipliers_have_their_closed_form():
    """L*(C) = E + K C^-g on the frontier of the Chinchilla surface (Hoffmann et al. 2022, eq. 4)."""

    def closed(p, C):
        E, A, B, alpha, beta = p
        G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
        N = G * (C / 6) ** (beta / (alpha + beta))
        return E + A / N**alpha + B / (C / 6 / N) ** beta

    C = np.geomspace(1e10, 1e28, 7)
    m = multiplier(LAW, side("causal", TRUE), side("prefix", OTHER), budgets=C)
    np.testing.assert_allclose(m.table.loss, closed(TRUE, C), rtol=1e-12)
    np.testing.assert_allclose(m.table.dloss, closed(OTHER, C) - closed(TRUE, C), rtol=1e-10)
    reached = np.isfinite(m.table.m)
    assert reached.sum() >= 3
    np.testing.assert_allclose(closed(OTHER, C * m.table.m)[reached], closed(TRUE, C)[reached], rtol=1e-10)
    # 1.87 is the floor of the other: what the reference reaches below it is out of its reach.
    assert (reached == (closed(TRUE, C) > OTHER[0])).all()
    assert (
        m.table.status.iloc[-1]
        == f"prefix never reaches the {m.table.loss.iloc[-1]:.4g} of causal: its E is 1.87"
    )
    assert m.to_json()["table"][-1]["m"] is None
    # Data twice as good, L(N, 2 D): half the compute does, whatever the parameters.
    better = side("curated", TRUE * [1, 1, 2**-0.28, 1, 1])
    np.testing.assert_allclose(multiplier(LAW, side("raw", TRUE), better, budgets=C).table.m, 0.5, rtol=1e-6)


def test_the_counted_cost_gives_the_frontier_of_the_grid():
    cost = Cost(6.5, 300.0, 2e3, 0.0)
    C = np.geomspace(1e10, 1e14, 5)
    at = frontier_loss(LAW, side("causal", TRUE, OTHER, cost=cost), np.log(C))
    for params, log_loss in zip((TRUE, OTHER), at, strict=True):
        fit = solve(LAW, groups(params), delta=1e-3, bootstrap=0, seed=0)
        np.testing.assert_allclose(np.exp(log_loss), frontier(fit, cost, C).loss, rtol=1e-7)


def test_laws_of_more_inputs_have_the_frontier_of_their_best_runs():
    """Repeated data: at its best a run repeats nothing. Over-training: the best ratio of D to N is b / a."""
    params = np.array([*TRUE, 15.0, 5.0])
    C = np.log(np.geomspace(1e10, 1e16, 4))
    fresh = frontier_loss(DataConstrained(), side("all new", params), C)
    np.testing.assert_allclose(fresh, frontier_loss(LAW, side("all new", TRUE), C), rtol=1e-12)
    E, a, b, eta = 1.8, 40.0, 90.0, 0.1
    over = frontier_loss(Overtraining(), side("over", (E, a, b, eta)), C)
    np.testing.assert_allclose(np.exp(over[0]), E + 2 * np.sqrt(a * b) * np.exp(-eta * C), rtol=1e-9)
    assert no_frontier(Overtraining(), np.array([[E, a, b, eta]]), None).startswith(
        "the law overtraining takes C"
    )


def test_draws_that_never_reach_a_loss_are_counted_and_leave_the_end_open():
    floors = np.linspace(1.5, 2.0, 201)[:, None]
    draws = np.concatenate([TRUE[None], np.hstack([floors, np.tile(TRUE[1:], (201, 1))])])
    reference = side("causal", *np.tile(TRUE, (202, 1)))
    m = multiplier(LAW, reference, side("prefix", *draws), budgets=[1e25]).table.iloc[0]
    assert m.m == pytest.approx(1, rel=1e-9)
    assert m.never == pytest.approx((floors > m.loss).mean(), abs=1 / 200)  # or not with 1e12 times C
    assert 0.2 < m.never < 0.4
    assert np.isinf(m.m_hi95)
    assert m.m_lo95 < 1
    assert m.dloss_lo95 == pytest.approx(-0.2 + 0.0125, abs=0.004)


def test_a_law_of_compute_is_its_own_frontier_and_a_law_of_size_has_none():
    C = np.geomspace(1e10, 1e13, 12)
    true = {"a": (1.0, 200.0, 0.2), "b": (1.0, 200.0 * 3**0.2, 0.2)}
    table = pd.concat([as_table(C=C, loss=SaturatingC().predict(np.array(p), {"C": C}), architecture=g)
                       for g, p in true.items()], ignore_index=True)  # fmt: skip
    c = compare(table, SaturatingC(), **KNOBS)
    np.testing.assert_allclose(c.multipliers["b"].table.m, 3, rtol=1e-5)
    flat = line_table(np.random.default_rng(0))
    none = compare(flat, KaplanN(), **KNOBS)
    assert none.multipliers == {}
    assert none.verdict[-1].startswith("no compute multiplier: the law kaplan_N is one of N")


def test_a_comparison_is_told_drawn_and_written():
    """0.1 nats of E apart: prefix needs more, ever more, and beyond some C never gets there."""
    table = groups(TRUE, HIGHER, noise=0.003)
    shared = ("A", "B", "alpha", "beta")
    c = compare(
        table, LAW, **KNOBS | {"bootstrap": 200, "shared": shared, "points": ("N", "D"), "delta": 1.0}
    )
    m = c.multipliers["prefix"].table
    assert (m.m_lo95 <= m.m).all()
    assert (m.m <= m.m_hi95).all()
    assert m.m.is_monotonic_increasing
    at = m.loc[m.inside].iloc[-1]
    true = multiplier(LAW, side("causal", TRUE), side("prefix", HIGHER), budgets=[at.C])
    assert at.m_lo95 < true.table.m.iloc[0] < at.m_hi95
    assert not m.inside.iloc[-1]
    assert m.status.iloc[-1] == "extrapolated: beyond the runs of causal or prefix"
    told = c.verdict[-1]
    assert told.startswith(
        f"at C = {at.C:.3g} prefix needs {at.m:.3g} [{at.m_lo95:.3g}, {at.m_hi95:.3g}] times the"
    )
    data = json.loads(json.dumps(c.to_json(), allow_nan=False))
    assert data["multipliers"]["prefix"]["table"][0]["m"] == m.m.iloc[0]
    with look():
        drawn = plot.draw(c)
    assert drawn is not None
    figure, caption = drawn
    line = next(line for line in figure.axes[0].get_lines() if line.get_label() == "prefix")
    np.testing.assert_array_equal(np.asarray(line.get_ydata())[m.inside], m.m[m.inside])
    assert "Dashed: C or the multiple of it lies beyond the runs" in caption


# Bad input


def test_bad_tables_and_knobs_are_told_by_group_row_and_column():
    table = groups(TRUE, OTHER)
    table.attrs["source"] = "runs.csv"
    for wrong, knobs, told in (
        (table.iloc[:25], {}, "runs.csv, architecture prefix: 5 rows for the 5 parameters of chinchilla"),
        (table.iloc[:20], {}, "runs.csv, column architecture: one group, causal: it takes two"),
        (table, {"by": "data"}, "runs.csv: no column data; it has N, D"),
        (table.replace({"architecture": {"prefix": None}}), {}, "row 21, column architecture: is empty"),
        (table, {"reference": "rnn"}, "reference=rnn is no value of column architecture: causal, prefix"),
        (table, {"shared": ("gamma",)}, "shared=gamma: chinchilla has"),
        (table, {"points": ("depth",)}, "runs.csv: no column depth"),
        (table.drop(columns="C"), {"flops": None}, "runs.csv: no column C"),
        (table.assign(C=table.C.where(table.index != 3)), {"flops": None}, "row 3, column C: is empty"),
        (table, {"flops": 0.0}, "flops=0 is not a positive number"),
        (table, {"budgets": [1e12, 0.0]}, "budgets=0 is not a positive number"),
        (table, {"bootstrap": -1}, "bootstrap=-1 and simulations=0: neither may be negative"),
        (table.assign(loss=table.loss.where(table.index != 22, -1)), {}, "row 22, column loss: is -1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told.replace("[", r"\[")):
            compare(wrong, LAW, **KNOBS | knobs)
