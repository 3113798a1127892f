"""Measures beside their definitions: dense Hessians, gradients of every window, planted geometries."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import VOCAB, model
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from training import LABELS, Chain, job, run

from scalelaw.contracts import BadInput, Batch
from scalelaw.measures.curvature import Curvature, Hessian
from scalelaw.measures.gradient import GradientNoise, flat_gradient, two_sizes
from scalelaw.measures.measure import Subject, mean_nll
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.run import Run, read_metrics
from scalelaw.shape import Shape
from scalelaw.train import train

WINDOW = 10


class Text(Chain):
    vocab_size = VOCAB


def subject(depth: int = 2, **changes) -> Subject:
    """A small model at no special point, before text of which it knows nothing."""
    built = model(CausalDecoder, depth=depth)
    known = {"model": built, "fresh": lambda: model(CausalDecoder, depth=depth, seed=9), "source": Text()}
    known |= {"objective": CausalLM(), "window": WINDOW, "rows": 4, "seed": 0}
    return Subject(**known | changes)


def each_gradient(given: Subject, rows: int) -> torch.Tensor:
    """(rows, parameters): the gradient of every window's mean NLL, by torch.func."""
    tokens = given.windows(rows)
    weights = {name: p.detach() for name, p in given.model.named_parameters()}

    def nll(weights, row):
        batch = Batch(row[None, :-1], row[None, 1:], torch.zeros(1, dtype=torch.int64), 0, 0, 0)
        logits = functional_call(given.model, weights, (batch,))
        return torch.nn.functional.cross_entropy(logits[0], row[1:])

    with sdpa_kernel(SDPBackend.MATH):
        slopes = vmap(grad(nll), in_dims=(None, 0))(weights, tokens)
    return torch.cat([slope.flatten(1) for slope in slopes.values()], dim=1).double()


def test_gradient_noise_is_that_of_every_windows_gradient():
    given = subject()
    each = each_gradient(given, 128)
    variance = float(each.var(dim=0).sum())
    squared = float(each.mean(dim=0).square().sum()) - variance / 128
    found = GradientNoise(along=False, small=2, parts=64)(given)
    assert found["variance"] == pytest.approx(variance, rel=0.1)
    assert found["squared_norm"] == pytest.approx(squared, rel=0.1)
    assert found["noise_scale"] == pytest.approx(WINDOW * variance / squared, rel=0.1)
    assert found["relative_variance"] == pytest.approx(variance / squared / 4, rel=0.1)
    # With batches of one window it is the same estimate to rounding.
    found = GradientNoise(along=False, small=1, parts=128)(given)
    assert found["variance"] == pytest.approx(variance, rel=1e-4)
    assert found["squared_norm"] == pytest.approx(squared, rel=1e-4)


def test_two_sizes_have_no_bias():
    """Gradients of a known law: over many draws the mean of both estimates is the truth."""
    rng = np.random.default_rng(0)
    truth, scale = np.array([0.3, -0.2, 0.1]), np.array([1.0, 2.0, 0.5])
    draws = truth + scale * rng.standard_normal((20_000, 8, 3))
    small = (draws.reshape(20_000, 4, 2, 3).mean(axis=2) ** 2).sum(axis=2).mean(axis=1)
    large = (draws.mean(axis=1) ** 2).sum(axis=1)
    found = np.array([two_sizes(s, big, 2, 8) for s, big in zip(small, large, strict=True)])
    error = found.std(axis=0) / math.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - [(truth**2).sum(), (scale**2).sum()]) < 3.5 * error).all()
    assert (error < 0.03).all()


def test_a_gradient_lost_in_noise_gives_no_noise_scale():
    """Random text at the model of uniform guesses, two windows: |G|^2 comes out negative sooner or later."""
    given = subject()
    found = [GradientNoise(along=False, small=1, parts=2)(_other(given, k)) for k in range(30)]
    told = [one["noise_scale"] is None for one in found]
    assert any(told)
    assert told == [one["squared_norm"] <= 0 for one in found]


class Random(Text):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def validation(self, rows: int, *, window: int) -> torch.Tensor:
        return torch.randint(VOCAB, (rows, window + 1), generator=torch.Generator().manual_seed(self.seed))


def _other(given: Subject, seed: int) -> Subject:
    torch.nn.init.zeros_(given.model.head.weight)
    return subject(model=given.model, source=Random(seed))


