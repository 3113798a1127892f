"""Which runs to do next, and what planned ones would tell: against closed forms, brute force, simulation."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import call
from planted import grid as planted

from analysis import fits
from analysis.designing import candidates
from analysis.designing.designs import design
from analysis.designing.fisher import inefficiency
from analysis.designing.recovery import recover
from analysis.designing.search import Choice
from analysis.designing.targets import Target
from analysis.law import Fit
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanN
from analysis.solver.criteria import Huber, Squares
from experiments.design import main as door

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
WISH: dict[str, Any] = {"at": {}, "count": 10, "replicates": 10, "draws": 0, "flops": 6}
PLAIN: dict[str, Any] = {"cluster_scale": 0.0, "budgets": [], "points": None, "flops": 6, "seed": 0}


def table(**columns) -> pd.DataFrame:
    out = pd.DataFrame(columns)
    return out.assign(C=6 * out.N * out.D).set_axis(pd.RangeIndex(1, len(out) + 1))


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return table(**planted(5, 4, noise=0.005))


@pytest.fixture(scope="module")
def fit(runs: pd.DataFrame) -> Fit:
    return fits.fit(runs, Chinchilla(), delta=1e-3, bootstrap=100, seed=0)


@pytest.fixture(scope="module")
def able() -> pd.DataFrame:
    sizes, tokens = np.geomspace(1e5, 3e6, 15), np.geomspace(1e6, 3e7, 15)
    return candidates.grid(sizes, tokens, flops=6, per_run=1e16)


def kaplan_runs(n: int) -> pd.DataFrame:
    N = np.geomspace(1e6, 1e9, n)
    noise = np.random.default_rng(0).normal(0, 0.01, n)
    return table(N=N, D=np.full(n, 1e9), loss=KaplanN().predict(KAPLAN, {"N": N}) * np.exp(noise))


def test_the_best_runs_for_a_slope_lie_at_both_ends():
    """log L is linear in log N: the c-optimal design is half the runs at each end (Elfving 1952)."""
    known = kaplan_runs(8)
    fit = fits.fit(known, KaplanN(), **LEAST_SQUARES, seed=0)
    N = np.geomspace(1e6, 1e9, 31)
    equal = pd.DataFrame({"N": N, "C": 1.0})
    alone = design(fit, None, equal, flops_budget=10, target="alpha_N", **WISH)
    assert sorted(alone.runs.N) == [N[0]] * 5 + [N[-1]] * 5
    half = math.log(N[-1] / N[0]) / 2
    assert alone.sd_before is None
    assert alone.sd_after == pytest.approx(fit.scale / (math.sqrt(10) * half), rel=1e-9)
    # With the runs there are: their sum of squares counts too, and the new runs still lie at the ends.
    more = design(fit, known, equal, flops_budget=10, target="alpha_N", **WISH)
    x = np.log(known.N) - np.log(known.N).mean()
    squares = float((x**2).sum())
    assert more.sd_before == pytest.approx(fit.scale / math.sqrt(squares), rel=1e-9)
    assert more.sd_after == pytest.approx(fit.scale / math.sqrt(squares + 10 * half**2), rel=1e-9)
    assert set(more.runs.N) == {N[0], N[-1]}


def test_cheap_runs_are_preferred_until_they_cost_more_than_they_tell():
    """Slope with cost x at the upper end: Elfving's weights, shares of the budget as sqrt(cost)."""
    fit = fits.fit(kaplan_runs(8), KaplanN(), **LEAST_SQUARES, seed=0)
    ends = pd.DataFrame({"N": [1e6, 1e9], "C": [1.0, 9.0]})
    wish = WISH | {"count": 400, "replicates": 400}
    found = design(fit, None, ends, flops_budget=400, target="alpha_N", **wish)
    # Variance 1/n1 + 1/n2 at n1 + 9 n2 = 400: n1 = 3 n2, so 100 and 33.
    assert found.runs.N.value_counts().to_dict() == {1e6: 103, 1e9: 33}


def test_efficiency_of_robust_criteria():
    assert inefficiency(Squares(), 0.02) == pytest.approx(1, abs=1e-9)
    assert inefficiency(Huber(1.345 * 0.02), 0.02) == pytest.approx(1 / 0.95, rel=1e-4)  # Huber 1981
    assert inefficiency(Huber(1e-6), 0.02) == pytest.approx(math.pi / 2, rel=1e-3)


