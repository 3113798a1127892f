"""What planned runs would tell, by simulation: against closed forms; and where it says that they do not."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import grid as planted

from analysis.designing.recovery import recover
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanN

PUBLISHED = {
    "E": 1.69,
    "A": 406.4,
    "B": 410.7,
    "alpha": 0.34,
    "beta": 0.28,
}  # Hoffmann et al. 2022, appendix D
KAPLAN = {"N_c": 8.8e13, "alpha_N": 0.076}  # Kaplan et al. 2020, eq. 1.1
LEAST_SQUARES: dict[str, Any] = {"delta": 1e-3, "criterion": "mse", "bootstrap": 0}
ROBUST: dict[str, Any] = {"delta": 1e-3, "bootstrap": 0}
PLAIN: dict[str, Any] = {"cluster_scale": 0.0, "budgets": [], "points": None, "flops": 6, "seed": 0}


def test_recovery_gives_the_closed_form_of_a_straight_line():
    """Slope of log L in log N by least squares, errors shared within a size: variance
    (cluster_scale^2 + scale^2 / 3) / sum of squares, and of a forecast what the textbook says."""
    N = np.geomspace(1e6, 1e9, 6)
    plan = pd.DataFrame({"N": np.repeat(N, 3), "run": np.repeat(list("abcdef"), 3)})
    point = pd.DataFrame({"N": [1e11]})
    knobs = PLAIN | LEAST_SQUARES | {"points": point, "cluster_scale": 0.02}
    found = recover(KaplanN(), KAPLAN, plan, scale=0.01, tables=4000, check=3, cluster="run", **knobs)
    x = np.log(N) - np.log(N).mean()
    variance = 0.02**2 + 0.01**2 / 3
    slope = found.spread["alpha_N"]
    assert slope["sd"] == pytest.approx(math.sqrt(variance / (x**2).sum()), rel=0.04)  # known to 1.1 %
    assert abs(slope["bias"]) < 4 * slope["sd"] / math.sqrt(4000)
    assert found.trouble == {"not converged": 0, "at a bound": 0}
    assert found.checked["verdicts"] == {"converged": 3}
    assert math.isnan(found.checked["better"])  # kaplan_N is fitted to the best run of each size
    assert found.status == "recovered"
    assert found.forecast is not None
    row = found.forecast.iloc[0]
    far = math.log(1e11) - np.log(N).mean()
    mean = math.sqrt(variance * (1 / 6 + far**2 / (x**2).sum()))
    new = math.hypot(mean, 0.01, 0.02)
    assert row.loss == pytest.approx((8.8e13 / 1e11) ** 0.076)
    assert math.log(row.hi95 / row.lo95) == pytest.approx(2 * 1.96 * mean, rel=0.06)
    assert math.log(row.run_hi95 / row.run_lo95) == pytest.approx(2 * 1.96 * new, rel=0.06)


def test_recovery_counts_what_goes_wrong_and_what_intervals_hold():
    plan = pd.DataFrame(planted(4, 4))[["N", "D"]]
    knobs = PLAIN | {"delta": 1e-3, "budgets": [1e17]}
    good = recover(Chinchilla(), PUBLISHED, plan, scale=0.002, tables=50, check=12, **knobs, bootstrap=60)
    assert good.checked["coverage"].keys() == good.spread.keys() >= {"a", "alpha", "N_opt at C = 1e+17"}
    assert 0.75 <= good.checked["coverage"]["a"] <= 1
    assert good.checked["better"] == 0
    bad = recover(Chinchilla(), PUBLISHED, plan, scale=0.05, tables=200, check=4, **knobs, bootstrap=0)
    assert sum(bad.checked["verdicts"].values()) == 4
    assert bad.trouble["at a bound"] > 0.3
    assert "at a bound" in bad.status
    assert bad.checked["coverage"] == {}
    low, truth, high = (bad.spread["E"][key] for key in ("lo95", "truth", "hi95"))
    assert low == 0 < truth < high
    json.dumps(bad.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {"E": 1.0}}, "params: chinchilla takes E, A, B, alpha, beta, not E"),
        ({"params": PUBLISHED | {"E": math.nan}}, "E is not a finite number"),
        ({"scale": 0.0}, "scale is positive"),
        ({"cluster_scale": 0.1}, "cluster has to name"),
        ({"runs": pd.DataFrame({"N": [1e6] * 9})}, "column D"),
        ({"runs": pd.DataFrame({"N": [1e6, 1e7], "D": [1e6, 1e7]})}, "2 rows for the 5 parameters"),
    ],
)
def test_plans_that_cannot_be_simulated(change, message):
    plan = pd.DataFrame(planted(4, 4))[["N", "D"]]
    asked = {"law": Chinchilla(), "params": PUBLISHED, "runs": plan, "scale": 0.01, "tables": 10, "check": 0}
    with pytest.raises(ValueError, match=message):
        recover(**asked | PLAIN | ROBUST | change)
