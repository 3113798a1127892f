"""Precision and compilation: what they may change of a run, and what not."""

from functools import partial

import pytest
import torch
from training import ROWS, SHAPE, VOCAB, WINDOW, CausalDecoder, CausalLM, Stopping, compiler, run

from scalelaw.budget import Tokens
from scalelaw.contracts import Batch
from scalelaw.models.base import LanguageModel
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.layers import causal
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.answers import Answers
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.optim import adamw
from scalelaw.run import read_metrics
from scalelaw.step import Step
from scalelaw.tasks.modular_addition import ModularAddition
from scalelaw.tasks.source import TaskSource

SPLIT = PrefixLM(prefix=None, per_row=False)
ARCHITECTURES = {
    "causal": {},
    "prefix": {"architecture": partial(PrefixDecoder, tie_embeddings=False), "objective": SPLIT},
    "encoder-decoder": {"architecture": partial(EncoderDecoder, tie_embeddings=False), "objective": SPLIT},
    "answers": {  # where the text says that a batch is cut
        "architecture": partial(PrefixDecoder, tie_embeddings=False),
        "objective": Answers(prefix=True),
        "source": TaskSource(task=ModularAddition(modulus=4, held_out=0.2, seed=0), items=2),
    },
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "compiled"))


@compiler
@pytest.mark.parametrize(
    "name", ["causal", "prefix", pytest.param("encoder-decoder", marks=pytest.mark.slow)]
)
def test_a_compiled_run_has_the_losses_of_an_eager_one(tmp_path, name):
    """After 200 steps in float32, with drawn splits: within 1e-4 of each other at every evaluation.

    At a rate that training is stable at: at the tiny run's own, seven times this, roundings of 1e-7 grow a
    thousandfold in the encoder-decoder.
    """
    rule = {"transfer": "none", "base_width": 16, "base_depth": 2, "betas": [0.9, 0.95]}
    slow = partial(adamw, lr=0.003, eps=1e-8, weight_decay=0.1, **rule)
    parts = ARCHITECTURES[name] | {"budget": Tokens(D=200 * ROWS * WINDOW), "optimizer": slow}
    for kind in (False, True):
        run(tmp_path / str(kind), compile=kind, **parts)
    eager, compiled = (
        [row["loss"] for row in read_metrics(tmp_path / kind) if "loss" in row] for kind in ("False", "True")
    )
    assert compiled == pytest.approx(eager, rel=1e-4)
    assert len(compiled) == 3


@compiler
@pytest.mark.parametrize(
    "name",
    [
        "causal",
        pytest.param("prefix", marks=pytest.mark.slow),
        pytest.param("encoder-decoder", marks=pytest.mark.slow),
        pytest.param("answers", marks=pytest.mark.slow),
    ],
)
def test_a_compiled_run_in_bfloat16_resumes_to_the_same_bits(tmp_path, name):
    parts = {"compile": True, "precision": "bfloat16", "objective": CausalLM()} | ARCHITECTURES[name]
    whole = run(tmp_path / "whole", **parts)
    assert whole.status == "finished"
    stopping = parts | {"objective": Stopping(parts["objective"], 5)}
    assert run(tmp_path / "cut", **stopping).status == "interrupted"
    assert run(tmp_path / "cut", **parts).row() == whole.row()
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


@pytest.mark.parametrize(("name", "told"), [("causal", False), ("prefix", True), ("answers", True)])
def test_a_run_tells_the_compiler_whether_its_batches_vary(tmp_path, monkeypatch, name, told):
    heard = []
    monkeypatch.setattr(LanguageModel, "compile_parts", lambda self, *, varied: heard.append(varied))
    run(tmp_path, compile=True, **ARCHITECTURES[name])
    assert heard == [told]


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["prefix", "encoder-decoder"])
def test_a_split_of_any_length_compiles_to_the_gradient_in_float32(name):
    """Every prefix of a window, in an order where kernels for any length come before the short ones. What
    a kernel reads and nothing has written to is NaN here."""
    window = 16
    torch.manual_seed(0)
    models = [ARCHITECTURES[name]["architecture"](SHAPE, VOCAB) for _ in range(2)]
    torch.nn.init.normal_(models[0].head.weight, std=0.3)
    models[1].load_state_dict(models[0].state_dict())
    rounded, exact = (
        Step([model], precision=kind, compile=kind == "bfloat16", varied=True, device="cpu", clip=1e9)
        for model, kind in zip(models, ("bfloat16", "float32"), strict=True)
    )
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        for prefix in (11, 15, 6, 14, 1, 16, *range(2, 14)):
            windows = torch.randint(VOCAB, (ROWS, window + 1))
            batch = PrefixLM(prefix=prefix, per_row=False)(windows, torch.Generator())
            for step in (rounded, exact):
                step.backward([batch], ROWS * window)
            ours, theirs = (torch.cat([p.grad.flatten() for p in model.parameters()]) for model in models)
            assert float((ours - theirs).norm() / theirs.norm()) < 0.03, prefix
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = False


