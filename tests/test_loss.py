"""The fused loss against the plain one: values, gradients, memory's sake apart."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from training import compiler

from scalelaw import loss
from scalelaw.contracts import IGNORE


@pytest.fixture
def chunks(monkeypatch):
    """Seven of the 40 positions below at a time: five chunks and a rest."""
    monkeypatch.setattr(loss, "LOGITS", {"cpu": 7 * 50})
    monkeypatch.setattr(loss, "POSITIONS", 1)


def case(K: int):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(K * 4, 10, 16, generator=generator, requires_grad=True)
    weight = torch.randn(K, 50, 16, generator=generator, requires_grad=True)
    labels = torch.randint(50, (K * 4, 10), generator=generator)
    labels[0, :5], labels[2, 3] = IGNORE, IGNORE
    return hidden, weight, labels


def plain(hidden, weight, labels):
    K = len(weight)
    logits = (hidden.reshape(K, 40, 16) @ weight.mT).float()
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    return each.view(K, 40).sum(dim=1)


def gradients(fn, hidden, weight, labels):
    total = fn(hidden, weight, labels)
    slopes = torch.autograd.grad((total * torch.arange(1.0, len(weight) + 1)).sum(), (hidden, weight))
    return total.detach(), *slopes


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("K", [1, 3])
def test_chunks_give_the_loss_and_both_gradients(K):
    given = case(K)
    for ours, theirs in zip(gradients(loss.summed_nll, *given), gradients(plain, *given), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("chunks")
def test_one_model_gives_a_plain_number():
    hidden, weight, labels = case(1)
    total = loss.summed_nll(hidden, weight[0], labels)
    assert total.shape == ()
    assert total.item() == pytest.approx(plain(hidden, weight, labels).item(), rel=1e-6)


@pytest.mark.usefixtures("chunks")
def test_its_gradient_is_taken_once_or_not_at_all():
    hidden, weight, labels = case(1)
    total = loss.summed_nll(hidden, weight, labels).sum()
    total.backward(retain_graph=True)
    first = weight.grad.clone()
    with pytest.raises(RuntimeError, match="once"):
        total.backward()
    assert weight.grad.equal(first)


@pytest.mark.usefixtures("chunks")
def test_autocast_rounds_products_and_not_the_sum():
    """In bfloat16 every logit is off by 2 ** -9 of itself; 33 sums of them agree to a few parts in a
    thousand, and the result is float32."""
    given = case(1)
    exact = gradients(loss.summed_nll, *given)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradients(loss.summed_nll, *given)
    assert all(tensor.dtype == torch.float32 for tensor in rounded)
    assert float(rounded[0]) == pytest.approx(float(exact[0]), rel=5e-3)
    for ours, theirs in zip(rounded[1:], exact[1:], strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 0.02
    to_table = rounded[2]  # a float32 sum of the chunks' products, which bfloat16 could not hold
    assert not to_table.equal(to_table.bfloat16().float())


@pytest.mark.usefixtures("chunks")
def test_what_is_known_almost_surely_is_still_learnt_in_bfloat16():
    """A probability of 1 - 0.0022 is 1 in bfloat16; what is left to learn at the label is not 0."""
    labels = torch.arange(40).view(4, 10)
    weight = torch.eye(50)
    hidden = (10.0 * weight[labels]).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss.summed_nll(hidden, weight, labels).backward()
    missing = 49 / (math.exp(10.0) + 49)
    at_label = hidden.grad[weight[labels].bool()]
    assert torch.allclose(at_label, torch.tensor(-missing), rtol=0.01)


@pytest.mark.usefixtures("chunks")
def test_without_gradients_none_are_computed():
    hidden, weight, labels = case(2)
    with torch.no_grad():
        total = loss.summed_nll(hidden, weight, labels)
    assert not total.requires_grad
    assert torch.allclose(total, plain(hidden, weight, labels))


@pytest.mark.usefixtures("chunks")
def test_a_model_has_the_same_sums_in_any_company():
    hidden, weight, labels = case(3)
    together = loss.summed_nll(hidden, weight, labels)
    for k in range(3):
        rows = slice(4 * k, 4 * k + 4)
        assert loss.summed_nll(hidden[rows], weight[k], labels[rows]) == together[k]


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@compiler
def test_it_is_the_same_where_a_compiler_has_the_softmax(backend, dynamic):
    """Chunks of one model lie at once in memory, those of three do not, and the last is a shorter one."""
    torch.compiler.reset()
    compiled = partial(loss.summed_nll, by=torch.compile(loss.softmax, backend=backend, dynamic=dynamic))
    for K in (1, 3):
        given = case(K)
        exact = gradients(plain, *given)
        for ours, theirs in zip(gradients(compiled, *given), exact, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = gradients(compiled, *given)
        for ours, theirs in zip(rounded, exact, strict=True):
            assert float((ours - theirs).norm() / theirs.norm()) < 0.02
    torch.compiler.reset()
