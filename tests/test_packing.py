"""Documents packed into windows: none sees another, each is as if alone, and nothing is padded."""

from functools import partial

import pytest
import torch
from commands import TINY, book, call  # noqa: F401 (a fixture)
from tiny import VOCAB, model, visibility
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_mask
from torch.utils.flop_counter import FlopCounterMode

from experiments.train import main as train
from scalelaw import masks
from scalelaw.contracts import IGNORE, SEPARATOR, BadInput, Batch
from scalelaw.data import tokens
from scalelaw.models import packing
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.layers import Block
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.run import records
from scalelaw.stack import join, stack

PACKED = CausalLM(documents=True)
FORMS = ["mask", "by document"]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Windows of every length in the one form or in the other."""
    monkeypatch.setattr(packing, "LONG", 10**9 if request.param == "mask" else 0)
    return request.param


def text(rows: int, window: int, *, mean: float, seed: int = 0) -> Tensor:
    """(rows, window + 1) tokens in documents of `mean` tokens on average, separators included."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(1, VOCAB, (rows, window + 1), generator=generator)
    return drawn.masked_fill(torch.rand(drawn.shape, generator=generator) < 1 / mean, SEPARATOR)


def packed(rows: int, window: int, *, mean: float, seed: int = 0) -> Batch:
    return PACKED(text(rows, window, mean=mean, seed=seed), torch.Generator())


def random(
    batch: Batch, *, heads: int = 3, width: int = 8, dtype: torch.dtype = torch.double
) -> list[Tensor]:
    """Queries, keys and values."""
    rows, window = batch.tokens.shape
    generator = torch.Generator().manual_seed(4)
    drawn = (torch.randn(rows, window, heads, width, dtype=dtype, generator=generator) for _ in "qkv")
    return [x.transpose(1, 2).requires_grad_() for x in drawn]


def numbers(batch: Batch) -> Tensor:
    assert batch.segments is not None
    return batch.segments


