"""Formulas: gradients against differences, units, the compute optimum; and the record of a fit."""

import json
import math

import numpy as np
import pytest

from analysis.law import Fit, _ends, jacobian, plain
from analysis.laws.chinchilla import Chinchilla, SaturatingC
from analysis.laws.kaplan import Kaplan, KaplanAdditive, KaplanC, KaplanD, KaplanN
from analysis.solver.solve import solve

# Published values: Hoffmann et al. 2022, table A3; Kaplan et al. 2020, section 1.2.
PUBLISHED = {
    Chinchilla: (1.69, 406.4, 410.7, 0.34, 0.28),
    SaturatingC: (1.7, 1600.0, 0.16),
    KaplanN: (8.8e13, 0.076),
    KaplanD: (5.4e13, 0.095),
    KaplanC: (3.1e8, 0.05),
    Kaplan: (8.8e13, 0.076, 5.4e13, 0.095),
    KaplanAdditive: (8.8e13, 0.076, 5.4e13, 0.095),
}
laws = pytest.mark.parametrize("law", [law() for law in PUBLISHED], ids=lambda law: law.name)


def table(n=7):
    rng = np.random.default_rng(3)
    N, D = 10 ** rng.uniform(6, 9, n), 10 ** rng.uniform(8, 11, n)
    return {"N": N, "D": D, "C": 6 * N * D}


@laws
def test_gradient_equals_central_differences(law):
    params, at = np.array(PUBLISHED[type(law)]), table()
    gradient = law.gradient(params, at)
    for p in range(len(params)):
        h = np.zeros(len(params))
        h[p] = params[p] * 1e-6
        numeric = (law.predict(params + h, at) - law.predict(params - h, at)) / (2 * h[p])
        # Central differences at a relative step of 1e-6 are good to about 1e-9 of the loss.
        assert np.abs(gradient[:, p] - numeric).max() * params[p] < 1e-8


@laws
def test_curvature_is_the_derivative_of_the_gradient(law):
    theta = law.working(np.array(PUBLISHED[type(law)]))[None]
    x = law.logs(table())
    weight = np.random.default_rng(0).normal(size=(1, len(x)))
    numeric = jacobian(lambda at: np.einsum("sn,snp->sp", weight, law.log_loss(at, x)[1]), theta)
    curvature = law.curvature(theta, x, weight)
    # A single power is linear in logarithms: both are 0, up to rounding of terms of the size of log(input)^2.
    assert np.abs(curvature - numeric).max() < 1e-9 * np.abs(numeric).max() + 1e-11


@laws
def test_a_change_of_units_changes_no_loss(law):
    theta = law.working(np.array(PUBLISHED[type(law)]))
    x, unit = law.logs(table()), np.arange(1, len(law.inputs) + 1) * 2.5
    f, _ = law.log_loss(theta[None], x)
    g, _ = law.log_loss(law.rescale(theta, unit, 0.7)[None], x - unit)
    np.testing.assert_allclose(g, f - 0.7, rtol=0, atol=1e-12)


@laws
def test_published_and_working_are_inverse(law):
    params = np.array(PUBLISHED[type(law)])
    np.testing.assert_allclose(law.published(law.working(params)), params, rtol=1e-12)


@laws
def test_predict_broadcasts_over_parameters(law):
    params, at = np.array(PUBLISHED[type(law)]), table(4)
    stack = np.stack([params, params * 1.01])[None]
    out = law.predict(stack, at)
    assert out.shape == (1, 2, 4)
    alone = law.predict(dict(zip(law.names, params, strict=True)), at)
    np.testing.assert_allclose(out[0, 0], alone, rtol=1e-13)


def test_a_law_says_which_column_and_row_it_cannot_read():
    with pytest.raises(ValueError, match="column D: missing"):
        Chinchilla().predict(PUBLISHED[Chinchilla], {"N": [1e6]})
    with pytest.raises(ValueError, match="column N, row 2: is 0, not a positive number"):
        Chinchilla().predict(PUBLISHED[Chinchilla], {"N": [1e6, 0], "D": [1e8, 1e8]})


@pytest.fixture(scope="module")
def fit() -> Fit:
    at = table(24)
    noise = np.random.default_rng(1).normal(0, 0.005, 24)
    at["loss"] = Chinchilla().predict(PUBLISHED[Chinchilla], at) * np.exp(noise)
    return solve(Chinchilla(), at, delta=1e-3, bootstrap=200, seed=0)


