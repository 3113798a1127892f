"""Repeated data: the paper's own numbers, limits to Chinchilla, planted constants, the published table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from formulas import check

from analysis.laws.chinchilla import Chinchilla
from analysis.laws.data_constrained import DataConstrained
from analysis.solver.solve import solve

LAW = DataConstrained()
RUNS = Path(__file__).parents[2] / "shared/data/muennighoff_data_constrained/data_constrained_182.csv"

# The constants in the README of huggingface/datablations, for C4.
BASE = {"E": np.exp(0.6254804), "A": np.exp(6.255414), "B": np.exp(7.3049974)} | {
    "alpha": 0.3526596,
    "beta": 0.3526596,
}
PUBLISHED = np.array([*BASE.values(), 15.387756, 5.309743])


def table(n: int = 60) -> dict[str, np.ndarray]:
    """A third of the runs see their data once; sizes on both sides of the optimum."""
    rng = np.random.default_rng(1)
    U = 10 ** rng.uniform(8, 11, n)
    epochs = np.where(rng.random(n) < 0.3, 1.0, 10 ** rng.uniform(0, 2, n))
    return {"N": 10 ** rng.uniform(7, 10, n), "D": epochs * U, "unique_tokens": U}


def test_the_losses_that_the_paper_computes_with_its_constants():
    """Figure 1, right, as printed in the README of huggingface/datablations."""
    at = {"N": [6.34e9, 8.67e9], "D": [242e9, 178e9], "unique_tokens": [25e9, 25e9]}
    np.testing.assert_allclose(
        LAW.predict(PUBLISHED, at), [2.2256440889984477, 2.2269634075087867], rtol=1e-12
    )


def test_a_loss_worked_out_by_hand():
    # alpha A / N^alpha = beta B / U^beta with A = B, alpha = beta: N_opt = U = 10^8. With N = 3 U_N, D = 5 U:
    # R_N = 2 = R_N*, R_D = 4 = 2 R_D*, so N' = 10^8 (1 + 2 (1 - 1/e)), D' = 10^8 (1 + 2 (1 - 1/e^2)).
    loss = LAW.predict((1.5, 400, 400, 0.5, 0.5, 2.0, 2.0), {"N": 3e8, "D": 5e8, "unique_tokens": 1e8})
    N, D = 1e8 * (3 - 2 / np.e), 1e8 * (3 - 2 / np.e**2)
    assert loss[0] == pytest.approx(1.5 + 400 / np.sqrt(N) + 400 / np.sqrt(D), rel=1e-14)


@pytest.mark.parametrize("params", [PUBLISHED, (1.7, 400, 900, 0.34, 0.28, 0.5, 300)])
def test_the_formula_holds_together(params):
    check(LAW, params, table(20), [3.0, -1.5, -1.5])


def test_units_are_those_in_which_epochs_can_be_counted():
    x = LAW.logs(table(9))
    unit = LAW.units(x)
    assert unit[1] == unit[2]
    assert abs((x - unit)[:, 0].mean()) < 1e-12
    with pytest.raises(ValueError, match="in the same unit"):
        LAW.rescale(LAW.working(PUBLISHED), np.array([0.0, 1.0, 2.0]), 0.0)


def test_without_repetition_or_excess_it_is_chinchilla():
    at = table()
    once = at | {"unique_tokens": at["D"]}
    best = np.array([LAW.tradeoff(PUBLISHED).G ** 2 * D for D in at["D"]])  # alpha = beta: N_opt = G^2 D
    fits = at["N"] <= best
    assert 5 < fits.sum() < 55
    ours, theirs = LAW.predict(PUBLISHED, once), Chinchilla().predict(PUBLISHED[:5], once)
    np.testing.assert_allclose(ours[fits], theirs[fits], rtol=1e-14)
    assert (ours[~fits] > theirs[~fits]).all()  # parameters in excess count for less
    # More unique tokens than were seen are as good as just enough.
    more = at | {"unique_tokens": 7 * at["D"]}
    np.testing.assert_array_equal(LAW.predict(PUBLISHED, more), ours)


def test_with_no_decay_it_is_chinchilla_however_often_data_is_seen():
    at = table()
    slow = LAW.predict((*PUBLISHED[:5], 1e12, 1e12), at)
    np.testing.assert_allclose(slow, Chinchilla().predict(PUBLISHED[:5], at), rtol=1e-7)
    # And with decay at once, more epochs and more parameters change nothing.
    fast = (*PUBLISHED[:5], 1e-9, 1e-9)
    run = {"N": [1e12, 3e12], "D": [1e10, 9e10], "unique_tokens": [1e9, 1e9]}
    first, second = LAW.predict(fast, run)
    assert first == pytest.approx(second, rel=1e-8)


def test_planted_constants_come_back():
    true = np.array([1.8, 450, 1500, 0.36, 0.34, 12.0, 6.0])
    at = table()
    at["loss"] = LAW.predict(true, at)
    found = solve(LAW, at, delta=1e-3, bootstrap=0, seed=0)
    assert found.status == "converged"
    np.testing.assert_allclose(found.vector, true, rtol=1e-8)
    # Its optimum is for data that is all new: Chinchilla's.
    best = found.optimum(1e21)
    at = {"N": best["N_opt"], "D": best["D_opt"]}
    assert best["loss"] == pytest.approx(Chinchilla().predict(true[:5], at)[0], rel=1e-7)


def test_all_three_minima_of_the_published_table_are_listed():
    """Base constants held at the published ones: the published (R_D*, R_N*) is the worst of the minima."""
    if not RUNS.exists():
        pytest.skip("the 182 runs of Muennighoff et al. 2023 are not in ../shared/data")
    at = pd.read_csv(RUNS).rename(columns={"params": "N", "tokens": "D"})
    found = solve(LAW, at, delta=1e-3, bootstrap=0, seed=0, fixed=BASE)
    listed = [
        (m["params"]["R_D_star"], m["params"]["R_N_star"], m["objective"])
        for m in found.certificate["minima"]
    ]
    for known in [
        (95.365, 1.7059, 0.01580466247),
        (46.990, 2.3296, 0.01580737857),
        (15.3718, 5.3151, 0.01582593207),
    ]:
        assert any(np.allclose(m, known, rtol=1e-4) for m in listed), known
    assert min(m[2] for m in listed) == pytest.approx(0.015804662474, rel=1e-9)
    assert found.params["E"] == pytest.approx(BASE["E"], rel=1e-12)
    assert found.status != "converged"


def test_the_published_table_with_every_parameter_free():
    if not RUNS.exists():
        pytest.skip("the 182 runs of Muennighoff et al. 2023 are not in ../shared/data")
    at = pd.read_csv(RUNS).rename(columns={"params": "N", "tokens": "D"})
    found = solve(LAW, at, delta=1e-3, bootstrap=0, seed=0)
    assert found.objective < 0.4158 * 0.0158046  # what holding the base constants costs
    assert found.certificate["bounds_hit"] == ["R_N_star"]  # no sign that excess parameters decay
