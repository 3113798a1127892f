"""Kaplan's laws with the published constants, and as limits of each other."""

import numpy as np
import pytest
from planted import as_table

from analysis.fits import fit
from analysis.laws.kaplan import Kaplan, KaplanAdditive, KaplanC, KaplanD, KaplanN
from analysis.solver.solve import solve
from analysis.tables.runs import best_along

JOINT = (8.8e13, 0.076, 5.4e13, 0.095)


def test_the_joint_law_worked_out_by_hand():
    # (8.8e13 / 1e9)^(0.076 / 0.095) = 88000^0.8 = exp(0.8 * 11.385092) = 9027.9; 5.4e13 / 1e10 = 5400.
    # (9027.9 + 5400)^0.095 = exp(0.095 * 9.576919) = 2.48384.
    assert Kaplan().predict(JOINT, {"N": 1e9, "D": 1e10})[0] == pytest.approx(2.48384, abs=2e-5)
    # 88000^0.076 + 5400^0.095 = exp(0.865267) + exp(0.816445) = 2.37564 + 2.26244.
    assert KaplanAdditive().predict(JOINT, {"N": 1e9, "D": 1e10})[0] == pytest.approx(4.63808, abs=2e-5)


def test_the_joint_law_tends_to_those_of_one_input():
    N = np.array([1e6, 1e9])
    alone = KaplanN().predict(JOINT[:2], {"N": N})
    np.testing.assert_allclose(Kaplan().predict(JOINT, {"N": N, "D": 1e25}), alone, rtol=1e-9)
    D = np.array([1e8, 1e10])
    alone = KaplanD().predict(JOINT[2:], {"D": D})
    np.testing.assert_allclose(Kaplan().predict(JOINT, {"N": 1e30, "D": D}), alone, rtol=1e-9)


@pytest.mark.parametrize("law", [Kaplan(), KaplanAdditive()], ids=lambda law: law.name)
def test_planted_constants_come_back(law):
    rng = np.random.default_rng(0)
    at = {"N": 10 ** rng.uniform(5, 9, 30), "D": 10 ** rng.uniform(7, 11, 30)}
    at["loss"] = law.predict(JOINT, at)
    found = solve(law, at, delta=1e-3, bootstrap=0, seed=0)
    assert found.status == "converged"
    np.testing.assert_allclose(found.vector, JOINT, rtol=1e-8)


def test_laws_of_one_input_are_fitted_to_the_runs_it_alone_holds_back():
    """A grid where D holds small runs back: L(N) comes back only if those runs are left out, and says so."""
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e6, 1e8, 6), [1e8, 1e14], indexing="ij"))
    table = as_table(N=N, D=D, loss=Kaplan().predict((8.8e13, 0.076, 5.4e9, 0.095), {"N": N, "D": D}))
    found = fit(table, KaplanN(), delta=1e-3, bootstrap=0, seed=0)
    assert found.n == 6
    assert (table.loc[found.rows, "D"] == 1e14).all()
    assert [item["count"] for item in found.dropped] == [6]
    assert found.params["alpha_N"] == pytest.approx(0.076, rel=1e-3)


def test_the_frontier_is_the_lower_envelope_over_compute():
    table = as_table(N=[1, 2, 3, 4, 5], D=1, C=[1, 2, 2, 3, 4], loss=[5, 4.5, 4, 4.2, 3.9])
    assert best_along(table, "C").index.tolist() == [1, 3, 5]
    frontier = as_table(C=np.geomspace(1e15, 1e19, 9), loss=(3.1e8 / np.geomspace(1e15, 1e19, 9)) ** 0.05)
    found = fit(frontier, KaplanC(), delta=1e-3, bootstrap=0, seed=0)
    assert found.params["alpha_C"] == pytest.approx(0.05, rel=1e-9)
    assert found.params["C_c"] == pytest.approx(3.1e8, rel=1e-6)