def test_a_fit_survives_json(fit):
    back = Fit.from_json(json.loads(json.dumps(fit.to_json(samples=True), allow_nan=False)))
    at = table(5)
    assert back.params == fit.params
    assert back.interval95 == fit.interval95
    np.testing.assert_array_equal(back.residuals, fit.residuals)
    for kind in ("mean", "run"):
        np.testing.assert_array_equal(back.predict_interval(at, kind), fit.predict_interval(at, kind))
    short = Fit.from_json(fit.to_json())
    np.testing.assert_array_equal(short.predict(at), fit.predict(at))
    with pytest.raises(ValueError, match="no resamples"):
        short.predict_interval(at)


def test_a_file_cannot_name_code_to_load(fit):
    with pytest.raises(ValueError, match="not one of analysis"):
        Fit.from_json(fit.to_json() | {"formula": "os.system"})


def test_json_has_null_for_what_has_no_number():
    assert plain({"a": [1.0, math.inf], "b": (math.nan, 2)}) == {"a": [1.0, None], "b": [None, 2]}


def test_intervals_hold_the_prediction_and_a_new_run_needs_more_room(fit):
    at = table(6)
    mean, run = fit.predict_interval(at), fit.predict_interval(at, kind="run")
    loss = fit.predict(at)
    assert ((mean[:, 0] < loss) & (loss < mean[:, 1])).all()
    assert ((run[:, 0] < mean[:, 0]) & (mean[:, 1] < run[:, 1])).all()
    # A new run scatters by t(n - P) times the scale around the law, whatever else: no narrower than that.
    assert (np.log(run[:, 1] / run[:, 0]) > 2 * 1.9 * fit.scale).all()
    with pytest.raises(ValueError, match="kind='both' is none of mean, run"):
        fit.predict_interval(at, kind="both")


@pytest.mark.parametrize("law", [Chinchilla(), Kaplan(), KaplanAdditive()], ids=lambda law: law.name)
def test_the_optimum_is_where_a_search_finds_it(law, fit):
    params = PUBLISHED[type(law)]
    at = dict(zip(law.names, params, strict=True))
    chosen = Fit.from_json(
        fit.to_json() | {"params": at, "formula": f"{type(law).__module__}.{type(law).__name__}"}
    )
    for C in (1e18, 5.76e23):
        best = chosen.optimum(C)
        # 0.01 % steps over 8 decades around the optimum of Chinchilla's own ratio.
        N = np.sqrt(C / 120) * np.exp(np.arange(-9.2, 9.2, 1e-4))
        loss = law.predict(params, {"N": N, "D": C / 6 / N})
        assert abs(math.log(best["N_opt"] / N[loss.argmin()])) < 2e-4
        assert best["N_opt"] * best["D_opt"] * 6 == pytest.approx(C, rel=1e-12)
        assert best["loss"] == pytest.approx(loss.min(), rel=1e-9)
    pair = chosen.optimum([1e20, 1e22])
    slope = np.log(pair["N_opt"][1] / pair["N_opt"][0]) / np.log(100)
    assert slope == pytest.approx(pair["a"], rel=1e-9)
    assert pair["a"] + pair["b"] == pytest.approx(1)


def test_quantiles_of_draws_that_reach_infinity_are_draws():
    draws = np.array([1.0, 2.0, 3.0, np.inf, np.inf])
    assert _ends(draws, 0.25).tolist() == [2.0, np.inf]
    assert _ends(np.arange(5.0), 0.1).tolist() == pytest.approx([0.4, 3.6])  # between two finite ones: a mean


def test_the_optimum_has_intervals_around_it(fit):
    best = fit.optimum([1e18, 1e20])
    lo, hi = np.transpose(best["interval95"]["N_opt"])
    assert (lo < best["N_opt"]).all()
    assert (best["N_opt"] < hi).all()
    a = best["interval95"]["a"]
    assert a[0] < best["a"] < a[1]
    draws = fit.samples
    np.testing.assert_allclose(a, np.quantile(draws[:, 4] / (draws[:, 3] + draws[:, 4]), [0.025, 0.975]))


def test_a_law_of_one_input_has_no_optimum(fit):
    one = Fit.from_json(
        fit.to_json()
        | {"params": {"N_c": 8.8e13, "alpha_N": 0.076}, "formula": "analysis.laws.kaplan.KaplanN"}
    )
    with pytest.raises(ValueError, match="kaplan_N is not one of N and D"):
        one.optimum(1e20)