def test_search_finds_the_best_of_all_designs_or_one_hardly_worse():
    """Ten choices without any structure, that leave a greedy search nothing to go by."""
    rng, ratios = np.random.default_rng(3), []
    for _ in range(10):
        gradients, target, cost = rng.normal(size=(1, 12, 3)), rng.normal(size=(1, 3)), rng.uniform(1, 3, 12)
        choice = Choice(0.1 * np.eye(3)[None], gradients, target, cost)
        found = choice.best(budget=8.0, count=4, replicates=2)
        assert found @ cost <= 8.0
        assert found.sum() <= 4
        assert found.max() <= 2
        every = (
            np.bincount(picked, minlength=12)
            for k in range(1, 5)
            for picked in itertools.combinations_with_replacement(range(12), k)
        )
        best = min(float(choice.variance(n)[0]) for n in every if n @ cost <= 8.0 and n.max() <= 2)
        ratios.append(float(choice.variance(found)[0]) / best)
    assert np.median(ratios) == pytest.approx(1, abs=1e-12)
    assert max(ratios) < 1.25


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("alpha", {}),
        ("A", {}),
        ("a", {}),
        ("b", {}),
        ("N_opt", {"C": 1e21}),
        ("D_opt", {"C": 1e21}),
        ("loss", {"N": 1e9, "D": 2e10}),
    ],
)
def test_targets_are_what_they_say_and_so_are_their_gradients(name, at):
    law = Chinchilla()
    params = law.vector(PUBLISHED)
    goal = Target(law, name, at, 6)
    G = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62)
    said = {
        "alpha": 0.34,
        "A": 406.4,
        "a": 0.28 / 0.62,
        "b": 0.34 / 0.62,
        "N_opt": math.log(G * (1e21 / 6) ** (0.28 / 0.62)),  # Hoffmann et al. 2022, eq. 4
        "D_opt": math.log((1e21 / 6) ** (0.34 / 0.62) / G),
        "loss": math.log(1.69 + 406.4 / 1e9**0.34 + 410.7 / 2e10**0.28),
    }
    assert goal.value(params[None])[0] == pytest.approx(said[name], rel=1e-12)
    x_unit = np.log([1e8, 1e9])
    theta = law.rescale(law.working(params[None]), x_unit, 0.0)
    step = 1e-6 * np.eye(5)
    moved = [goal.value(law.published(law.rescale(theta + way * step, -x_unit, 0.0))) for way in (1, -1)]
    slopes = (moved[0] - moved[1]) / 2e-6
    np.testing.assert_allclose(
        goal.gradient(theta, x_unit)[0], slopes, rtol=1e-5, atol=1e-6 * abs(slopes).max()
    )


@pytest.mark.parametrize(("target", "at"), [("a", {}), ("N_opt", {"C": 1e17})])
def test_what_a_design_promises_happens_and_naive_ones_do_worse(fit, runs, able, target, at):
    wish = WISH | {"at": at, "count": 20, "replicates": 3, "draws": 20}
    found = design(fit, runs, able, flops_budget=float(runs.C.sum()), target=target, **wish)
    assert found.flops <= found.flops_budget
    assert found.runs.groupby(["N", "D"]).size().max() <= 3
    assert found.over_draws["used"] == 20

    def simulated(*parts: pd.DataFrame) -> float:
        plan = pd.concat(parts)[["N", "D"]].reset_index(drop=True)
        drawn = recover(
            Chinchilla(), fit.params, plan, scale=fit.scale, tables=1000, check=0, **PLAIN, **ROBUST
        )
        return float(Target(fit.law, target, at, 6).value(drawn.samples).std(ddof=1))

    before, after = simulated(runs), simulated(runs, found.runs)
    # 1,000 tables know an sd to 2.2 %, and the linearised law is true to about 1 % at this noise.
    assert before == pytest.approx(found.sd_before, rel=0.08)
    assert after == pytest.approx(found.sd_after, rel=0.08)
    for name, least in {"IsoFLOP": 1.2, "20 tokens a parameter": 1.5}.items():
        rows = found.naive[name]["runs"]
        assert len(rows) == 20
        assert found.naive[name]["flops"] <= 1.001 * found.flops_budget
        assert simulated(runs, rows) > least * after
        assert found.naive[name]["sd_after"] > least * found.sd_after


def test_the_loss_at_a_compute_optimum_is_that_at_the_fitted_one(fit, runs, able):
    wish = WISH | {"count": 3, "flops_budget": 1e15, "target": "loss"}
    at_C = design(fit, runs, able, **wish | {"at": {"C": 1e17}})
    best = fit.optimum(1e17)
    at_point = design(fit, runs, able, **wish | {"at": {"N": best["N_opt"], "D": best["D_opt"]}})
    assert at_C.value == pytest.approx(math.log(best["loss"]), rel=1e-12)
    pd.testing.assert_frame_equal(at_C.runs, at_point.runs)


