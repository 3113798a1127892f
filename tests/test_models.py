"""What each architecture may see, by gradients; how it starts; that widths behave alike under muP."""

import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import ARCHITECTURES, DECODERS, VOCAB, batch, loss, model, visibility
from torch import Tensor, nn

from scalelaw import masks
from scalelaw.contracts import BadInput, Batch
from scalelaw.counting import count
from scalelaw.models.base import LanguageModel
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.layers import Attend
from scalelaw.models.prefix_decoder import PrefixDecoder, _unmasked, two_part
from scalelaw.shape import Shape, ladder

WINDOW = 11
PREFIXES = [[5, 5], [1, 1], [2, 2], [10, 10], [11, 11], [1, 4, 9], [6, 11, 2], [3, 4, 10, 1]]
WITH_EMPTY = [[0, 0], [0, 7, 3], [0, 1], [0, 11]]  # nothing an encoder could read


def allowed(kind: type[LanguageModel], given: Batch) -> Tensor:
    """(B, T, T): the definition, row by row, from the first position with logits on."""
    may = torch.zeros(*given.tokens.shape, WINDOW, dtype=torch.bool)
    for row, prefix in enumerate(given.prefix.tolist()):
        for t in range(given.start, WINDOW):
            for s in range(WINDOW):
                may[row, t, s] = s <= t or (s < prefix and kind is not CausalDecoder)
    return may


CASES = [(kind, prefix) for kind in ARCHITECTURES for prefix in PREFIXES]
CASES += [(kind, prefix) for kind in DECODERS for prefix in WITH_EMPTY]


