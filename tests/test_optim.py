import numpy as np
import pytest
import torch

from scalelaw.contracts import BadInput
from scalelaw.optim import Cosine, WarmupStableDecay, adamw, set_learning_rate

KNOBS = {"base_width": 32, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}


class Two(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vector, self.matrix = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4, 4))

    def width_groups(self):
        return {"vector_like": [self.vector], "matrix_like": [self.matrix]}


def test_matrices_follow_the_inverse_width_and_vectors_do_not():
    rates = {
        w: [g["lr"] for g in adamw(Two(), w, lr=0.01, transfer=True, **KNOBS).param_groups] for w in (32, 128)
    }
    assert rates == {32: [0.01, 0.01], 128: [0.01, 0.0025]}
    plain = adamw(Two(), 128, lr=0.01, transfer=False, **KNOBS)
    assert [g["lr"] for g in plain.param_groups] == [0.01, 0.01]


def test_decay_spares_vectors():
    assert [g["weight_decay"] for g in adamw(Two(), 32, lr=0.01, transfer=True, **KNOBS).param_groups] == [
        0,
        0.1,
    ]


def test_the_schedule_scales_every_group_from_its_own_peak():
    optimizer = adamw(Two(), 64, lr=0.01, transfer=True, **KNOBS)
    for factor in (0.5, 0.1):  # twice, so that a factor on a factor would show
        set_learning_rate(optimizer, factor)
    assert np.allclose([g["lr"] for g in optimizer.param_groups], [0.001, 0.0005], rtol=1e-12)


def test_warmup_stable_decay_has_its_three_parts():
    schedule = WarmupStableDecay(warmup=0.1, decay=0.2, final=0.0)
    factors = [schedule(step, 100) for step in range(100)]
    assert np.allclose(factors[:10], np.arange(1, 11) / 10)
    assert set(factors[10:81]) == {1.0}
    assert np.allclose(factors[80:], np.arange(20, 0, -1) / 20)
    assert schedule(100, 100) == 0.0


def test_cosine_matches_its_formula_and_ends_at_final():
    schedule = Cosine(warmup=0.1, final=0.1)
    steps = np.arange(10, 101)
    expected = 0.1 + 0.9 * (1 + np.cos(np.pi * (steps - 10) / 90)) / 2
    assert np.allclose([schedule(int(step), 100) for step in steps], expected)
    assert [schedule(step, 100) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])


@pytest.mark.parametrize(
    "schedule", [WarmupStableDecay(warmup=0.1, decay=0.3, final=0.0), Cosine(warmup=0.1, final=0.1)]
)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
def test_even_the_shortest_run_gets_a_usable_rate_at_every_step(schedule, steps):
    factors = [schedule(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


def test_impossible_schedules_and_rates_are_named():
    with pytest.raises(BadInput, match=r"schedule\.decay"):
        WarmupStableDecay(warmup=0.1, decay=1.3, final=0.0)
    with pytest.raises(BadInput, match="more than the whole run"):
        WarmupStableDecay(warmup=0.5, decay=0.6, final=0.0)
    with pytest.raises(BadInput, match=r"optimizer\.lr"):
        adamw(Two(), 32, lr=0.0, transfer=True, **KNOBS)