def dense(given: Subject, rows: int) -> torch.Tensor:
    """The Hessian, row by row, of a double precision model."""
    parameters = list(given.model.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        loss = mean_nll(given.model, given.batch(rows))
        slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    rows_ = [torch.autograd.grad(s, parameters, retain_graph=True) for s in slope]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows_])


def test_the_top_eigenvalue_and_the_trace_are_those_of_the_dense_hessian():
    torch.manual_seed(0)
    small = CausalDecoder(Shape(depth=1, width=4, heads=1, ffn_width=4), VOCAB, tie_embeddings=False)
    torch.nn.init.normal_(small.head.weight, std=0.3)
    given = subject(model=small)
    H = dense(given, 3).detach()
    assert torch.allclose(H, H.T, atol=1e-5)
    eigenvalues = torch.linalg.eigvalsh(H.double())
    found = Curvature(along=False, rows=3, probes=200, tolerance=1e-3, products=100)(given)
    assert found["top_eigenvalue"] == pytest.approx(float(eigenvalues[-1]), rel=0.01)
    assert abs(found["trace"] - float(H.trace())) < 3 * found["trace_error"]
    assert found["trace_error"] < 0.1 * abs(found["trace"])
    assert eigenvalues[0] < 0  # the largest by size alone would be another question


def test_an_eigenvalue_that_has_not_settled_is_not_given():
    found = Curvature(along=False, rows=3, probes=1, tolerance=1e-12, products=8)(subject())
    assert found["top_eigenvalue"] is None
    assert found["trace_error"] is None
    assert math.isfinite(found["trace"])


def test_a_product_with_the_hessian_is_the_change_of_the_gradient():
    given = subject()
    built = given.model.double()
    batch = given.batch(3)
    vector = torch.randn(sum(p.numel() for p in built.parameters()), dtype=torch.float64).sign()
    product = Hessian(built, batch).product(vector)
    start = torch.nn.utils.parameters_to_vector(built.parameters()).detach()
    slopes = []
    for step in (1e-5, -1e-5):
        torch.nn.utils.vector_to_parameters(start + step * vector, built.parameters())
        slopes.append(flat_gradient(built, batch, float(batch.labels.numel())))
    assert torch.allclose((slopes[0] - slopes[1]) / 2e-5, product, rtol=1e-3, atol=1e-5)


# In a run


def test_measures_change_nothing_of_a_run_and_are_in_its_record(tmp_path):
    plain = run(tmp_path / "plain")
    measures = {
        "gradient": GradientNoise(along=True, small=1, parts=4),
        "curvature": Curvature(along=False, rows=2, probes=2, tolerance=1e-2, products=40),
    }
    made = run(tmp_path / "measured", measures=measures)
    assert made.loss == plain.loss
    assert made.row() == plain.row() | made.measures
    assert Run.load(tmp_path / "measured").measures == made.measures
    assert {name.split(".")[0] for name in made.measures} == set(measures)
    assert made.timing["measuring_seconds"] > 0
    rows = [row for row in read_metrics(tmp_path / "measured") if "loss" in row]
    assert len(rows) > 1
    assert all("gradient.variance" in row for row in rows)
    assert ["curvature.trace" in row for row in rows] == [False] * (len(rows) - 1) + [True]
    assert rows[-1]["gradient.variance"] == made.measures["gradient.variance"]


def test_runs_side_by_side_are_measured_as_alone(tmp_path):
    measures = {"gradient": GradientNoise(along=True, small=1, parts=4)}
    alone = [run(tmp_path / f"alone{seed}", seed=seed, measures=measures) for seed in (0, 1)]
    jobs = [
        job(tmp_path / str(seed), seed=seed, measures=measures, labels=replace(LABELS, run=str(seed)))
        for seed in (0, 1)
    ]
    for made, single in zip(train(jobs), alone, strict=True):
        assert made.measures == single.measures
        assert made.loss == single.loss


def test_a_measure_that_cannot_be_taken_is_refused_before_any_work(tmp_path):
    class Impossible(Curvature):
        def check(self, subject):
            raise BadInput("there is nothing to measure")

    measures = {"odd": Impossible(along=False, rows=2, probes=1, tolerance=1e-2, products=40)}
    with pytest.raises(BadInput, match=r"measures\.odd: there is nothing to measure"):
        run(tmp_path, measures=measures)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("knob", ["small", "parts"])
def test_a_knob_that_is_no_count_is_named(knob):
    with pytest.raises(BadInput, match=f"gradient.{knob}"):
        GradientNoise(**{"along": False, "small": 2, "parts": 4} | {knob: 0})