@pytest.mark.parametrize(("kind", "prefix"), CASES, ids=str)
@pytest.mark.parametrize("start", [None, 0, 8])
def test_a_logit_depends_on_what_it_may_see_and_on_nothing_else(
    kind: type[LanguageModel], prefix: list[int], start: int | None
) -> None:
    """Exactly zero gradient from every token out of sight; not zero from every token in sight.

    start None: labels follow the prefix. 0: every position is asked, also inside the prefix. 8: labels
    begin late, so that between some prefixes' ends and the labels lie tokens that must still be read.
    """
    given = batch(prefix, WINDOW, start=start)
    assert visibility(model(kind), given).equal(allowed(kind, given))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_rows_do_not_see_each_other(kind: type[LanguageModel]) -> None:
    built, given = model(kind), batch([3, 8, 5], WINDOW)
    other = Batch.of(given.tokens.clone(), given.labels, given.prefix)
    other.tokens[1] = (other.tokens[1] + 1) % VOCAB
    here, there = built(given), built(other)
    assert here[[0, 2]].equal(there[[0, 2]])
    assert not here[1].equal(there[1])


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("tie", [False, True])
def test_logits_begin_at_start_and_are_those_of_a_full_pass(kind: type[LanguageModel], tie: bool) -> None:
    built = model(kind, tie=tie)
    late, full = batch([5, 5], WINDOW, start=8), batch([5, 5], WINDOW, start=4)
    assert built(late).shape == (2, WINDOW - 8, VOCAB)
    torch.testing.assert_close(built(late), built(full)[:, 4:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("prefix", [[1, 4, 9], [6, 11, 2]], ids=str)
def test_a_row_is_the_same_alone_and_in_a_mixed_batch(kind: type[LanguageModel], prefix: list[int]) -> None:
    """Padding to the longest prefix changes nothing but the order of sums."""
    built, mixed = model(kind), batch(prefix, WINDOW)
    logits = built(mixed)
    for row, length in enumerate(prefix):
        one = Batch.of(mixed.tokens[row : row + 1], mixed.labels[row : row + 1], torch.tensor([length]))
        alone = built(one)[0]
        torch.testing.assert_close(logits[row, one.start - mixed.start :], alone, rtol=0, atol=2e-6)


class TestPrefixDecoder:
    @pytest.mark.parametrize("prefix", [0, 1])
    @pytest.mark.parametrize("window", [11, 64, 130])
    def test_without_a_prefix_it_is_the_causal_decoder_bit_for_bit(self, prefix: int, window: int) -> None:
        causal, with_prefix = model(CausalDecoder), model(PrefixDecoder, seed=9)
        with_prefix.load_state_dict(causal.state_dict())
        given = batch([prefix, prefix], window, start=0)
        assert causal(given).equal(with_prefix(given))
        for built in (causal, with_prefix):
            loss(built, given).backward()
        for one, other in zip(causal.parameters(), with_prefix.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            assert one.grad.equal(other.grad)

    @pytest.mark.parametrize("window", [11, 64, 130])
    def test_a_row_without_one_is_causal_among_others(self, window: int) -> None:
        causal, with_prefix = model(CausalDecoder), model(PrefixDecoder)
        given = batch([0, 7, 3], window, start=0)
        torch.testing.assert_close(causal(given)[0], with_prefix(given)[0], rtol=0, atol=5e-6)

    def test_a_prefix_changes_the_logits(self) -> None:
        causal, with_prefix = model(CausalDecoder), model(PrefixDecoder)
        given = batch([5, 5], WINDOW)
        assert (causal(given) - with_prefix(given)).abs().max() > 1e-2

    @pytest.mark.parametrize("prefix", [[5, 5], [2, 9], [0, 11], [11, 11], [10, 10], [0, 3, 7]], ids=str)
    def test_two_parts_are_one_dense_mask(self, prefix: list[int]) -> None:
        """The split attention against the plain one, forward and backward, in double precision; and once more
        without a mask after the prefix, which is how a GPU may take it."""
        given = batch(prefix, WINDOW, start=0)
        size = (len(prefix), 3, WINDOW, 8)
        q, k, v = (torch.randn(size, dtype=torch.double, requires_grad=True) for _ in "qkv")
        split = model(PrefixDecoder).attention(given)
        assert isinstance(split, partial)
        self.is_one_dense_mask(split, given, q, k, v)
        if split.func is two_part:
            self.is_one_dense_mask(partial(split, tail=None), given, q, k, v)

    @pytest.mark.parametrize(
        ("gpu", "half", "longest", "told"),
        [(True, True, 6, True), (True, True, 7, False), (True, False, 6, False), (False, True, 6, False)],
    )
    def test_the_mask_is_left_out_on_a_gpu_in_half_precision_for_a_short_prefix(
        self, monkeypatch, gpu: bool, half: bool, longest: int, told: bool
    ) -> None:
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: half and device == "cuda")
        there = SimpleNamespace(tokens=SimpleNamespace(is_cuda=gpu, shape=(2, 12)), longest=longest)
        assert _unmasked(there) is told  # pyright: ignore[reportArgumentType]

    def is_one_dense_mask(self, attention: Attend, given: Batch, q: Tensor, k: Tensor, v: Tensor) -> None:
        split = attention(q, k, v)
        mask = masks.prefix(given.prefix, WINDOW)
        dense = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        torch.testing.assert_close(split, dense, rtol=0, atol=1e-13)
        out = torch.randn_like(split)
        gradients = [torch.autograd.grad(attended, (q, k, v), out) for attended in (split, dense)]
        for ours, plain in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)


class TestEncoderDecoder:
    @pytest.mark.parametrize("prefix", [[0, 0], [3, 0]])
    def test_nothing_to_encode_is_refused(self, prefix: list[int]) -> None:
        with pytest.raises(BadInput, match="prefix 0"):
            model(EncoderDecoder)(batch(prefix, WINDOW))
        with pytest.raises(BadInput, match="prefix 0"):
            model(EncoderDecoder).flops(window=WINDOW, prefix=0, start=0)

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_each_stack_has_the_depth(self, depth: int) -> None:
        built = model(EncoderDecoder, depth=depth)
        assert len(built.encoder.blocks) == len(built.decoder.blocks) == depth

    def test_stacks_share_the_embedding_and_nothing_else(self) -> None:
        built = model(EncoderDecoder)
        names = [name for name, _ in built.named_parameters(remove_duplicate=False)]
        assert len(names) == len({id(p) for p in built.parameters()})
        assert sum("embedding" in name for name in names) == 1


@pytest.mark.parametrize("kind", ARCHITECTURES)
class TestStart:
    def test_the_first_loss_is_ln_v(self, kind: type[LanguageModel]) -> None:
        built = kind(Shape(depth=4, width=24, heads=3, ffn_width=40), VOCAB, tie_embeddings=False)
        given = batch([5, 5], WINDOW)
        assert not built(given).any()
        assert loss(built, given).item() == pytest.approx(math.log(VOCAB), rel=1e-6)

    def test_a_tied_head_starts_near_ln_v(self, kind: type[LanguageModel]) -> None:
        """Logits of deviation 1, but for the token just read, which the residual stream still holds.

        That one's logit is up to sqrt(E), so the first loss lies above ln V by less than that.
        """
        torch.manual_seed(0)
        built = kind(Shape(depth=4, width=96, heads=3, ffn_width=40), 500, tie_embeddings=True)
        given = batch([5] * 8, WINDOW)
        assert 0.7 < built(given).std() < 1.4
        assert math.log(500) < loss(built, given).item() < math.log(500) + math.sqrt(96) / 2

    def test_the_seed_decides_every_weight(self, kind: type[LanguageModel]) -> None:
        one, same, other = (model(kind, seed=seed).state_dict() for seed in (5, 5, 6))
        assert all(one[name].equal(same[name]) for name in one)
        assert not any(one[name].equal(other[name]) for name in one)

    def test_matrices_start_at_their_fan_in(self, kind: type[LanguageModel]) -> None:
        """Deviation 1 / sqrt(fan_in), divided by sqrt(writes) where the residual stream is written to."""
        torch.manual_seed(0)
        built = kind(Shape(depth=4, width=192, heads=4, ffn_width=512), VOCAB, tie_embeddings=False)
        assert built.embedding.weight.std().item() == pytest.approx(1, rel=0.03)
        for name, parameter in built.named_parameters():
            if parameter.ndim == 1:
                assert parameter.eq(1).all()
            elif "embedding" not in name and "head" not in name:
                writes = 1
                if name.endswith(("out.weight", "down.weight")):
                    writes = 12 if kind is EncoderDecoder and name.startswith("decoder") else 8
                wanted = (parameter.shape[1] * writes) ** -0.5
                assert parameter.std().item() == pytest.approx(wanted, rel=0.03), name

    def test_bf16_autocast_is_close_to_fp32(self, kind: type[LanguageModel]) -> None:
        built, given = model(kind), batch([3, 8, 5], WINDOW)
        exact = built(given)
        with torch.autocast("cpu", torch.bfloat16):
            rough = built(given)
            loss(built, given).backward()
        assert exact.dtype == torch.float32
        assert rough.dtype == torch.bfloat16
        assert 0 < (exact - rough).abs().max() < 0.05 * exact.abs().max()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in built.parameters())

    def test_a_bad_vocabulary_is_named(self, kind: type[LanguageModel]) -> None:
        with pytest.raises(BadInput, match="vocab_size"):
            kind(Shape(depth=2, width=24, heads=3, ffn_width=40), 0, tie_embeddings=False)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("tie", [False, True])
