"""Gadre's law: worked by hand, as a special case of Chinchilla's, and back from planted constants."""

import numpy as np
import pytest
from formulas import check

from analysis.laws.chinchilla import Chinchilla
from analysis.laws.overtraining import Overtraining
from analysis.solver.solve import solve

LAW = Overtraining()
TRUE = np.array([1.7, 140.0, 190.0, 0.13])


def table(n: int = 30, *, dense: bool = True) -> dict[str, np.ndarray]:
    """Runs of 1 to 1,000 tokens a parameter. Not dense: C is not 6 N D, as for a mixture of experts."""
    rng = np.random.default_rng(0)
    N, M = 10 ** rng.uniform(7, 10, n), 10 ** rng.uniform(0, 3, n)
    C = 6 * N * N * M * (1.0 if dense else 10 ** rng.uniform(-0.5, 0.5, n))
    return {"N": N, "D": M * N, "C": C}


def test_a_loss_worked_out_by_hand():
    # N = 10^8, D = 10^10: M = 100, M^0.1 = 1.58489; C = 10^20, C^-0.1 = 0.01.
    loss = LAW.predict((1.5, 50, 60, 0.1), {"N": 1e8, "D": 1e10, "C": 1e20})
    assert loss[0] == pytest.approx(1.5 + 0.01 * (50 * 10**0.2 + 60 * 10**-0.2), rel=1e-13)


@pytest.mark.parametrize("dense", [True, False])
def test_the_formula_holds_together(dense):
    check(LAW, TRUE, table(7, dense=dense), [2.5, -1.0, 4.0])


@pytest.mark.parametrize("dense", [True, False])
def test_planted_constants_come_back(dense):
    at = table(dense=dense)
    at["loss"] = LAW.predict(TRUE, at)
    found = solve(LAW, at, delta=1e-3, bootstrap=0, seed=0)
    assert found.status == "converged"
    np.testing.assert_allclose(found.vector, TRUE, rtol=1e-8)
    best = found.optimum(1e21)
    run = {"N": best["N_opt"], "D": best["D_opt"], "C": 1e21}
    assert best["loss"] == pytest.approx(LAW.predict(TRUE, run)[0], rel=1e-7)


def test_with_six_flops_per_parameter_and_token_it_is_chinchilla_with_equal_exponents():
    E, a, b, eta = TRUE
    at = table()
    same = Chinchilla().predict((E, a * 6**-eta, b * 6**-eta, 2 * eta, 2 * eta), at)
    np.testing.assert_allclose(LAW.predict(TRUE, at), same, rtol=1e-13)


def test_at_equal_tokens_per_parameter_it_is_a_power_law_in_compute():
    C = np.geomspace(1e18, 1e24, 7)
    N = np.sqrt(C / 6 / 20)
    left = np.log(LAW.predict(TRUE, {"N": N, "D": 20 * N, "C": C}) - TRUE[0])
    np.testing.assert_allclose(np.diff(left) / np.diff(np.log(C)), -TRUE[3], rtol=1e-9)


def test_the_optimum_is_at_one_ratio_of_tokens_to_parameters():
    trade = LAW.tradeoff(TRUE)
    assert trade.a == trade.b == 0.5
    C = 1e21
    N, D = trade.optimum(np.asarray(C / 6))
    # The minimum of a M^eta + b M^-eta over M.
    assert D / N == pytest.approx((190 / 140) ** (1 / 0.26), rel=1e-12)
    sizes = N * np.exp(np.linspace(-3, 3, 6001))
    losses = LAW.predict(TRUE, {"N": sizes, "D": C / 6 / sizes, "C": np.full(6001, C)})
    assert abs(losses.argmin() - 3000) <= 1
