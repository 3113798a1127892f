"""Planted optima of the learning rate, rung by rung: found, said to be beyond, and told apart by a factor."""

import json

import numpy as np
import pytest
from commands import call
from grids import RATES, record

from analysis.tuning.optimum import Optimum, optimum
from analysis.tuning.transfer import Transfer, by_rung
from experiments.transfer import main as transfer


def bowl(best: float, rates=RATES) -> list[float]:
    return [2.0 + 0.1 * np.log(rate / best) ** 2 for rate in rates]


@pytest.mark.parametrize("best", [0.0021, 0.003, 0.004, 0.0075])
def test_a_planted_optimum_between_two_rates_is_found(best):
    shuffled = np.random.default_rng(0).permutation(5)
    found = optimum(np.array(RATES)[shuffled], np.array(bowl(best))[shuffled])
    assert found.status == "bracketed"
    assert found.value == pytest.approx(best, rel=1e-6)
    assert found.loss == pytest.approx(2.0, abs=1e-9)


@pytest.mark.parametrize(("best", "said", "rate"), [(1e-4, "lowest", 0.001), (1.0, "highest", 0.016)])
def test_an_optimum_outside_the_range_is_said_to_be(best, said, rate):
    found = optimum(RATES, bowl(best))
    assert (found.value, found.status) == (rate, f"at the {said} learning rate tried")
    assert found.beyond
    assert found.tried == (0.001, 0.016)


def test_beside_a_rate_that_diverged_there_is_no_parabola():
    found = optimum(RATES, [2.2, 2.1, 2.0, np.inf, np.inf])
    assert (found.value, found.status) == (0.004, "next to a learning rate that diverged")
    assert optimum(RATES, [2.2, 2.0, 2.1, np.inf, np.inf]).bracketed


def test_seeds_are_averaged_and_their_noise_is_that_of_the_vertex():
    """Of the intervals of the vertex 95 % hold the planted rate; the standard error is that of the draws."""
    rng, noise, best = np.random.default_rng(0), 0.004, 0.0037
    rates = np.tile(RATES, 3)
    draws = [
        optimum(rates, bowl(best, rates) * np.exp(noise * rng.standard_normal(15)), noise=noise)
        for _ in range(600)
    ]
    off = np.log([found.value / best for found in draws])
    stderr = np.array([found.stderr for found in draws])
    assert np.mean(np.abs(off) < 1.96 * stderr) == pytest.approx(0.95, abs=0.025)
    assert np.std(off) == pytest.approx(np.median(stderr), rel=0.1)


@pytest.mark.parametrize(
    ("rates", "losses"),
    [
        ([0.1, 0.2], [1, 2]),
        ([0.1, 0.1, 0.2], [1, 2, 3]),
        ([0, 0.1, 0.2], [1, 2, 3]),
        ([1, 2, 3], [1, 2, np.nan]),
        ([1, 2, 3], [np.inf] * 3),
    ],
)
def test_what_has_no_optimum_is_an_error(rates, losses):
    with pytest.raises(ValueError, match="learning rate"):
        optimum(rates, losses)


def runs(best: dict[int, float], *, rule="width_and_depth", noise=0.0, seeds=(0,), draw=0, **knobs):
    rng = np.random.default_rng(draw)
    return [
        record(
            rule=rule,
            width=width,
            rate=rate,
            loss=loss * np.exp(noise * rng.standard_normal()),
            seed=seed,
            **knobs,
        )
        for width, at in best.items()
        for rate, loss in zip(RATES, bowl(at), strict=True)
        for seed in seeds
    ]


def test_one_rate_for_all_costs_what_the_parabola_of_its_furthest_rung_says():
    """Optima a factor of 1.44 around 0.0036 cost 0.1 (log 1.2)^2 nats at that rate; unknown beside an end."""
    found = by_rung(runs({16: 0.003, 32: 0.0036, 48: 0.00432}))["causal_decoder"]["width_and_depth"]
    assert found.shared == pytest.approx(0.0036, rel=1e-6)
    assert found.cost == pytest.approx(0.1 * np.log(1.2) ** 2, rel=1e-6)
    assert "; one rate for all, 0.0036, costs 0.0033 nats" in found.verdict()
    beyond = by_rung(runs({16: 0.003, 32: 0.0036, 48: 1.0}))["causal_decoder"]["width_and_depth"]
    assert beyond.cost is None
    assert "costs" not in beyond.verdict()


