"""Laws over width and depth: worked by hand, planted constants, and the Gemstones' stored fits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from formulas import check

from analysis.laws.chinchilla import Chinchilla
from analysis.laws.width_depth import WidthDepthData, WidthDepthNData
from analysis.solver.solve import solve

GEMSTONES = Path(__file__).parents[2] / "shared/data/gemstones"

TRUE = {
    WidthDepthData(): np.array([1.5, 3.0, 0.9, 5e4, 0.3, 0.5, 0.5]),
    WidthDepthNData(): np.array([1.5, 3.0, 0.9, 500.0, 5e4, 0.3, 0.5, 0.4, 0.5]),
}
laws = pytest.mark.parametrize(("law", "true"), TRUE.items(), ids=[law.name for law in TRUE])


def table(n: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    width, depth = 2.0 ** rng.uniform(7, 12, n), np.round(2 ** rng.uniform(1, 6, n))
    N = 12 * depth * width**2 * 2 ** rng.uniform(-1, 1, n)
    return {"width": width, "depth": depth, "N": N, "D": 10 ** rng.uniform(9, 12, n)}


def test_losses_worked_out_by_hand():
    # 256^-0.25 = 1/4, 16^-0.5 = 1/4, (10^10)^-0.2 = 1/100, (10^8)^-0.25 = 1/100.
    at = {"width": 256, "depth": 16, "N": 1e8, "D": 1e10}
    loss = WidthDepthData().predict((1.0, 2.0, 4.0, 50.0, 0.25, 0.5, 0.2), at)
    assert loss[0] == pytest.approx(1.0 + 0.5 + 1.0 + 0.5, rel=1e-14)
    loss = WidthDepthNData().predict((1.0, 2.0, 4.0, 30.0, 50.0, 0.25, 0.5, 0.25, 0.2), at)
    assert loss[0] == pytest.approx(1.0 + 0.5 + 1.0 + 0.3 + 0.5, rel=1e-14)


@laws
def test_the_formula_holds_together(law, true):
    check(law, true, table(9), np.arange(1, len(law.inputs) + 1) * 0.7)


@laws
def test_planted_constants_come_back(law, true):
    at = table()
    at["loss"] = law.predict(true, at)
    found = solve(law, at, delta=1e-3, bootstrap=0, seed=0)
    assert found.status == "converged"
    np.testing.assert_allclose(found.vector, true, rtol=1e-7)


def test_without_its_shape_terms_it_is_chinchilla():
    at = table(9)
    nearly = WidthDepthNData().predict((1.7, 1e-30, 1e-30, 400, 410, 0.3, 0.3, 0.34, 0.28), at)
    np.testing.assert_allclose(nearly, Chinchilla().predict((1.7, 400, 410, 0.34, 0.28), at), rtol=1e-13)


def test_how_size_is_traded_for_data_is_not_theirs_to_say():
    assert all(law.tradeoff(true) is None for law, true in TRUE.items())


@pytest.mark.parametrize(
    ("law", "name", "delta", "stored"),
    [
        (WidthDepthData(), "hot_100b_plus", 1e-3, 0.0038782174),
        (WidthDepthNData(), "cool_end", 1e-4, 0.0000900742),
        (WidthDepthNData(), "hot", 1e-4, 0.000111878),
    ],
)
def test_gemstones_at_or_below_the_stored_fits(law, name, delta, stored):
    """The files parameters_delta-3/ and -4/approach_3_width_depth*.json of mcleish7/gemstone-scaling-laws."""
    path = GEMSTONES / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the Gemstones tables are not in ../shared/data")
    runs = pd.read_json(path, lines=True, precise_float=True)
    at = runs.rename(columns={"params_active_precise": "N", "tokens": "D", "final_loss": "loss"})
    found = solve(law, at, delta=delta, bootstrap=0, seed=0)
    assert found.objective <= stored + 5e-11  # stored to ten decimals
    assert found.certificate["gradient_norm"] < 1e-8
    # Width, depth and data alone leave no floor, here and there: their e^-155 and e^-4555 are zeros.
    if law.name == "width_depth_data":
        assert found.params["E"] == 0
        assert found.certificate["bounds_hit"] == ["E"]