def test_rate_groups_hold_every_parameter_once(kind: type[LanguageModel], tie: bool) -> None:
    built = model(kind, tie=tie)
    groups = built.rate_groups()
    ids = [id(p) for group in groups.values() for p in group]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in built.parameters()}
    names = {id(p): name for name, p in built.named_parameters()}
    found = {group: {names[id(p)] for p in parameters} for group, parameters in groups.items()}
    assert found["vector"] == {n for n in names.values() if "norm" in n or n == "embedding.weight"}
    assert found["head"] == (set() if tie else {"head.weight"})
    assert found["write"] == {n for n in names.values() if n.endswith((".out.weight", ".down.weight"))}


def test_decoders_have_the_same_state() -> None:
    one, other = (model(kind).state_dict() for kind in DECODERS)
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in other.items()}


@pytest.mark.parametrize("depth", [4, 8])
def test_an_encoder_decoder_has_twice_the_parameters_at_about_the_cost(depth: int) -> None:
    """Its cross-attention adds 4 E^2 to two blocks' 24 E^2; each token passes through one stack only."""
    shape = ladder(depth=depth, width_per_layer=12, head_dim=12, ffn_multiple="8/3")
    causal, both = (kind(shape, 256, tie_embeddings=True) for kind in (CausalDecoder, EncoderDecoder))
    sizes = [count(built)["non_embedding"] for built in (causal, both)]
    assert sizes[1] / sizes[0] == pytest.approx(2 + 1 / 3, abs=0.02)
    costs = [built.flops(window=128, prefix=64, start=63) for built in (causal, both)]
    assert costs[1] / costs[0] == pytest.approx(1.1, abs=0.1)


def test_last_norms_are_compiled_as_blocks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a module of torch's own a compiler takes nothing, and does not say so."""
    taken: list[list[Any]] = []

    def see(graph: torch.fx.GraphModule, _: Any) -> Any:
        taken.append([node.target for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    reader = model(EncoderDecoder)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend=see))
        reader.compile_parts(varied=False)
    torch.compiler.reset()
    with torch.no_grad():
        reader(batch([5, 5], WINDOW))
    torch.compiler.reset()
    assert [torch.rms_norm] in taken
    assert sum(targets.count(torch.rms_norm) > 1 for targets in taken) == 2  # two kinds of block
