"""Every parameter and every FLOP: against torch's counters, published tables, and each other."""

import pytest
import torch
from tiny import ARCHITECTURES, VOCAB, batch, loss, model
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scalelaw.counting import Published, count, gpt, llama, six_n_d, t5, training_flops
from scalelaw.models.base import LanguageModel
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.shape import Shape

# Shape from the paper's table, parameters as the paper or the checkpoint's own card gives them.
PUBLISHED = {
    "GPT-2 small": (gpt(depth=12, width=768, vocab_size=50_257, positions=1024), 124.44e6),
    "GPT-2 XL": (gpt(depth=48, width=1600, vocab_size=50_257, positions=1024), 1.558e9),
    "GPT-3 175B": (gpt(depth=96, width=12_288, vocab_size=50_257, positions=2048), 175e9),
    "LLaMA-7B": (llama(depth=32, width=4096, ffn_width=11_008, vocab_size=32_000), 6.738e9),
    "LLaMA-13B": (llama(depth=40, width=5120, ffn_width=13_824, vocab_size=32_000), 13.016e9),
    "LLaMA-65B": (llama(depth=80, width=8192, ffn_width=22_016, vocab_size=32_000), 65.286e9),
    "T5-small": (t5(depth=6, width=512, attention_width=512, heads=8, ffn_width=2048), 60.5e6),
    "T5-base": (t5(depth=12, width=768, attention_width=768, heads=12, ffn_width=3072), 222.9e6),
    "T5-large": (t5(depth=24, width=1024, attention_width=1024, heads=16, ffn_width=4096), 737.7e6),
    "T5-3B": (t5(depth=24, width=1024, attention_width=4096, heads=32, ffn_width=16_384), 2.85e9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes_give_published_counts(name: str) -> None:
    shape, stated = PUBLISHED[name]
    assert shape.counts()["total"] == pytest.approx(stated, rel=0.01)


@pytest.mark.parametrize("name", ["GPT-2 small", "GPT-2 XL", "LLaMA-7B", "T5-base", "T5-3B"])
def test_published_shapes_give_transformers_counts_exactly(name: str) -> None:
    """To the last parameter, against transformers' own modules, built without memory."""
    transformers = pytest.importorskip("transformers")
    shape = PUBLISHED[name][0]
    with torch.device("meta"):
        if name.startswith("GPT"):
            config = transformers.GPT2Config(
                n_embd=shape.width, n_layer=shape.decoder, n_head=shape.width // 64
            )
            built = transformers.GPT2LMHeadModel(config)
        elif name.startswith("LLaMA"):
            config = transformers.LlamaConfig()  # its defaults are LLaMA-7B's
            assert (config.hidden_size, config.num_hidden_layers) == (shape.width, shape.decoder)
            built = transformers.LlamaForCausalLM(config)
        else:
            heads = shape.relative_biases // 64
            config = transformers.T5Config(
                d_model=shape.width,
                d_kv=shape.attention_width // heads,
                d_ff=shape.ffn_width,
                num_layers=shape.encoder,
                num_heads=heads,
            )
            built = transformers.T5ForConditionalGeneration(config)
            built.tie_weights()
    assert shape.counts()["total"] == sum(p.numel() for p in built.parameters())


def test_gpt_3_table_d1() -> None:
    """Brown et al. 2020, table D.1: 3.14e23 FLOPs for 300e9 tokens; its exact matmuls add attention, head."""
    shape, _ = PUBLISHED["GPT-3 175B"]
    assert six_n_d(shape.counts()["total"], 300e9) == pytest.approx(3.14e23, rel=0.005)
    exact = training_flops(shape.flops(window=2048)) * 300e9 / 2048
    assert exact == pytest.approx(
        6 * 300e9 * (shape.counts()["with_head"] + 2 * 96 * 2048 * 12_288), rel=0.001
    )


def _published(built: LanguageModel, tie: bool) -> Published:
    """The closed form of one of our own models."""
    shape = built.shape
    encoder = shape.depth if isinstance(built, EncoderDecoder) else 0
    plain = llama(depth=shape.depth, width=shape.width, ffn_width=shape.ffn_width, vocab_size=VOCAB, tied=tie)
    return Published(**{**plain.__dict__, "encoder": encoder})


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("depth", [2, 5])
def test_a_model_and_its_closed_form_agree(kind: type[LanguageModel], tie: bool, depth: int) -> None:
    built = model(kind, tie=tie, depth=depth)
    counts, closed = count(built), _published(built, tie)
    assert counts == closed.counts()
    assert counts["total"] == sum(p.numel() for p in built.parameters())
    if kind is CausalDecoder:
        assert built.flops(window=19, prefix=7, start=5) == closed.flops(window=19, start=5)
    if kind is EncoderDecoder:
        assert built.flops(window=19, prefix=7, start=5) == closed.flops(window=19, prefix=7, start=5)


def test_counts_by_hand() -> None:
    """Width 4, one head, FFN 6, vocabulary 10: two blocks on paper."""
    shape = Shape(depth=2, width=4, heads=1, ffn_width=6)
    block = {"attention": 4 * 16, "ffn": 3 * 4 * 6, "norm": 2 * 4}
    counts = count(CausalDecoder(shape, 10, tie_embeddings=False))
    assert {key: counts[key] for key in block} == {"attention": 128, "ffn": 144, "norm": 2 * 8 + 4}
    assert (counts["non_embedding"], counts["decoder"], counts["encoder"]) == (292, 292, 0)
    assert (counts["total"], counts["with_embedding"], counts["with_head"]) == (372, 332, 332)
    tied = count(CausalDecoder(shape, 10, tie_embeddings=True))
    assert (tied["total"], tied["with_embedding"], tied["with_head"], tied["head"]) == (332, 332, 332, 0)
    both = count(EncoderDecoder(shape, 10, tie_embeddings=False))
    assert (both["encoder"], both["decoder"]) == (2 * (64 + 72 + 8) + 4, 2 * (64 + 64 + 72 + 12) + 4)
    assert (both["attention"], both["cross_attention"]) == (6 * 64, 2 * 64)


def test_a_parameter_that_cannot_be_placed_is_named() -> None:
    with pytest.raises(ValueError, match=r"mixer\.weight"):
        count(nn.ModuleDict({"mixer": nn.Linear(2, 2)}))
    with pytest.raises(ValueError, match=r"middle\.ffn\.weight"):
        count(nn.ModuleDict({"middle": nn.ModuleDict({"ffn": nn.Linear(2, 2)})}))


def executed(built: LanguageModel, prefix: list[int], window: int, start: int | None) -> tuple[int, int]:
    """What torch counts for a forward and backward pass, and what we say it costs.

    With attention as plain matmuls: torch has no count for the fused kernel of the CPU, and its count for
    those of a GPU adds half a forward pass for what their backward pass computes again.
    """
    given = batch(prefix, window, start=start)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss(built, given).backward()
    said = built.flops(window=window, prefix=given.longest, start=given.start)
    return counter.get_total_flops(), training_flops(said) * len(prefix)


# (prefixes of the rows, window, start): shared and mixed, no prefix and one of the whole window, labels that
# begin inside the prefix, at its end and after it.
PASSES = [
    ([5, 5], 11, None),
    ([1, 1, 1], 16, None),
    ([16, 16], 16, None),
    ([15, 15], 16, None),
    ([8, 8], 16, 0),
    ([8, 8], 16, 12),
    ([3, 9, 5], 16, None),
    ([12, 2], 16, None),
    ([2, 16], 16, 0),
]
EMPTY = [([0, 0], 16, None), ([0, 0], 11, 7), ([0, 9], 16, None), ([0, 1], 16, 4)]
CASES = [(kind, *one) for kind in ARCHITECTURES for one in PASSES]
CASES += [(kind, *one) for kind in (CausalDecoder, PrefixDecoder) for one in EMPTY]


@pytest.mark.parametrize(("kind", "prefix", "window", "start"), CASES, ids=str)
def test_flops_are_torch_s_to_the_last_one(
    kind: type[LanguageModel], prefix: list[int], window: int, start: int | None
) -> None:
    counted, said = executed(model(kind, depth=3), prefix, window, start)
    assert counted == said


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_flops_are_torch_s_with_a_tied_head(kind: type[LanguageModel]) -> None:
    counted, said = executed(model(kind, tie=True, depth=2), [3, 9, 5], 16, None)
    assert counted == said


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("sizes", [(3, 12, 2, 16), (2, 40, 5, 7), (4, 64, 2, 160)])
def test_flops_are_torch_s_at_other_shapes(
    kind: type[LanguageModel], sizes: tuple[int, int, int, int]
) -> None:
    depth, width, heads, ffn_width = sizes
    shape = Shape(depth=depth, width=width, heads=heads, ffn_width=ffn_width)
    built = kind(shape, VOCAB, tie_embeddings=False)
    counted, said = executed(built, [6, 6, 6], 24, None)
    assert counted == said


def test_flops_under_autocast_are_the_same() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        counted, said = executed(model(EncoderDecoder), [3, 9, 5], 16, None)
    assert counted == said


def test_six_n_d_misses_what_it_says_it_misses() -> None:
    """For a decoder the exact C is 6 (N + head + 2 L T E) a token, norms left out."""
    built, T = model(CausalDecoder), 16
    counts, shape = count(built), built.shape
    matmul = counts["attention"] + counts["ffn"] + counts["head"] + 2 * shape.depth * T * shape.width
    assert training_flops(built.flops(window=T, prefix=0, start=0)) == six_n_d(matmul, T)