def by_mask(batch: Batch, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mask = masks.documents(numbers(batch))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def test_the_worked_example_literally() -> None:
    window = torch.tensor([[5, 6, 0, 7, 8, 9, 0, 4, 3]])
    batch = PACKED(window, torch.Generator())
    assert batch.tokens.tolist() == [[5, 6, 0, 7, 8, 9, 0, 4]]
    assert numbers(batch).tolist() == [[0, 0, 0, 1, 1, 1, 1, 2]]
    assert batch.labels.tolist() == [[6, 0, IGNORE, 8, 9, 0, IGNORE, 3]]
    seen = [[int(entry) for entry in line.split()] for line in EXAMPLE.strip().split("\n")]
    assert masks.documents(numbers(batch))[0, 0].int().tolist() == seen


EXAMPLE = """
1 0 0 0 0 0 0 0
1 1 0 0 0 0 0 0
1 1 1 0 0 0 0 0
0 0 0 1 0 0 0 0
0 0 0 1 1 0 0 0
0 0 0 1 1 1 0 0
0 0 0 1 1 1 1 0
0 0 0 0 0 0 0 1
"""


def test_the_separator_is_the_corpus_s() -> None:
    assert SEPARATOR == tokens.SEPARATOR


def test_without_the_option_nothing_is_kept_apart() -> None:
    windows = text(2, 9, mean=3)
    batch = CausalLM(documents=False)(windows, torch.Generator())
    assert batch.segments is None
    assert batch.labels.equal(windows[:, 1:])


@pytest.mark.parametrize("kind", [CausalDecoder, PrefixDecoder])
@pytest.mark.parametrize("mean", [1.5, 4, 40])
def test_a_logit_depends_on_its_own_document_and_on_nothing_else(kind: type, mean: float, form: str) -> None:
    """Exactly zero gradient from every other document, not zero from every earlier token of its own."""
    batch = packed(4, 14, mean=mean)
    seen = visibility(model(kind), batch)
    for row in range(4):
        for t in range(batch.start, 14):
            for s in range(14):
                ended = (batch.tokens[row, s:t] == SEPARATOR).any()
                assert seen[row, t, s] == (s <= t and not ended), (row, t, s)


@pytest.mark.parametrize("window", [40, 200])
def test_a_document_has_the_logits_and_the_loss_it_has_alone(window: int, form: str) -> None:
    """Without positions beginning anew: rotary ones tell distances only."""
    built, batch = model(CausalDecoder), packed(3, window, mean=window / 4)
    logits = built(batch)
    nll, asked = torch.zeros(()), 0
    for row, sizes in enumerate(packing.lengths(numbers(batch)[i : i + 1]).tolist() for i in range(3)):
        assert len(sizes) > 1
        ends = torch.tensor(sizes).cumsum(0).tolist()
        for begin, end in zip([0, *ends], ends, strict=False):
            own, labels = batch.tokens[row : row + 1, begin:end], batch.labels[row : row + 1, begin:end]
            if (labels == IGNORE).all():
                continue
            alone = Batch.of(own, labels, torch.zeros(1, dtype=torch.int64))
            torch.testing.assert_close(logits[row, begin:end], built(alone)[0], rtol=0, atol=1e-5)
            nll, asked = nll + built.nll(alone), asked + int((labels != IGNORE).sum())
    assert asked == int((batch.labels != IGNORE).sum())
    torch.testing.assert_close(built.nll(batch), nll, rtol=1e-6, atol=0)


def test_the_other_documents_matter_without_the_option() -> None:
    windows = text(3, 40, mean=10)
    built = model(CausalDecoder)
    apart, mixed = (built(CausalLM(documents=d)(windows, torch.Generator())) for d in (True, False))
    first = (windows[:, :-1] == SEPARATOR).long().argmax(dim=1)
    for row, end in enumerate(first.tolist()):
        torch.testing.assert_close(apart[row, : end + 1], mixed[row, : end + 1], rtol=0, atol=1e-5)
        assert (apart[row, end + 1 :] - mixed[row, end + 1 :]).abs().max() > 1e-2


@pytest.mark.parametrize("mean", [1.2, 16, 300])
def test_each_document_by_itself_is_one_dense_mask(mean: float) -> None:
    """Forward and backward, in double precision."""
    batch = packed(3, 64, mean=mean)
    q, k, v = random(batch)
    apart = packing.by_document(q, k, v, lengths=packing.lengths(numbers(batch)))
    dense = by_mask(batch, q, k, v)
    torch.testing.assert_close(apart, dense, rtol=0, atol=1e-13)
    out = torch.randn_like(dense)
    gradients = [torch.autograd.grad(attended, (q, k, v), out) for attended in (apart, dense)]
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)


def test_blocks_hold_the_same_pairs_and_pass_over_the_others() -> None:
    """What a GPU is given. 4 x 4 blocks of 128, 10 of them causal; fewer where documents are short."""
    windows = text(2, 512, mean=10**9)
    windows[1, 127:512:128] = SEPARATOR  # each block a document
    batch = PACKED(windows, torch.Generator())
    blocks = packing.blocks(numbers(batch))
    pairs = create_mask(blocks.mask_mod, 2, 1, 512, 512, device="cpu")
    assert pairs.equal(masks.documents(numbers(batch)))
    assert blocks.full_kv_num_blocks is not None
    looked_at = (blocks.kv_num_blocks + blocks.full_kv_num_blocks)[:, 0].sum(dim=-1)
    assert looked_at.tolist() == [10, 4]


def test_flex_attention_takes_blocks_without_compiling_for_each_batch() -> None:
    """As in a compiled block, traced but not generated; forward, which is all that it does on a CPU."""
    torch._dynamo.reset()
    counter = CompileCounter()
    attend = torch.compile(lambda q, k, v, attend: attend(q, k, v), backend=counter)
    for seed in range(4):
        batch = packed(2, 300, mean=50, seed=seed)
        q, k, v = (x.detach() for x in random(batch, width=16, dtype=torch.float32))
        blocks = packing.blocks(numbers(batch))
        found = attend(q, k, v, partial(packing.by_block, blocks=blocks))
        dense = by_mask(batch, q, k, v)
        torch.testing.assert_close(found, dense, rtol=0, atol=2e-6)
    assert counter.frame_count == 1


