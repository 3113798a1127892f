"""Studies that choose their own runs: the decisions, the loop, and what a kill leaves."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
from commands import TINY, book, start  # noqa: F401 (a fixture)
from planted import TRUE

from analysis import fits
from analysis.api import DEFAULTS
from analysis.designing.adaptive import Goal, decide, spread
from analysis.laws.chinchilla import Chinchilla
from bench import adaptive as bench
from scalelaw.run import records

LAW = Chinchilla()
FIT = dict(DEFAULTS) | {"bootstrap": 50, "profile": False}
KNOBS = {"first": 8, "batch": 4, "repeats": 3, "draws": 20, "fit": FIT}
UNTIL = {"widths": {"alpha": 0.02, "beta": 0.02}, "C": None, "flops": 1e18, "rounds": 50, "least": 16}


def goal(**changes):
    return Goal(LAW, **(UNTIL | changes))


def pool():
    N, C = (v.ravel() for v in np.meshgrid(np.geomspace(1e5, 3e6, 6), np.geomspace(1e13, 1e15, 5)))
    return pd.DataFrame({"N": N, "D": C / 6 / N, "C": C})


def measured(rows, noise=0.003, seed=0):
    points = pool().iloc[rows].reset_index(drop=True)
    scatter = np.exp(np.random.default_rng(seed).normal(0, noise, len(points)))
    return points.assign(loss=LAW.predict(TRUE, points) * scatter).set_axis(range(1, len(points) + 1))


def studied(until, **changes):
    """The rows run, in order, and the last decision."""
    knobs, rows = KNOBS | changes, []
    for number in range(200):
        taken = np.bincount(rows, minlength=len(pool()))
        decision = decide(measured(rows), pool(), taken, until, round=number, **knobs)
        if not decision.chosen:
            return rows, decision
        rows = rows + decision.chosen
    raise AssertionError


def test_the_first_round_is_cheap_and_spread():
    chosen = spread(pool(), np.zeros(30, dtype=int), 8, 1e18)
    its = pool().iloc[chosen]
    assert len(set(chosen)) == 8
    assert its.C.iloc[0] == pool().C.min()
    assert its.C.max() <= 1.01e14  # the middle of the budgets
    assert its.N.max() / its.N.min() == pytest.approx(30)
    assert pool().iloc[spread(pool(), np.zeros(30, dtype=int), 8, 5e13)].C.sum() <= 5e13


def test_it_stops_when_both_intervals_are_narrow_and_says_so():
    rows, last = studied(goal())
    assert last.why == "every interval is as narrow as asked: alpha, beta"
    for name in ("alpha", "beta"):
        low, high = last.intervals[name]["interval"]
        assert high - low == last.intervals[name]["width"] <= 0.02
    assert last.runs == len(rows) >= 16
    assert max(np.bincount(rows)) <= 3
    assert last.flops == pytest.approx(pool().C.iloc[rows].sum())
    assert last.flops < 0.5 * pool().C.sum()


def test_without_a_fit_it_goes_on_to_points_never_run_and_then_gives_up():
    """Three losses for five parameters; then a pool run through."""
    rows = [0, 1, 5]
    taken = np.bincount(rows, minlength=30)
    decision = decide(measured(rows), pool(), taken, goal(), round=1, **KNOBS)
    assert decision.fit["status"].startswith("not fitted")
    assert len(set(decision.chosen)) == 4
    assert not set(decision.chosen) & set(rows)
    through = decide(measured(rows), pool(), np.ones(30, dtype=int), goal(), round=1, **KNOBS)
    assert (through.chosen, through.why[:22]) == ([], "no fit to choose by, a")
    with pytest.raises(ValueError, match=r"choose\.batch=0: has to be a whole number of at least 1"):
        decide(measured(rows), pool(), taken, goal(), round=1, **KNOBS | {"batch": 0})


def test_a_doubtful_fit_is_not_believed_however_narrow():
    """Four points cannot tell five parameters, however often they are run."""
    rows = [0, 2, 5, 12] * 6
    runs = measured(rows)
    asked = goal(widths={"alpha": 100.0})
    fitted = fits.fit(runs, LAW, **FIT)
    assert fitted.n >= asked.least
    assert fits.verdict(fitted) != fits.CONVERGED
    assert asked.wide(fitted) == ["alpha"]


def test_the_same_runs_give_the_same_decision():
    rows = [0, 2, 5, 7, 12, 15, 20, 29]
    once, again = (
        decide(measured(rows), pool(), np.bincount(rows, minlength=30), goal(), round=1, **KNOBS)
        for _ in "ab"
    )
    assert once == again
    assert len(once.chosen) == 4


def test_too_few_runs_are_never_believed():
    wide = {"widths": {"alpha": 9, "beta": 9}}
    assert len(studied(goal(**wide))[0]) == 16
    assert len(studied(goal(**wide, least=24))[0]) == 24


def test_only_targets_still_too_wide_are_asked_about():
    runs = list(range(30))
    asked = goal(widths={"alpha": 1e-6, "beta": 9})
    decision = decide(measured(runs), pool(), np.ones(30, dtype=int), asked, round=1, **KNOBS)
    assert decision.why == "most told per FLOP of alpha"


@pytest.mark.parametrize(
    ("changes", "knobs", "why"),
    [
        ({"flops": 3e14}, {}, r"of until\.flops=3e\+14 are left, less than the"),
        ({"rounds": 2}, {}, r"until\.rounds=2 are done, and alpha, beta not known as well as asked"),
        (
            {"widths": {"alpha": 1e-9}},
            {"repeats": 1},
            "every point was run as often as it may be, and alpha not",
        ),
    ],
)
def test_it_stops_at_every_limit_and_names_it(changes, knobs, why):
    rows, last = studied(goal(**changes), **knobs)
    assert why.replace("\\", "") in last.why
    assert pool().C.iloc[rows].sum() <= changes.get("flops", np.inf)


def test_the_best_size_is_known_by_the_ratio_of_its_ends():
    _, last = studied(goal(widths={"N_opt": 1.5}, C=1e15))
    low, high = last.intervals["N_opt"]["interval"]
    assert last.intervals["N_opt"]["width"] == pytest.approx(high / low)
    assert high / low <= 1.5
    trade = LAW.tradeoff(TRUE)
    assert low < trade.optimum(np.asarray(1e15 / 6))[0] < high


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"widths": {"gamma": 1}}, r"until\.widths\.gamma: target=gamma: chinchilla has E, A, B"),
        ({"widths": {}}, r"until\.widths: name at least one target"),
        ({"widths": {"alpha": 0}}, r"until\.widths\.alpha=0: has to be a number above 0"),
        ({"widths": {"N_opt": 1}, "C": 1e9}, r"until\.widths\.N_opt=1: has to be a number above 1"),
        ({"widths": {"N_opt": 2}}, r"until\.widths\.N_opt: needs until\.C"),
        ({"least": 0}, r"until\.least=0: has to be a positive number"),
        ({"flops": "much"}, r"until\.flops=much: has to be a positive number"),
    ],
)
def test_a_goal_that_cannot_be_meant_names_its_key(changes, told):
    with pytest.raises(ValueError, match=told):
        goal(**changes)


# The loop, with real runs of a fraction of a second.
STUDY = [
    "-m",
    "study=adaptive",
    "data=text",
    *[word for word in TINY if not word.startswith(("budget", "shape"))],
]
STUDY += ["study.axes=[{isoflop:{budgets:[2e7,4e7,8e7],rungs:[1,2,3]}}]", "study.fit.bootstrap=50"]
STUDY += ["study.until.flops=1.5e9", "study.until.rounds=2", "study.choose.first=7"]


def adaptive(cwd, *arguments):
    cwd.mkdir(exist_ok=True)
    process = start("experiments.train", *STUDY, *arguments, cwd=cwd)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def decisions(cwd):
    return json.loads((cwd / "outputs" / "adaptive" / "decisions.json").read_text())


def table(cwd):
    return [run.row() for _, run in records(cwd / "outputs")]


@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_points_and_a_longer_one_from_its_end(tmp_path, book):  # noqa: F811
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, output = adaptive(whole, book)
    assert code == 0, output
    told = decisions(whole)
    assert [len(entry["chosen"]) for entry in told["rounds"]] == [7, 4, 0]
    assert told["stopped"] == told["rounds"][-1]["why"]
    assert told["stopped"].startswith("until.rounds=2 are done")
    assert f"end: {told['stopped']}" in output
    named = {run["point"].replace("-s0-", f"-s{run['seed']}-").rsplit("-", 1)[0]
             for entry in told["rounds"] for run in entry["chosen"]}  # fmt: skip
    assert named == {row["name"].rsplit("-", 1)[0] for row in table(whole)}
    assert len(table(whole)) == 11
    planned = {run["point"]: (run["N"], run["D"], run["C"]) for run in told["rounds"][0]["chosen"]}
    ran = {row["name"]: (row["N"], row["D"], row["C"]) for row in table(whole)}
    assert planned.items() <= ran.items()

    cut.mkdir()
    process = start("experiments.train", *STUDY, book, cwd=cut)
    for line in process.stdout:
        if line.startswith("round 1"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    code, output = adaptive(cut, book)
    assert code == 0, output
    assert "7 runs, 7 of them finished before" in output
    assert table(cut) == table(whole)
    assert decisions(cut)["rounds"] == told["rounds"]

    code, output = adaptive(cut, book, "study.until.rounds=3")
    assert code == 0, output
    assert decisions(cut)["rounds"][:2] == told["rounds"][:2]
    assert len(table(cut)) == 15

    code, output = adaptive(cut, book, "rows=4")
    assert code == 1
    assert "which this study does not have: it is of another one; give this one its own study.name" in output


@pytest.mark.slow
def test_an_adaptive_study_costs_less_than_half_of_a_grid():
    """The published figure is `python -m bench.adaptive`'s, of 200 studies; here six."""
    ratios = []
    for seed in range(6):
        adaptive, grid = (bench.one((kind, seed, 0.1, 9, 4)) for kind in ("adaptive", "grid"))
        assert adaptive["reached"]
        assert grid["reached"]
        ratios.append(adaptive["flops"] / grid["flops"])
    assert np.median(ratios) < 0.5


def test_the_grid_it_is_held_against_grows_evenly():
    points = bench.points(bench.BUDGETS)
    rows = [row for _, row in zip(range(7), bench.grid(points), strict=False)]
    assert all(sorted(points.C.iloc[row]) == sorted(bench.BUDGETS) for row in rows)
    first = points.iloc[[*rows[0], *rows[1], *rows[2]]]
    spans = first.groupby("C").N.agg(lambda N: N.max() / N.min())
    assert spans.min() > 8  # the ends of the band come first, then its middle
    middle = points.iloc[rows[2]]
    D_over_N = (middle.D / middle.N).to_numpy()
    assert (D_over_N > 5).all()
    assert (D_over_N < 60).all()
