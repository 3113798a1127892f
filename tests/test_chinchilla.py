"""Chinchilla's law: the published surface, and the 240 points of its re-analysis."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.laws.chinchilla import Chinchilla, SaturatingC
from analysis.solver.solve import solve
from analysis.tables.runs import load

POINTS = Path(__file__).parents[2] / "shared/data/epoch_chinchilla/svg_extracted_data.csv"


def test_losses_worked_out_by_hand():
    # N = D = 10^10, exponents 0.3 and 0.2: 1.5 + 300 / 10^3 + 200 / 10^2.
    loss = Chinchilla().predict((1.5, 300, 200, 0.3, 0.2), {"N": 1e10, "D": 1e10})
    assert loss[0] == pytest.approx(1.5 + 0.3 + 2.0, rel=1e-14)
    assert SaturatingC().predict((1.5, 300, 0.1), {"C": 1e20})[0] == pytest.approx(1.5 + 3.0, rel=1e-14)


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    if not POINTS.exists():
        pytest.skip("the 245 points of Besiroglu et al. 2024 are not in ../shared/data")
    table = load(POINTS, {"N": "Model Size", "C": "Training FLOP"})
    return table.sort_values("loss").iloc[:-5]  # as the re-analysis did


def test_the_240_points_have_their_optimum(points):
    """Besiroglu et al. 2024, with the objective driven to its true minimum."""
    fit = solve(Chinchilla(), points, delta=1e-3, bootstrap=0, seed=0)
    assert fit.status == "converged"
    assert fit.n == 240
    assert fit.objective == pytest.approx(1.0182740178e-3, rel=1e-9)
    assert fit.certificate["gradient_norm"] < 1e-8
    assert len(fit.certificate["minima"]) == 1
    assert fit.certificate["condition_number"] < 100
    expected = {"E": 1.817218, "A": 477.826, "B": 2143.417, "alpha": 0.347310, "beta": 0.367172}
    for name, value in expected.items():
        assert fit.params[name] == pytest.approx(value, rel=2e-6)
    assert fit.optimum()["a"] == pytest.approx(0.513900, abs=1e-6)


def test_the_240_points_have_the_standard_errors_of_pairs(points):
    fit = solve(Chinchilla(), points, delta=1e-3, bootstrap=1500, seed=0)
    assert fit.resampling == {"method": "pairs", "resamples": 1500, "unconverged": 0}
    # Pairs bootstrap of 4,000 resamples by plain refitting. B is skewed: its own spread varies most.
    expected = {"E": 0.02566, "A": 124.5, "alpha": 0.01540, "beta": 0.02059}
    for name, value in expected.items():
        assert fit.stderr[name] == pytest.approx(value, rel=0.07)
    assert fit.stderr["B"] == pytest.approx(1293, rel=0.2)


@pytest.mark.parametrize(("above", "error"), [(1e20, 0.00890), (3e20, 0.0100), (1e21, 0.0105)])
def test_the_240_points_predict_their_own_larger_runs(points, above, error):
    small, large = points[points.C < above], points[points.C >= above]
    fit = solve(Chinchilla(), small, delta=1e-3, bootstrap=0, seed=0)
    # The figures to reach carry three digits.
    assert np.abs(fit.predict(large) / large.loss - 1).mean() < error * 1.005
