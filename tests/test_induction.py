"""Induction and accuracy: attention that was recomputed is the layers' own, and a planted copier is found."""

import pytest
import torch
from test_measures import subject
from tiny import VOCAB, model

from scalelaw.contracts import BadInput, Batch
from scalelaw.measures.accuracy import Accuracy
from scalelaw.measures.induction import (
    Induction,
    attention,
    causal,
    each_nll,
    part,
    prefix_matching,
    repeated,
)
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.layers import SelfAttention
from scalelaw.models.prefix_decoder import PrefixDecoder

KNOBS = {"along": True, "rows": 8, "early": [0.0, 0.3], "late": [0.7, 1.0]}


@pytest.mark.parametrize("kind", [CausalDecoder, PrefixDecoder])
def test_recomputed_attention_gives_what_the_layer_gave(kind):
    built = model(kind, depth=2)
    batch = causal(torch.randint(VOCAB, (3, 11)))
    given: list[torch.Tensor] = []
    modules = [m for m in built.modules() if isinstance(m, SelfAttention)]
    hooks = [m.register_forward_hook(lambda m, i, o: given.append((i[0], o))) for m in modules]
    weights = attention(built, batch)
    for hook in hooks:
        hook.remove()
    assert len(weights) == len(modules) == 2
    for own, module, (x, output) in zip(weights, modules, given, strict=True):
        assert torch.allclose(own.sum(dim=-1), torch.ones(3, 3, 10))
        v = module.qkv(x).unflatten(-1, (-1, module.head_dim)).transpose(1, 2)[:, 2 * module.heads :]
        assert torch.allclose(module.out((own @ v).transpose(1, 2).flatten(2)), output, atol=1e-5)
        assert not module.qkv._forward_hooks


def test_a_head_that_looks_at_what_followed_scores_one_and_an_even_one_its_share():
    length, T = 5, 9
    weights = torch.zeros(2, 2, T, T)
    at = torch.arange(T)
    weights[:, 0, at, (at - length + 1).clamp(min=0)] = 1.0
    weights[:, 1] = torch.ones(T, T).tril() / torch.arange(1, T + 1)[:, None]
    assert prefix_matching(weights, length) == 1
    expected = (1 / torch.arange(length + 1.0, T + 1)).mean()
    assert prefix_matching(weights[:, 1:], length) == pytest.approx(float(expected))


class Copier:
    """Says, with log odds 5, the token that followed the present one last time; else nothing."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        logits = torch.zeros(*batch.tokens.shape, VOCAB)
        for row, tokens in enumerate(batch.tokens.tolist()):
            for t, token in enumerate(tokens):
                if token in tokens[:t]:
                    before = len(tokens[:t]) - 1 - tokens[:t][::-1].index(token)
                    logits[row, t, tokens[before + 1]] = 5.0
        return logits


def test_copying_is_the_gain_of_the_second_copy():
    twice = repeated(torch.arange(20)[None], 12, 4)
    assert twice.shape == (4, 12)
    assert all(len(set(row[:6].tolist())) == 6 for row in twice)
    assert torch.equal(twice[:, :6], twice[:, 6:])
    nll = each_nll(Copier(), causal(twice))
    certain = torch.tensor(5.0).exp()
    assert nll[:, :6] == pytest.approx(torch.log(torch.tensor(float(VOCAB))).expand(4, 6))
    assert nll[:, 6:] == pytest.approx(-(certain / (certain + VOCAB - 1)).log().expand(4, 5))
    assert repeated(torch.tensor([[1, 2, 1, 2]]), 12, 4) is None


def test_a_model_that_was_taught_to_repeat_shows_it_in_all_figures():
    given = subject(depth=2)
    before = Induction(**KNOBS)(given)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(given.model.parameters(), lr=0.01)
    known = torch.unique(given.windows(8))
    for _ in range(400):
        order = torch.rand(64, len(known), generator=generator).argsort(dim=1)[:, :5]
        optimiser.zero_grad()
        (given.model.nll(causal(known[order].repeat(1, 2))) / 576).backward()
        optimiser.step()
    after = Induction(**KNOBS)(given)
    assert abs(before["copying"]) < 0.5
    assert after["copying"] > 1.5
    assert after["prefix_matching"] > before["prefix_matching"] + 0.3


def test_places_in_a_window():
    assert part(100, [0.05, 0.15]) == slice(5, 15)
    assert part(8, [0.85, 1.0]) == slice(6, 8)
    assert part(4, [0.05, 0.15]) == slice(0, 1)
    with pytest.raises(BadInput, match=r"induction\.early"):
        Induction(**KNOBS | {"early": [0.8, 0.9]})


def test_an_encoder_decoder_is_refused():
    with pytest.raises(BadInput, match="about decoders"):
        Induction(**KNOBS).check(subject(model=model(EncoderDecoder)))
    Induction(**KNOBS).check(subject())


def test_accuracy_tells_what_was_learnt_by_heart_from_what_was_not():
    given = subject(depth=1)
    seen = given.source.windows(0, 4, window=given.window, seed=given.seed)
    other = torch.randint(VOCAB, seen.shape, generator=torch.Generator().manual_seed(3))
    given.source.windows = lambda position, rows, window, seed: other[:rows]
    optimiser = torch.optim.Adam(given.model.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        given.model.nll(causal(other)).backward()
        optimiser.step()
    found = Accuracy(along=True, rows=4)(given)
    assert found["train"] > 0.9
    assert found["validation"] < 0.2
