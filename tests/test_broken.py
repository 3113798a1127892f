"""Broken power laws: the paper's own curve, planted breaks, and the laws they contain."""

import json

import numpy as np
import pytest
from formulas import check

from analysis.law import Fit
from analysis.laws.broken import Broken
from analysis.laws.chinchilla import SaturatingC
from analysis.solver.solve import solve

# Four-digit addition over the size of the training set, as simulated in the paper's code for figure 4, right.
ADDITION = (
    0.41388453071629455,
    2.2772722897737556,
    0.055077348404973955,
    5.662903816010331,
    612.5836172918001,
    0.059193036393742314,
)
TWICE = (1.0, 300.0, 0.15, -0.3, 1e17, 0.2, 0.4, 1e21, 0.3)


def law(breaks: int) -> Broken:
    return Broken(breaks=breaks, input="C", along=None)


def test_a_loss_worked_out_by_hand():
    # x = 100 = d, f = 0.5: (1 + 1)^(-c f) = 2^-0.5; 8 * 100^-0.5 = 0.8.
    loss = law(1).predict((2.0, 8.0, 0.5, 1.0, 100.0, 0.5), {"C": 100.0})
    assert loss[0] == pytest.approx(2 + 0.8 / np.sqrt(2), rel=1e-14)
    # A second break, at x = 10 with f = 1: (1 + 10)^-0.2.
    loss = law(2).predict((2.0, 8.0, 0.5, 0.2, 10.0, 1.0, 1.0, 100.0, 0.5), {"C": 100.0})
    assert loss[0] == pytest.approx(2 + 0.8 / np.sqrt(2) * 11**-0.2, rel=1e-14)


def test_the_papers_curve():
    """Slopes of the logarithm on either side of the break: c_0, and c_0 + c_1."""
    x = np.array([1.0, 2.0, 1e5, 2e5])
    left = np.log(law(1).predict((0.0, *ADDITION[1:]), {"C": x}))
    assert left[0] - left[1] == pytest.approx(0.0550773 * np.log(2), rel=1e-5)
    assert left[2] - left[3] == pytest.approx(5.7179812 * np.log(2), rel=1e-7)


@pytest.mark.parametrize("params", [(1.7, 1600, 0.16), (*ADDITION[:4], 1e18, 0.3), TWICE])
def test_the_formula_holds_together(params):
    check(law(len(params) // 3 - 1), params, {"C": np.geomspace(1e14, 1e23, 11)}, [7.0])


@pytest.mark.parametrize(
    ("params", "x"),
    [
        ((1.7, 1600, 0.16), np.geomspace(1e15, 1e23, 30)),
        ((0.5, 50, 0.05, 0.3, 3e18, 0.1), np.geomspace(1e15, 1e23, 30)),
        ((1.2, 300, 0.15, -0.3, 1e19, 0.3), np.geomspace(1e15, 1e23, 30)),  # a loss that rises from there on
        (ADDITION, np.geomspace(1, 4096, 60)),
        (TWICE, np.geomspace(1e15, 1e24, 40)),
    ],
    ids=["power law", "break", "rise", "addition", "two breaks"],
)
def test_planted_breaks_come_back(params, x):
    formula = law(len(params) // 3 - 1)
    found = solve(
        formula, {"C": x, "loss": formula.predict(params, {"C": x})}, delta=1e-3, bootstrap=0, seed=0
    )
    assert found.status == "converged"
    np.testing.assert_allclose(found.vector, params, rtol=1e-7)


def test_without_a_break_it_saturates():
    C = {"C": np.geomspace(1e15, 1e23, 9)}
    plain = SaturatingC().predict((1.7, 1600, 0.16), C)
    np.testing.assert_allclose(law(0).predict((1.7, 1600, 0.16), C), plain, rtol=1e-14)
    idle = law(1).predict((1.7, 1600, 0.16, 0.0, 1e18, 0.3), C)
    np.testing.assert_allclose(idle, plain, rtol=1e-14)


def test_far_beyond_a_sharp_break_nothing_overflows():
    ends = law(1).predict((1.0, 10.0, 0.1, 0.1, 1e18, 0.01), {"C": [1e-40, 1e40]})
    # 10 * (1e-40)^-0.1, and 10 * (1e40)^-0.1 * (1e22)^-0.1.
    np.testing.assert_allclose(ends, [1 + 10 * 1e4, 1 + 10 * 1e-4 * 10**-2.2], rtol=1e-12)


def test_a_break_that_changes_nothing_is_not_identified():
    C = np.geomspace(1e15, 1e23, 30)
    at = {"C": C, "loss": SaturatingC().predict((1.7, 1600, 0.16), {"C": C})}
    found = solve(law(1), at, delta=1e-3, bootstrap=0, seed=0)
    assert found.objective < 1e-20
    assert found.status.startswith("not identified: ")
    assert {"d_1", "f_1"} <= set(found.certificate["unidentified"])


def test_it_tells_how_to_make_it_again():
    chosen = Broken(breaks=2, input="N", along="N")
    again = Broken(**chosen.arguments)
    assert (again.names, again.inputs, again.along) == (chosen.names, ("N",), "N")
    assert chosen.names == ("a", "b", "c_0", "c_1", "d_1", "f_1", "c_2", "d_2", "f_2")


def test_a_fit_of_it_survives_json():
    x = np.geomspace(1, 4096, 20)
    formula = Broken(breaks=1, input="N", along=None)
    found = solve(
        formula, {"N": x, "loss": formula.predict(ADDITION, {"N": x})}, delta=1e-3, bootstrap=0, seed=0
    )
    back = Fit.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert (back.law.names, back.law.inputs) == (formula.names, ("N",))
    np.testing.assert_array_equal(back.predict({"N": x}), found.predict({"N": x}))


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match=r"breaks=-1 is not a number of breaks"):
        Broken(breaks=-1, input="C", along=None)
    with pytest.raises(ValueError, match="along='D': the law's only input is C"):
        Broken(breaks=1, input="C", along="D")
