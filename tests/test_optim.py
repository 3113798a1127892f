import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, VOCAB, batch, loss

from scalelaw.contracts import BadInput
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.optim import Cosine, WarmupStableDecay, adamw, set_learning_rate
from scalelaw.shape import Shape

KNOBS = {"base_width": 32, "base_depth": 4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}


def shape(width: int, depth: int = 4) -> Shape:
    return Shape(depth=depth, width=width, heads=width // 8, ffn_width=2 * width)


def rates(width: int, depth: int, transfer: str) -> dict[str, float]:
    built = CausalDecoder(shape(width, depth), VOCAB, tie_embeddings=False)
    optimizer = adamw(built, shape(width, depth), lr=0.01, transfer=transfer, **KNOBS)
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def test_the_rule_by_hand():
    at_base = dict.fromkeys(("vector", "head", "read", "write"), 0.01)
    assert rates(32, 4, "width_and_depth") == rates(32, 4, "none") == rates(128, 16, "none") == at_base
    assert rates(128, 16, "width") == {"vector": 0.01, "head": 0.0025, "read": 0.0025, "write": 0.0025}
    assert rates(128, 16, "width_and_depth") == pytest.approx(
        {"vector": 0.01, "head": 0.0025, "read": 0.00125, "write": 0.000625}
    )


def movement(kind, width: int, depth: int, transfer: str) -> float:
    """Root mean square of the logits after five Adam steps from a head of zeros: how far they moved."""
    torch.manual_seed(0)
    built = kind(shape(width, depth), VOCAB, tie_embeddings=False)
    optimizer = adamw(built, shape(width, depth), lr=0.01, transfer=transfer, **KNOBS)
    given = batch([4] * 16, 16)
    for _ in range(5):
        optimizer.zero_grad()
        loss(built, given).backward()
        optimizer.step()
    return built(given).square().mean().sqrt().item()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_width_moves_alike(kind):
    """muP's coordinate check (Yang et al. 2022, appendix D.1): logits move as far at width 256 as at 32.

    With one learning rate for all parameters they move several times as far, which the last line holds.
    """
    scaled = [movement(kind, width, 4, "width") for width in (32, 64, 128, 256)]
    assert max(scaled) < 1.3 * min(scaled), scaled
    assert movement(kind, 256, 4, "none") > 2 * scaled[-1]


def writing(kind, depth: int, transfer: str) -> float:
    """Root mean square change, in five Adam steps, of all that a stack's blocks write."""
    torch.manual_seed(0)
    built = kind(shape(32, depth), VOCAB, tie_embeddings=False)
    torch.nn.init.normal_(built.head.weight, std=1 / 32)
    optimizer = adamw(built, shape(32, depth), lr=0.01, transfer=transfer, **KNOBS)
    given = batch([4] * 16, 16)

    def written() -> torch.Tensor:
        kept = {}
        hooks = [
            built.embedding.register_forward_hook(lambda _m, _i, out: kept.update(read=out.detach())),
            built.decoder.norm.register_forward_hook(lambda _m, into, _o: kept.update(end=into[0].detach())),
        ]
        built(given)
        for hook in hooks:
            hook.remove()
        return kept["end"] - kept["read"][:, -kept["end"].shape[1] :]

    before = written()
    for _ in range(5):
        optimizer.zero_grad()
        loss(built, given).backward()
        optimizer.step()
    return (written() - before).square().mean().sqrt().item()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_depth_moves_alike(kind):
    """The coordinate check over depth (Yang et al. 2023): blocks together move as far at depth 32 as at 4.

    Under muP's rates alone their movement grows with the depth, which the last line holds.
    """
    scaled = [writing(kind, depth, "width_and_depth") for depth in (4, 8, 16, 32)]
    assert max(scaled) < 1.25 * min(scaled), scaled
    assert writing(kind, 32, "width") > 2 * writing(kind, 4, "width")


def test_decay_spares_vectors():
    built = CausalDecoder(shape(32), VOCAB, tie_embeddings=False)
    optimizer = adamw(built, shape(32), lr=0.01, transfer="none", **KNOBS)
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {"vector": 0.0, "head": 0.1, "read": 0.1, "write": 0.1}


def test_the_schedule_scales_every_group_from_its_own_peak():
    built = CausalDecoder(shape(64), VOCAB, tie_embeddings=False)
    optimizer = adamw(built, shape(64), lr=0.01, transfer="width", **KNOBS)
    for factor in (0.5, 0.1):  # twice, so that a factor on a factor would show
        set_learning_rate(optimizer, factor)
    found = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert found == pytest.approx(
        {"vector": 0.001, "head": 0.0005, "read": 0.0005, "write": 0.0005}, rel=1e-12
    )


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
    built = CausalDecoder(shape(32), VOCAB, tie_embeddings=False)
    with pytest.raises(BadInput, match=r"optimizer\.lr"):
        adamw(built, shape(32), lr=0.0, transfer="none", **KNOBS)
    with pytest.raises(BadInput, match=r"optimizer\.transfer is one of none, width, width_and_depth"):
        adamw(built, shape(32), lr=0.1, transfer="mup", **KNOBS)