@compiler
@pytest.mark.parametrize("window", [5, 128, 300])
def test_attention_by_blocks_is_causal_attention(window):
    """Compiled bfloat16 against the fused kernel in float32, values and gradients, to bfloat16's rounding; no
    gradient from a query to a later key."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, window, 16, generator=generator).requires_grad_() for _ in range(3))
    mixture = torch.randn(2, 2, window, 16, generator=generator)
    exact = causal(q, k, v)
    wanted = torch.autograd.grad((exact * mixture).sum(), (q, k, v))
    rounded = [x.detach().bfloat16().requires_grad_() for x in (q, k, v)]
    blocked = torch.compile(causal, dynamic=False)(*rounded)
    found = torch.autograd.grad((blocked * mixture.bfloat16()).sum(), rounded, retain_graph=True)
    for ours, theirs in zip((blocked, *found), (exact, *wanted), strict=True):
        assert float((ours.float() - theirs).norm() / theirs.norm()) < 0.02
    middle = window // 2
    _, by_key, by_value = torch.autograd.grad(blocked[:, :, :middle].float().sum(), rounded)
    assert not by_key[:, :, middle:].any()
    assert not by_value[:, :, middle:].any()


@compiler
def test_attention_compiled_for_any_length_reads_nothing_unwritten():
    """Three queries, whose second half is one, after a longer window; unwritten memory is NaN here."""
    compiled = torch.compile(causal, dynamic=True)
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        for window in (7, 3):
            given = [torch.randn(2, 2, window, 16).bfloat16().requires_grad_() for _ in range(3)]
            slopes = torch.autograd.grad(compiled(*given).float().pow(2).sum(), given)
            assert all(slope.isfinite().all() for slope in slopes), window
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before


def test_bfloat16_rounds_the_gradient_and_keeps_the_weights():
    """Autocast: float32 weights and gradients, a few parts in a hundred from the exact ones."""
    torch.manual_seed(0)
    model = CausalDecoder(SHAPE, VOCAB, tie_embeddings=False)
    torch.nn.init.normal_(model.head.weight, std=0.3)
    batch = CausalLM()(torch.randint(VOCAB, (ROWS, WINDOW + 1)), torch.Generator())
    slopes = {}
    for precision in ("float32", "bfloat16"):
        step = Step([model], precision=precision, compile=False, device="cpu", clip=1e9)
        ((_, norm),) = step.backward([batch], ROWS * WINDOW)
        slopes[precision] = torch.cat([p.grad.flatten().clone() for p in model.parameters()])
        assert norm == pytest.approx(float(slopes[precision].norm()), rel=1e-5)
    assert slopes["bfloat16"].dtype == torch.float32
    off = float((slopes["bfloat16"] - slopes["float32"]).norm() / slopes["float32"].norm())
    assert 1e-5 < off < 0.03


def test_the_gradient_is_clipped_to_the_norm_asked():
    """And left as it is, to the bit, where it is within it."""
    model = CausalDecoder(SHAPE, VOCAB, tie_embeddings=False)
    torch.nn.init.normal_(model.head.weight)
    batch: Batch = CausalLM()(torch.randint(VOCAB, (ROWS, WINDOW + 1)), torch.Generator())

    def clipped(clip: float) -> tuple[float, torch.Tensor]:
        step = Step([model], precision="float32", compile=False, device="cpu", clip=clip)
        ((_, norm),) = step.backward([batch], ROWS * WINDOW)
        return norm, torch.cat([p.grad.flatten() for p in model.parameters()])

    norm, whole = clipped(1e9)
    assert norm > 0.01
    assert torch.allclose(clipped(0.01)[1], whole * (0.01 / norm), rtol=1e-3, atol=0)
    assert clipped(norm * 1.001)[1].equal(whole)
