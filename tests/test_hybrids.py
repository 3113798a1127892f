"""Encoder-decoders whose decoder reads part of the prefix both ways: by gradients, each stack apart."""

from functools import partial

import pytest
import torch
from test_counting import executed
from tiny import batch, hybrid, model, visibility
from torch import Tensor
from training import run

from scalelaw import masks
from scalelaw.contracts import BadInput, Batch
from scalelaw.counting import count
from scalelaw.models.base import LanguageModel
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.hybrid_encoder_decoder import HybridEncoderDecoder
from scalelaw.objectives.mixture import Mixture
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.objectives.span_corruption import SpanCorruption

WINDOW = 11
PREFIXES = [[5, 5], [1, 1], [2, 2], [10, 10], [11, 11], [1, 4, 9], [6, 11, 2], [3, 4, 10, 1]]
SHARES = [0.0, 0.3, 0.5, 1.0]


def own(share: float, prefix: int) -> int:
    return max(1, int(share * prefix))


def stacks(built: LanguageModel, given: Batch) -> dict[str, tuple]:
    """Inputs and output of each stack, the graph cut at their doors."""
    kept: dict[str, tuple] = {}

    def keep(name: str, _module: object, inputs: tuple, output: Tensor) -> None:
        kept[name] = (inputs[0], output, inputs[4] if name == "decoder" else None)

    def cut(_module: object, inputs: tuple) -> tuple:
        return tuple(v.detach().requires_grad_() if isinstance(v, Tensor) else v for v in inputs)

    for name in ("encoder", "decoder"):
        built.get_submodule(name).register_forward_pre_hook(cut)
        built.get_submodule(name).register_forward_hook(partial(keep, name))
    built(given)
    return kept


def seen(output: Tensor, source: Tensor) -> Tensor:
    """(B, queries, keys) bool, by gradients of a random mixture of each output."""
    mixed = output @ torch.randn(output.shape[-1], generator=torch.Generator().manual_seed(3))
    rows = [
        torch.autograd.grad(mixed[:, t].sum(), source, retain_graph=True)[0] for t in range(output.shape[1])
    ]
    return torch.stack(rows, dim=1).ne(0).any(dim=-1)


@pytest.mark.parametrize("prefix", PREFIXES, ids=str)
@pytest.mark.parametrize("share", SHARES)
def test_what_is_asked_sees_the_prefix_and_its_past_and_nothing_else(share: float, prefix: list[int]):
    """What every other architecture with a prefix sees at the logits; exactly zero gradient from all else."""
    given = batch(prefix, WINDOW)
    found = visibility(model(hybrid(share)), given)
    for row, length in enumerate(prefix):
        for t in range(length - 1, WINDOW):
            wanted = [s <= t or s < length for s in range(WINDOW)]
            assert found[row, t].tolist() == wanted


@pytest.mark.parametrize("prefix", [[5, 5], [10, 10], [2, 9, 4]], ids=str)
@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_each_stack_sees_exactly_its_part(share: float, prefix: list[int]):
    given = batch(prefix, WINDOW)
    kept = stacks(model(hybrid(share)), given)
    begins = [length - own(share, length) for length in prefix]
    first = min(begins)
    source, output, _ = kept["encoder"]
    assert source.shape[1] == max(begins) + 1
    inside = seen(output, source)
    source, output, memory = kept["decoder"]
    offset = given.start - first  # logits begin at the first label
    beside, across = seen(output, source), seen(output, memory)
    for row, (length, begin) in enumerate(zip(prefix, begins, strict=True)):
        keys = [s <= begin for s in range(memory.shape[1])]
        for t in range(begin + 1):
            assert inside[row, t].tolist() == keys
        for t in range(length - 1, WINDOW):
            wanted = [begin <= s and (s <= t or s < length) for s in range(first, WINDOW)]
            assert beside[row, t - first - offset].tolist() == wanted
            assert across[row, t - first - offset].tolist() == keys


