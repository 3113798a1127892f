import numpy as np
import pytest

from analysis.report.transfer import Optimum, by_rung, optimum, spread
from scalelaw.run import Run

RATES = [0.001, 0.002, 0.004, 0.008, 0.016]


def bowl(best: float) -> list[float]:
    return [2.0 + 0.1 * np.log(rate / best) ** 2 for rate in RATES]


@pytest.mark.parametrize("best", [0.0021, 0.003, 0.004, 0.0075])
def test_a_planted_optimum_between_two_rates_is_found(best):
    shuffled = np.random.default_rng(0).permutation(5)
    found = optimum(np.array(RATES)[shuffled], np.array(bowl(best))[shuffled])
    assert found.status == "bracketed"
    assert found.rate == pytest.approx(best, rel=1e-6)
    assert found.loss == pytest.approx(2.0, abs=1e-9)


@pytest.mark.parametrize(("best", "said", "rate"), [(1e-4, "lowest", 0.001), (1.0, "highest", 0.016)])
def test_an_optimum_outside_the_range_is_said_to_be(best, said, rate):
    found = optimum(RATES, bowl(best))
    assert (found.rate, found.status) == (pytest.approx(rate), f"at the {said} rate tried")


@pytest.mark.parametrize(
    ("rates", "losses"),
    [
        ([0.1, 0.2], [1, 2]),
        ([0.1, 0.1, 0.2], [1, 2, 3]),
        ([0, 0.1, 0.2], [1, 2, 3]),
        ([1, 2, 3], [1, 2, np.nan]),
    ],
)
def test_what_has_no_optimum_is_an_error(rates, losses):
    with pytest.raises(ValueError, match="learning rate"):
        optimum(rates, losses)


def record(rule: str, width: int, rate: float, loss: float | None) -> Run:
    return Run(
        run="x", name="x", status="diverged" if loss is None else "finished", architecture="causal_decoder",
        objective="causal_lm", data="sotu", study="lr", seed=0, depth=2, width=width, N=1, N_total=1, D=1,
        D_target=1, unique_tokens=1, window=8, batch_tokens=8, steps=1, step=1, learning_rate=rate / width,
        C=1.0, C_6ND=6.0, loss=loss, loss_objective=loss, bits_per_byte=loss,
        config={"optimizer": {"transfer": rule, "lr": rate}},
    )  # fmt: skip


def test_rungs_are_told_apart_and_the_spread_is_between_them():
    best = {("width", 24): 0.004, ("width", 48): 0.005, ("none", 24): 0.006, ("none", 48): 0.002}
    runs = [
        record(rule, w, r, loss)
        for (rule, w), b in best.items()
        for r, loss in zip(RATES, bowl(b), strict=True)
    ]
    runs.append(record("none", 24, 0.5, None))  # diverged: no loss to compare
    found = by_rung(runs)["causal_decoder"]
    assert spread(found["width"]) == (pytest.approx(1.25), True)
    assert spread(found["none"]) == (pytest.approx(3.0), True)
    assert spread({1: Optimum(0.1, 2.0, "bracketed"), 2: optimum(RATES, bowl(1.0))})[1] is False
    assert isinstance(found["none"][24], Optimum)
    with pytest.raises(ValueError, match="no finished run"):
        by_rung(runs[-1:])