def test_runs_in_one_ratio_leave_the_exponent_open_until_others_are_run(able):
    """With D = 20 N in every run only the sum of the two terms is seen; the first runs off the line tell."""
    N = np.geomspace(1e5, 3e6, 12)
    law = Chinchilla()
    line = {"N": N, "D": 20 * N}
    noise = np.exp(np.random.default_rng(0).normal(0, 0.003, 12))
    same = law.vector(PUBLISHED | {"beta": 0.34})
    runs = table(**line, loss=law.predict(same, line) * noise)
    whole = fits.fit(table(**planted(5, 4, noise=0.003, true=same)), law, delta=1e-3, bootstrap=0, seed=0)
    at_truth = Fit(
        **whole.__dict__ | {"params": dict(zip(law.names, same, strict=True)), "used": [], "n": 12}
    )
    found = design(at_truth, runs, able, flops_budget=1e15, target="a", **WISH)
    assert found.sd_before is None
    assert found.sd_after is not None
    assert np.isnan(found.runs.sd_before[0])
    json.dumps(found.to_json(), allow_nan=False)


def test_what_is_held_fixed_needs_no_runs_and_makes_the_rest_surer(runs, able, fit):
    held = fits.fit(runs, Chinchilla(), **ROBUST, seed=0, fixed={"E": fit.params["E"]})
    wish = WISH | {"flops_budget": 1e15, "count": 2}
    assert held.params["alpha"] == pytest.approx(fit.params["alpha"], rel=1e-6)
    free, less = (design(one, runs, able, target="alpha", **wish).sd_before for one in (fit, held))
    assert less is not None
    assert free is not None
    assert less < 0.85 * free
    with pytest.raises(ValueError, match="target=E: held fixed"):
        design(held, runs, able, target="E", **wish)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flops_budget": 1.0}, "buys none"),
        ({"flops_budget": -1.0}, "flops_budget=-1.0"),
        ({"target": "gamma"}, "target=gamma: chinchilla has E, A, B"),
        ({"target": "N_opt"}, "positive at.C"),
        ({"target": "loss", "at": {"N": 1e9}}, "positive at.D"),
        ({"count": 0}, "count=0"),
    ],
)
def test_wishes_that_cannot_be_met(fit, runs, able, change, message):
    with pytest.raises(ValueError, match=message):
        design(fit, runs, able, **WISH | {"flops_budget": 1e15, "target": "a"} | change)


def test_another_table_than_the_fitted_one_is_refused(fit, runs, able):
    with pytest.raises(ValueError, match="not its table"):
        design(fit, runs.iloc[1:], able, flops_budget=1e15, target="a", **WISH)


def test_the_door_designs_and_simulates(tmp_path, monkeypatch, runs, capsys):
    runs.rename(columns={"N": "size"}).to_csv(tmp_path / "runs.csv", index=False)
    words = [
        f"table={tmp_path / 'runs.csv'}",
        "columns.N=size",
        "fit.bootstrap=30",
        f"hydra.run.dir={tmp_path}",
    ]
    assert call(door, monkeypatch, *words, "flops_budget=1e15", "candidates.points=8", "count=3") == 0
    result = json.loads((tmp_path / "design.json").read_text())
    assert len(result["runs"]) == 3
    assert result["sd_after"] < result["sd_before"]
    assert result["status"] == "designed"
    assert all(runs.N.min() * 0.999 <= row["N"] <= runs.N.max() * 1.001 for row in result["runs"])
    (tmp_path / "plan.csv").write_text(
        "N,D\n" + "\n".join(f"{row['N']},{row['D']}" for row in result["runs"] * 3)
    )
    simulate = [f"simulate={tmp_path / 'plan.csv'}", "tables=50", "check=1"]
    assert call(door, monkeypatch, *words, *simulate) == 0
    drawn = json.loads((tmp_path / "recovery.json").read_text())
    assert drawn["n"] == 9
    assert drawn["provenance"]["settings"]["tables"] == 50
    assert "50 tables fitted from the truth" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flops_budget=1e15"], "table: give the runs so far"),
        (["table={runs}"], "flops_budget: say how many FLOPs"),
        (["table={runs}", "flops_budget=1"], "no candidate costs 1 FLOPs or less"),
        (["table={runs}", "flops_budget=1e15", "candidates.N=[0,1]"], "candidates.N=[0, 1]: every number"),
        (["table={runs}", "flops_budget=1e15", "target=gamma"], "target=gamma"),
        (["simulate={runs}", "scale=0.01", "params={E: 1}"], "params: chinchilla takes E, A, B, alpha, beta"),
    ],
)
def test_mistakes_at_the_door_are_one_line(tmp_path, monkeypatch, capsys, runs, words, said):
    runs.to_csv(tmp_path / "runs.csv", index=False)
    given = [word.replace("{runs}", str(tmp_path / "runs.csv")) for word in words]
    assert call(door, monkeypatch, *given, "fit.bootstrap=0", f"hydra.run.dir={tmp_path / 'out'}") == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
