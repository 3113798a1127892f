"""What is made small: derivatives are derivatives, and every minimum is what another solver finds."""

import numpy as np
import pytest
from planted import TRUE, grid
from scipy import optimize, stats

from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanN
from analysis.solver.criteria import Absolute, Huber, Squares, StudentT, criterion
from analysis.solver.solve import solve

LAW = Chinchilla()
NAMES = ("huber_log", "huber_raw", "lad", "lad_raw", "mse", "mse_raw", "student_t")


def noisy(seed: int = 0, rows: int = 60) -> dict[str, np.ndarray]:
    table = grid(rows // 5, 5)
    scatter = np.random.default_rng(seed).standard_t(3, rows) * 0.004
    return table | {"loss": table["loss"] * np.exp(scatter)}


@pytest.mark.parametrize("rho", [Huber(0.01), Squares(), Absolute(1e-3), StudentT(4.0, 0.02)], ids=repr)
def test_slope_stiffness_and_weight_belong_to_the_value(rho):
    r = np.array([-0.3, -0.02, -0.0042, 0.0003, 0.0051, 0.017, 0.4])
    step = 1e-7
    np.testing.assert_allclose(
        rho.slope(r), (rho.value(r + step) - rho.value(r - step)) / (2 * step), rtol=1e-6
    )
    np.testing.assert_allclose(
        rho.stiffness(r), (rho.slope(r + step) - rho.slope(r - step)) / (2 * step), rtol=1e-5, atol=1e-9
    )
    np.testing.assert_allclose(rho.weight(r) * r, rho.slope(r), rtol=1e-12)


def objective(name: str, params: np.ndarray, table: dict[str, np.ndarray]) -> float:
    """Written out apart from the solver: E, log A, log B, alpha, beta."""
    E, a, b, alpha, beta = params
    L = E + np.exp(a) * table["N"] ** -alpha + np.exp(b) * table["D"] ** -beta
    r = table["loss"] - L if name.endswith("raw") else np.log(table["loss"]) - np.log(L)
    if name.startswith("huber"):
        return float(np.where(np.abs(r) < 1e-3, r**2 / 2, 1e-3 * (np.abs(r) - 5e-4)).sum())
    if name.startswith("lad"):
        return float(np.where(np.abs(r) < 1e-5, r**2 / 2e-5, np.abs(r) - 5e-6).sum())
    return float((r**2).sum() / 2)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "student_t"])
def test_no_other_solver_finds_less(name):
    table = noisy()
    fit = solve(LAW, table, criterion=name, delta=1e-3, bootstrap=0, seed=0)
    E, A, B, alpha, beta = fit.vector
    best = np.array([E, np.log(A), np.log(B), alpha, beta])
    assert fit.objective == pytest.approx(objective(name, best, table), rel=1e-9)
    assert fit.certificate["gradient_norm"] < 1e-8
    truth = np.array([TRUE[0], *np.log(TRUE[1:3]), *TRUE[3:]])
    for start in (truth, best + 1e-3, best * 1.05):
        found = optimize.minimize(
            lambda p: objective(name, p, table),
            start,
            method="Nelder-Mead",
            options={"maxiter": 3000, "maxfev": 3000, "xatol": 1e-12, "fatol": 1e-16},
        )
        assert found.fun >= fit.objective * (1 - 1e-9)


def test_least_squares_is_scipys():
    table = noisy()
    fit = solve(LAW, table, criterion="mse_raw", delta=1.0, bootstrap=0, seed=0)
    found = optimize.least_squares(
        lambda p: (
            (p[0] + np.exp(p[1] - p[3] * np.log(table["N"])) + np.exp(p[2] - p[4] * np.log(table["D"])))
            - table["loss"]
        ),
        [1.7, 6.0, 6.0, 0.34, 0.28],
        x_scale="jac",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    E, a, b, alpha, beta = found.x
    np.testing.assert_allclose(fit.vector, [E, np.exp(a), np.exp(b), alpha, beta], rtol=1e-5)
    assert fit.objective == pytest.approx(found.cost, rel=1e-10)


def test_least_absolute_deviations_is_the_linear_programme():
    """log L of KaplanN is a straight line in log N, and the line of least |r| goes through two points."""
    N = np.geomspace(1e6, 1e9, 25)
    y = 4.0 - 0.08 * np.log(N) + np.random.default_rng(1).standard_t(2, 25) * 0.01
    fit = solve(KaplanN(), {"N": N, "loss": np.exp(y)}, criterion="lad", delta=1.0, bootstrap=0, seed=0)
    X = np.stack([np.ones(25), np.log(N)], axis=1)
    found = optimize.linprog(
        np.concatenate([np.zeros(2), np.ones(50)]),
        A_eq=np.hstack([X, np.eye(25), -np.eye(25)]),
        b_eq=y,
        bounds=[(None, None)] * 2 + [(0, None)] * 50,
    )
    assert np.abs(fit.residuals).sum() == pytest.approx(found.fun, rel=1e-4)
    assert fit.params["alpha_N"] == pytest.approx(-found.x[1], rel=1e-3)


def test_student_t_is_the_maximum_of_its_likelihood_in_scale_too():
    N = np.geomspace(1e6, 1e9, 40)
    y = 4.0 - 0.08 * np.log(N) + np.random.default_rng(2).standard_t(3, 40) * 0.01
    fit = solve(KaplanN(), {"N": N, "loss": np.exp(y)}, criterion="student_t", delta=1.0, bootstrap=0, seed=0)

    def negative(p):
        return -stats.t.logpdf(y - p[0] + p[1] * np.log(N / 1e7), 4, scale=np.exp(p[2])).sum()

    found = optimize.minimize(negative, [2.7, 0.08, -4.6], method="BFGS", options={"gtol": 1e-8})
    assert fit.params["alpha_N"] == pytest.approx(found.x[1], rel=1e-5)
    assert fit.certificate["gradient_norm"] < 1e-8


def test_an_outlier_moves_the_robust_ones_least():
    table = grid(6, 5, noise=0.002)
    spoilt = table | {"loss": table["loss"] * np.where(np.arange(30) == 17, 1.3, 1.0)}
    moved = {}
    for name in ("student_t", "lad", "huber_log", "mse"):
        clean, dirty = (
            solve(LAW, t, criterion=name, delta=1e-3, bootstrap=0, seed=0).predict(table)
            for t in (table, spoilt)
        )
        moved[name] = float(np.abs(np.log(dirty / clean)).max())
    assert moved["student_t"] < moved["mse"] / 20
    assert max(moved["lad"], moved["huber_log"]) < moved["mse"] / 4


def test_an_unknown_criterion_is_told():
    with pytest.raises(ValueError, match=r"criterion='l2' is none of huber_log, huber_raw, lad"):
        criterion("l2", 1e-3)
    for delta in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="delta="):
            criterion("huber_log", delta)