def test_inside_its_prefix_the_decoder_looks_ahead():
    """Asked from its first token on: both directions there, which a target alone cannot show."""
    given = batch([8, 8], WINDOW, start=4)
    source, output, _ = stacks(model(hybrid(0.5)), given)["decoder"]
    found = seen(output, source)[0]
    assert found.tolist() == [[s <= t or s < 8 for s in range(4, WINDOW)] for t in range(4, WINDOW)]


@pytest.mark.parametrize("keys", [1, 2, 5, 8])
def test_the_mask_at_every_size_by_the_definition(keys: int):
    for p in range(1, keys + 1):
        for b in range(p):
            for first in range(b + 1):
                mask = masks.own_prefix(torch.tensor([b]), torch.tensor([p]), first, keys)[0, 0]
                for t in range(first, keys):
                    for s in range(first, keys):
                        wanted = s == t or (t >= b and s >= b and (s <= t or s < p))
                        assert mask[t - first, s - first] == wanted
                if b == p - 1:
                    assert mask.equal(masks.target(torch.tensor([p]), first, keys)[0, 0])


@pytest.mark.parametrize("prefix", PREFIXES, ids=str)
def test_with_one_token_of_its_own_it_is_the_encoder_decoder_bit_for_bit(prefix: list[int]):
    plain, mixed = model(EncoderDecoder), model(hybrid(0.0), seed=3)
    mixed.load_state_dict(plain.state_dict())
    given = batch(prefix, WINDOW)
    assert plain(given).equal(mixed(given))
    sizes = {"window": WINDOW, "prefix": given.longest, "start": given.start}
    assert plain.flops(**sizes) == mixed.flops(**sizes)
    assert count(plain) == count(mixed)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_a_row_is_the_same_alone_and_in_a_mixed_batch(share: float):
    built, mixed = model(hybrid(share)), batch([6, 11, 2], WINDOW)
    logits = built(mixed)
    for row, length in enumerate([6, 11, 2]):
        one = Batch.of(mixed.tokens[row : row + 1], mixed.labels[row : row + 1], torch.tensor([length]))
        torch.testing.assert_close(logits[row, one.start - mixed.start :], built(one)[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(
    ("prefix", "start"),
    [([5, 5], None), ([1, 1], None), ([16, 16], None), ([8, 8], 12), ([3, 9, 5], None), ([12, 2], None)],
)
def test_flops_are_torch_s_to_the_last_one(share: float, prefix: list[int], start: int | None):
    counted, said = executed(model(hybrid(share), depth=3), prefix, 16, start)
    assert counted == said


@pytest.mark.parametrize("share", [-0.1, 1.2, float("nan")])
def test_a_share_that_is_none_is_named(share: float):
    with pytest.raises(BadInput, match=r"architecture\.decoder_prefix"):
        model(hybrid(share))


def test_labels_before_the_decoder_are_refused():
    built = model(hybrid(0.5))
    with pytest.raises(BadInput, match="position 1 stands before position 4"):
        built(batch([8, 8], WINDOW, start=1))
    with pytest.raises(BadInput, match="nothing to encode"):
        built(batch([0, 0], WINDOW))


@pytest.mark.parametrize(
    "objective",
    [PrefixLM(prefix=None, per_row=True), SpanCorruption(rate=0.3, span=2)],
    ids=["prefix_lm", "span_corruption"],
)
def test_it_trains_and_costs_what_was_counted(tmp_path, objective):
    done = run(
        tmp_path,
        architecture=partial(HybridEncoderDecoder, tie_embeddings=False, decoder_prefix=0.5),
        objective=objective,
    )
    assert done.finished
    assert done.loss is not None
    assert 0 < done.loss < 4


def test_of_a_mixture_it_takes_what_has_a_prefix(tmp_path):
    parts = {"p": PrefixLM(prefix=None, per_row=False), "s": SpanCorruption(rate=0.3, span=2)}
    mixed = Mixture(parts=parts, shares={"p": 1, "s": 1}, modes=True)
    architecture = partial(HybridEncoderDecoder, tie_embeddings=False, decoder_prefix=0.5)
    done = run(tmp_path, architecture=architecture, objective=mixed)
    assert set(done.losses) == {"loss_p", "loss_s"}