def test_far_from_an_optimum_its_cost_is_what_was_measured():
    """By the parabola up to the best rate's neighbours, by straight lines between the rates tried beyond."""
    losses = [2.3, 2.1, 2.0, 2.1, 2.9]
    found = optimum(RATES, losses)
    a = 0.1 / np.log(2) ** 2
    assert found.curvature == pytest.approx(a)
    assert found.above(0.008) == pytest.approx(0.1)
    assert found.above(0.004 * 2**0.5) == pytest.approx(a * np.log(2**0.5) ** 2)
    assert found.above(0.008 * 2**0.5) == pytest.approx((0.1 + 0.9) / 2)
    assert found.above(0.001) == pytest.approx(0.3)
    assert found.above(0.0009) is None
    assert optimum(RATES, [2.3, 2.1, 2.0, 2.1, np.inf]).above(0.012) is None


def test_rungs_are_told_apart_and_the_factor_is_between_their_vertices():
    ours = runs({16: 0.004, 32: 0.0045, 48: 0.005})
    plain = runs({16: 0.006, 32: 0.003, 48: 0.002}, rule="none")
    broken = record(rule="none", width=16, rate=0.5, loss=None)
    found = by_rung([*ours, *plain, broken])["causal_decoder"]
    assert found["width_and_depth"].factor == pytest.approx(1.25)
    assert found["width_and_depth"].holds is True
    assert found["none"].factor == pytest.approx(3.0)
    assert found["none"].holds is False
    assert found["none"].optima[16].tried == (0.001, 0.5)
    said = "optima of widths 16, 32, 48 within a factor of 3.00: not within 1.5"
    assert found["none"].verdict() == f"{said}; one rate for all, 0.0035, costs 0.0381 nats"


def test_what_is_not_bracketed_does_not_hold_but_may_fail():
    near = by_rung(runs({16: 0.011, 32: 0.011, 48: 1.0}))["causal_decoder"]["width_and_depth"]
    assert near.factor == pytest.approx(0.016 / 0.011)
    assert near.holds is None
    assert near.verdict().endswith("not known, the best rate is not bracketed at width 48")
    far = by_rung(runs({16: 0.004, 32: 0.004, 48: 1.0}))["causal_decoder"]["width_and_depth"]
    assert far.holds is False
    assert "within a factor of at least 4.00: not within" in far.verdict()
    two = by_rung(runs({16: 0.004, 32: 0.004}))["causal_decoder"]["width_and_depth"]
    assert (two.holds, two.bracketed) == (None, True)
    diverged = Optimum(0.016, 2.0, "next to a learning rate that diverged", (0.001, 0.016))
    assert Transfer({**two.optima, 48: diverged}).holds is None


def test_seeds_of_a_study_give_the_factor_an_interval():
    found = by_rung(runs({16: 0.004, 32: 0.0045, 48: 0.005}, noise=0.002, seeds=(0, 1)))
    factor = found["causal_decoder"]["width_and_depth"]
    assert factor.freedom == 15
    low, high = factor.interval95
    assert low < 1.25 < high < 2
    assert f"within a factor of {factor.factor:.2f} [{low:.2f}, {high:.2f}]: within 1.5" in factor.verdict()


def test_noise_alone_is_no_factor():
    """Rungs of one optimum: in 19 of 20 studies the factor of the two furthest has 1 in its interval."""
    rng, noise, reach = np.random.default_rng(0), 0.0015, 0
    for _ in range(400):
        losses = np.array(bowl(0.004)) * np.exp(noise * rng.standard_normal((3, len(RATES))))
        rungs = {
            width: optimum(RATES, row, noise=noise) for width, row in zip((16, 32, 48), losses, strict=True)
        }
        reach += Transfer(rungs, freedom=10_000).interval95[0] == 1
    assert reach / 400 == pytest.approx(0.95, abs=0.03)


def test_runs_that_no_rung_can_hold_together_are_an_error():
    with pytest.raises(ValueError, match="no finished run"):
        by_rung([record(width=16, rate=0.1, loss=None)])
    two = runs({16: 0.004}) + runs({16: 0.004}, D=16_384)
    with pytest.raises(
        ValueError, match=r"width 16: the runs differ in D, 8,192 to 16,384: experiments.hparams"
    ):
        by_rung(two)
    with pytest.raises(ValueError, match="width 16: the runs differ in batch_tokens"):
        by_rung(runs({16: 0.004}) + runs({16: 0.004}, batch=128))


def test_the_door_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    for run in runs({16: 0.004, 32: 0.0045, 48: 0.005}):
        run.save(tmp_path / run.name)
    assert call(transfer, monkeypatch, f"runs={tmp_path}") == 0
    assert "within a factor of 1.25: within 1.5" in capsys.readouterr().out
    said = json.loads((tmp_path / "transfer.json").read_text())["causal_decoder"]["width_and_depth"]
    assert (said["holds"], said["optima"]["48"]["status"]) == (True, "bracketed")
