"""Basins and hidden states: curvatures and dimensions that were planted come back."""

import numpy as np
import pytest
import torch
from test_measures import subject
from tiny import batch, model

from scalelaw.contracts import BadInput
from scalelaw.measures.basin import Basin, filter_normalised, reaches, slices
from scalelaw.measures.curvature import Hessian
from scalelaw.measures.hidden import points, states
from scalelaw.measures.representations import (
    Representations,
    effective_rank,
    participation,
    spectrum,
    two_nn,
)
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder

# Basins


def test_a_slice_begins_with_the_curvature_along_its_direction():
    """rise = r^2 / 2 d H d for small r, with the Hessian of another module, by double backward."""
    given = subject()
    built, seen = given.model.double(), given.batch(3)
    rise = slices(built, seen, 1, [1e-3])[0, 0]
    generator = torch.Generator().manual_seed(0)
    direction = [filter_normalised(p.detach(), generator) for p in built.parameters()]
    flat = torch.cat([part.flatten() for part in direction])
    expected = 0.5e-6 * float(flat @ Hessian(built, seen).product(flat))
    assert rise == pytest.approx(expected, rel=1e-3)


def test_every_filter_is_moved_by_its_own_norm_and_gains_not_at_all():
    weight = torch.randn(7, 5) * torch.arange(1.0, 8.0)[:, None]
    direction = filter_normalised(weight, torch.Generator().manual_seed(1))
    assert torch.allclose(direction.norm(dim=1), weight.norm(dim=1))
    assert (
        abs(float(torch.nn.functional.cosine_similarity(direction.flatten(), weight.flatten(), dim=0))) < 0.5
    )
    assert not filter_normalised(torch.randn(5), torch.Generator()).any()


def test_a_basin_leaves_the_model_as_it_was_and_rises_with_the_radius():
    given = subject()
    before = [parameter.detach().clone() for parameter in given.model.parameters()]
    # At its own optimum a model's loss can only rise: a head that says what these windows have.
    optimiser, seen = torch.optim.Adam(given.model.parameters(), lr=0.02), given.batch(4)
    for _ in range(60):
        optimiser.zero_grad()
        given.model.nll(seen).backward()
        optimiser.step()
    trained = [parameter.detach().clone() for parameter in given.model.parameters()]
    found = Basin(along=False, rows=4, directions=2, radii=[0.1, 0.2, 0.4], level=0.1)(given)
    assert 0 < found["rise_0.1"] < found["rise_0.2"] < found["rise_0.4"]
    assert all(torch.equal(p, q) for p, q in zip(given.model.parameters(), trained, strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(before, trained, strict=True))
    assert 0 < found["width"] < 0.4


def test_the_width_of_a_parabola():
    radii = np.linspace(0.01, 1, 100)
    assert reaches(radii, 2.5 * radii**2, 0.1) == pytest.approx(0.2, rel=1e-3)
    assert reaches([0.5, 1.0], np.array([0.1, 0.3]), 0.2) == pytest.approx(0.75)
    assert reaches([0.5, 1.0], np.array([0.01, 0.05]), 0.1) is None
    with pytest.raises(BadInput, match=r"basin\.radii"):
        Basin(along=False, rows=1, directions=1, radii=[0.2, 0.1], level=0.1)


# Hidden states


def manifold(n: int, dimension: int, ambient: int) -> np.ndarray:
    """A curved sheet of `dimension` in `ambient` dimensions."""
    rng = np.random.default_rng(0)
    flat = rng.uniform(size=(n, dimension))
    bent = np.column_stack([flat, np.sin(2 * flat), np.cos(2 * flat)])
    return bent @ rng.standard_normal((bent.shape[1], ambient))


@pytest.mark.parametrize(("dimension", "tolerance"), [(1, 0.05), (2, 0.06), (5, 0.12)])
def test_two_neighbours_tell_a_planted_dimension(dimension, tolerance):
    assert two_nn(manifold(2000, dimension, 30)) == pytest.approx(dimension, rel=tolerance)


def test_a_curve_is_one_dimension_however_many_it_bends_through():
    at = np.sort(np.random.default_rng(0).uniform(size=1000))[:, None] * np.arange(1, 11)
    curve = np.hstack([np.sin(2 * np.pi * at), np.cos(2 * np.pi * at)])
    assert two_nn(curve) == pytest.approx(1, rel=0.1)
    assert participation(spectrum(curve)) == pytest.approx(20, rel=0.05)
    assert effective_rank(spectrum(curve)) == pytest.approx(20, rel=0.05)


def test_ranks_of_known_spectra():
    equal = np.array([2.0] * 6 + [0.0] * 4)
    assert participation(equal) == pytest.approx(6)
    assert effective_rank(equal) == pytest.approx(6)
    skewed = np.array([4.0, 1.0])  # singular values 2 and 1, shares 2/3 and 1/3
    assert participation(skewed) == pytest.approx(25 / 17)
    assert effective_rank(skewed) == pytest.approx(np.exp(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))))


def test_a_spectrum_is_that_of_the_covariance():
    cloud = np.random.default_rng(1).standard_normal((400, 6)) * np.arange(1, 7)
    assert np.allclose(np.sort(spectrum(cloud)), np.linalg.eigvalsh(np.cov(cloud.T)))


def test_hidden_states_are_what_the_blocks_write():
    built, seen = model(CausalDecoder, depth=3), batch([0, 0], 6)
    kept = states(built, seen, ["first", "middle", "last"])
    assert {name: tuple(state.shape) for name, state in kept.items()} == dict.fromkeys(kept, (2, 6, 24))
    assert torch.equal(built.decoder.norm(kept["last"])[:, seen.start :], built.hidden(seen))
    assert not torch.equal(kept["first"], kept["middle"])
    assert not built.blocks()[0]._forward_hooks
    assert len(states(model(EncoderDecoder, depth=2), batch([3, 3], 6), ["last"])["last"]) == 2


def test_equal_states_are_one_point():
    state = torch.tensor([[[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]]])
    assert points(state).tolist() == [[0, 1], [1, 2]]


def test_representations_say_what_cannot_be_had():
    found = Representations(along=False, rows=20, layers=["last"], sizes=[50, 100, 100_000])(subject())
    assert found["last.dimension_100000"] is None
    for size in (50, 100):
        assert 1 < found[f"last.participation_{size}"] <= found[f"last.rank_{size}"] <= 24
        assert 0 < found[f"last.dimension_{size}"] < 24
    with pytest.raises(BadInput, match="layers are first"):
        Representations(along=False, rows=20, layers=["top"], sizes=[50])