def test_a_compiled_block_is_not_compiled_for_each_batch(form: str) -> None:
    torch._dynamo.reset()
    plain, built, counter = model(CausalDecoder, depth=1), model(CausalDecoder, depth=1), CompileCounter()
    for module in built.modules():
        if isinstance(module, Block):
            module.compile(backend=counter)
    counts = []
    with torch.no_grad():
        for seed in range(5):
            batch = packed(4, 32, mean=8, seed=seed)
            torch.testing.assert_close(built(batch), plain(batch), rtol=0, atol=1e-6)
            counts.append(counter.frame_count)
    assert 0 < counts[1] == counts[-1]  # another once, for any number of documents


def test_the_flops_are_the_rectangle_s() -> None:
    built, batch = model(CausalDecoder), packed(1, 64, mean=16)
    told = built.flops(window=64, prefix=0, start=0)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        built(batch)
    assert counter.get_total_flops() == told


def test_the_flops_of_long_windows_are_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LONG", 0)
    built, batch = model(CausalDecoder), packed(1, 64, mean=16)
    pairs = packing.lengths(numbers(batch)).square().sum().item()
    left_out = 4 * (64**2 - pairs) * built.shape.depth * built.shape.width
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        built(batch)
    assert left_out > 0
    assert counter.get_total_flops() == built.flops(window=64, prefix=0, start=0) - left_out


def test_models_side_by_side_keep_their_documents_apart(form: str) -> None:
    models = [model(CausalDecoder, seed=seed) for seed in range(3)]
    batches = [packed(2, 40, mean=9, seed=seed) for seed in range(3)]
    alone = [built.nll(batch).item() for built, batch in zip(models, batches, strict=True)]
    whole = join(batches)
    assert whole is not None
    assert numbers(whole).equal(torch.cat([numbers(b) for b in batches]))
    assert stack(models).nll(whole).tolist() == pytest.approx(alone, rel=1e-6)


def test_batches_with_and_without_documents_are_not_joined() -> None:
    windows = text(2, 12, mean=4)
    assert join([objective(windows, torch.Generator()) for objective in (PACKED, CausalLM())]) is None


def test_moving_a_batch_moves_its_documents() -> None:
    moved = packed(2, 12, mean=4).to(torch.device("meta"))
    assert numbers(moved).is_meta
    assert CausalLM()(text(2, 12, mean=4), torch.Generator()).to(torch.device("meta")).segments is None


@pytest.mark.parametrize("kind", [PrefixDecoder, EncoderDecoder])
def test_architectures_that_mix_documents_refuse_them(kind: type) -> None:
    batch = PrefixLM(prefix=5, per_row=False)(text(2, 12, mean=4), torch.Generator())
    numbered = Batch.of(batch.tokens, batch.labels, batch.prefix, torch.zeros_like(batch.tokens))
    model(kind)(batch)
    with pytest.raises(BadInput, match=r"objective\.documents"):
        model(kind)(numbered)


def test_what_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(BadInput, match=r"objective\.documents"):
        CausalLM(documents="yes").check(8)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("architecture", "code"), [("causal_decoder", 0), ("prefix_decoder", 0), ("encoder_decoder", 1)]
)
def test_the_option_trains(tmp_path, monkeypatch, book, architecture, code):  # noqa: F811
    losses = []
    for documents in ("false", "true"):
        root = tmp_path / documents
        own = [f"architecture={architecture}", f"objective.documents={documents}", f"output={root}"]
        assert call(train, monkeypatch, "data=text", book, *TINY, *own) == code
        losses += [run.loss for _, run in records(root)]
    assert len(set(losses)) == (0 if code else 2)


def test_batches_are_cut_alike_wherever_documents_end():
    """A head asked from one place on in every batch: nothing is compiled again, or otherwise, for some."""
    windows = text(3, 12, mean=4)
    windows[:, 0] = SEPARATOR
    batch = PACKED(windows, torch.Generator())
    assert (batch.labels[:, 0] == IGNORE).all()
    assert batch.start == 0
