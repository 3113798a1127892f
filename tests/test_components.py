"""What is common to a run and what is each row's own: planted variances recovered."""

import numpy as np
import pytest

from analysis.laws.kaplan import KaplanN
from analysis.solver.components import components
from analysis.solver.criteria import criterion
from analysis.solver.problem import Problem
from analysis.solver.resample import residual
from analysis.solver.solve import solve

COMMON, OWN = 0.012, 0.005  # standard deviations of log loss
LAW = KaplanN()


def table(seed: int, runs: int, each: int, common: float = COMMON) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    run = np.repeat(np.arange(runs), each)
    N = np.exp(random.uniform(14, 21, runs))[run] * np.tile(np.linspace(1, 1.5, each), runs)
    r = common * random.standard_normal(runs)[run] + OWN * random.standard_normal(runs * each)
    return {"N": N, "run": run, "loss": (8.8e13 / N) ** 0.076 * np.exp(r)}


def fitted(given: dict[str, np.ndarray], delta: float = 1e-3):
    problem = Problem.of(LAW, given, criterion("huber_log", delta), cluster="run")
    fit = solve(LAW, given, delta=delta, bootstrap=0, seed=0, cluster="run")
    theta = problem.centred(LAW.vector(fit.params))
    return problem, theta, problem.y - LAW.log_loss(theta[None], problem.x)[0][0]


@pytest.mark.parametrize("common", [COMMON, 0.0])
def test_planted_variances_are_recovered(common):
    """A thousand runs of three rows: the sampling error of either variance is below 5 %."""
    found = components(*fitted(table(0, 1000, 3, common)))
    assert found.own == pytest.approx(OWN**2, rel=0.08)
    assert found.common == pytest.approx(common**2, rel=0.13, abs=0.05 * OWN**2)


def test_variances_of_few_runs_are_right_on_average():
    """Twelve runs of two rows, near least absolute deviations: the fit's own error is not counted as scatter,
    which would make `own` about 10 % too large (the fit passes through two of the rows)."""
    found = [components(*fitted(table(seed, 12, 2))) for seed in range(300)]
    assert np.mean([one.own for one in found]) == pytest.approx(OWN**2, rel=0.08)
    assert np.mean([one.common for one in found]) == pytest.approx(COMMON**2, rel=0.1)


def test_draws_have_the_variance_they_stand_for():
    """The slope's standard error is that of least squares with the planted components, in closed form."""
    given = table(1, 300, 3)
    problem, theta, residuals = fitted(given, delta=10.0)  # delta above all residuals: least squares
    drawn = problem.published(residual(problem, theta, residuals, 2000, 0).theta)
    X = np.stack([np.ones(900), np.log(given["N"])], axis=1)
    same = given["run"][:, None] == given["run"]
    half = np.linalg.inv(X.T @ X) @ X.T
    exact = np.sqrt((half @ (COMMON**2 * same + OWN**2 * np.eye(900)) @ half.T)[1, 1])
    assert drawn[:, LAW.names.index("alpha_N")].std() == pytest.approx(exact, rel=0.1)


def test_rows_that_are_runs_of_their_own_have_no_common_part():
    found = components(*fitted(table(2, 40, 1)))
    assert found.common == 0
    assert found.own == pytest.approx(COMMON**2 + OWN**2, rel=0.5)
