"""Capacity, onsets along training and grokking: what was planted in records is what is said of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import training

from analysis.mechanisms.along import along
from analysis.mechanisms.capacity import capacities
from analysis.mechanisms.grokking import comes_to_stay, grokking
from scalelaw.run import METRICS, Run

STEPS = np.unique(np.geomspace(10, 10_000, 30).round())


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Run:
    return training.run(tmp_path_factory.mktemp("one"))


# Bits a parameter


def stored(made: Run, sizes, *, density=2.0, power=1.0, whole=10_000.0, noise=0.0) -> list[Run]:
    rng, runs = np.random.default_rng(0), []
    for N in sizes:
        for seed in range(2):
            bits = density * N**power * np.exp(noise * rng.standard_normal())
            scores = {"fact_recall_2000": {"bits": min(bits, 0.98 * whole), "facts_bits": whole}}
            runs.append(
                replace(made, N_total=int(N), seed=seed, scores=scores, D=500_000, unique_tokens=5_000)
            )
    return runs


def test_a_planted_capacity_comes_back_from_the_sizes_that_were_full(made):
    [found] = capacities(stored(made, [500, 1000, 2000, 4000, 8000, 16000], noise=0.02))
    assert found.sizes == 4  # the larger ones hold all there is
    low, high = found.interval95
    assert low < 2 < high
    assert high - low < 0.2
    assert found.exponent[1] < 1 < found.exponent[2]
    assert found.exposures == (100, 100)
    assert "bits a parameter over 4 sizes, growing as N_total^" in found.said()
    assert json.loads(json.dumps(found.to_json()))["bits"] == found.bits


def test_bits_that_grow_slower_than_parameters_show_it(made):
    [found] = capacities(stored(made, [500, 1000, 2000, 4000], density=20, power=0.7, noise=0.01))
    assert found.exponent[0] == pytest.approx(0.7, abs=0.05)
    assert found.exponent[2] < 1


def test_models_that_held_all_say_only_a_lower_bound(made):
    [found] = capacities(stored(made, [16000, 32000]))
    assert found.bits is None
    assert found.at_least == pytest.approx(0.98 * 10_000 / 16_000)
    assert "capacity is not identified: 0 sizes had more to store than they held" in found.said()


def test_runs_without_facts_have_no_capacity(made):
    assert capacities([made, replace(made, scores={"hops_2": {"nll": 1.0}})]) == []


# Along training


def rows(train_at: float, held_out_at: float, level: float = 1.0) -> list[dict]:
    def rise(at):
        return level / (1 + (STEPS / at) ** -8.0)

    both = zip(STEPS, rise(train_at), rise(held_out_at), strict=True)
    return [{"step": s, "accuracy.train": a, "accuracy.validation": b} for s, a, b in both]


def test_a_planted_delay_lies_within_its_bounds():
    found = grokking(rows(100, 1500))
    low, high = found.delay
    assert found.verdict == "grokked"
    assert low < 15 < high
    assert high / low < 3
    assert grokking(rows(100, 105)).verdict in ("learnt together", "undecided")
    assert grokking(rows(100, 1e9)).verdict == "memorised"
    assert grokking(rows(100, 1500, level=0.5)).verdict == "not learnt"
    assert "never" in grokking(rows(100, 1e9)).said()


def test_evaluations_too_far_apart_leave_a_delay_undecided():
    few = [
        {"step": 10, "accuracy.train": 0.1, "accuracy.validation": 0.1},
        {"step": 1000, "accuracy.train": 1.0, "accuracy.validation": 1.0},
        {"step": 2000, "accuracy.train": 1.0, "accuracy.validation": 1.0},
    ]
    assert grokking(few).verdict == "undecided"
    assert grokking([{"step": 1, "loss": 2.0}]) is None


def test_an_accuracy_that_falls_again_has_not_come_to_stay():
    accuracy = [0.1, 0.95, 0.95, 0.2, 0.2, 0.95, 0.95]
    assert comes_to_stay([1, 2, 3, 4, 5, 6, 7], accuracy) == (5, 6)
    accuracy[3] = 0.95  # forgotten for one evaluation alone
    assert comes_to_stay([1, 2, 3, 4, 5, 6, 7], accuracy) == (1, 2)
    assert comes_to_stay([1, 2], [0.95, 0.99]) == (0, 1)
    assert comes_to_stay([1, 2], [0.95, 0.5]) is None


def test_the_rise_of_induction_is_found_between_the_evaluations_it_lies_between(made, tmp_path):
    rng = np.random.default_rng(0)
    jump = np.where(STEPS >= 600, 0.6, 0.02) + 0.005 * rng.standard_normal(len(STEPS))
    flat = 0.1 + 0.005 * rng.standard_normal(len(STEPS))
    told = [
        {"step": s, "induction.prefix_matching": a, "induction.copying": b}
        for s, a, b in zip(STEPS, jump, flat, strict=True)
    ]
    (tmp_path / METRICS).write_text("".join(json.dumps(row) + "\n" for row in told))
    [found] = along([(tmp_path, made)], seed=0)
    before, after = found.onsets["induction.prefix_matching"]
    assert before < 600 <= after
    assert after == STEPS[STEPS >= 600][0]
    assert found.onsets["induction.copying"] is None
    assert any("prefix_matching: leaves its floor between steps" in said for said in found.said())
    assert json.dumps(found.to_json())
    # Too few evaluations are said to be too few.
    (tmp_path / METRICS).write_text("".join(json.dumps(row) + "\n" for row in told[:4]))
    [found] = along([(tmp_path, made)], seed=0)
    assert "too few" in found.refused["induction.copying"]
