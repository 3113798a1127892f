"""Mixtures of experts: the dense model with one expert, Mixtral with several, balanced and counted."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_counting import executed
from test_generate import whole
from test_optim import movement
from test_stack import named
from tiny import ARCHITECTURES, VOCAB, batch, loss, model, visibility
from torch.nn.functional import linear
from training import SHAPE, CausalLM, Stopping, run

from scalelaw import masks
from scalelaw.contracts import BadInput
from scalelaw.counting import count, six_n_d
from scalelaw.models.base import LanguageModel
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.moe import SparseFeedForward
from scalelaw.models.sparse import sparse
from scalelaw.parallel import Alone
from scalelaw.run import read_metrics
from scalelaw.shape import Shape
from scalelaw.step import Step
from scalelaw.train import train

WINDOW = 13
KNOBS = {"experts": 4, "active": 2, "balance": 0.01}


def mixed(kind: type[LanguageModel] = CausalDecoder, *, tie=False, depth=2, **knobs) -> LanguageModel:
    """A model no part of which is at a special value, with mixtures for FFNs."""
    return sparse(
        Shape(depth=depth, width=24, heads=3, ffn_width=40),
        VOCAB,
        dense=lambda shape, vocab_size: model(kind, tie=tie, depth=depth),
        **KNOBS | knobs,
    )


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_one_expert_is_the_dense_block_bit_for_bit(kind):
    dense, one = model(kind, depth=2), mixed(kind, experts=1, active=1)
    for block, other in zip(dense.blocks(), one.blocks(), strict=True):
        other.ffn.gate_up.weight.data = block.ffn.gate_up.weight.data[None].clone()
        other.ffn.down.weight.data = block.ffn.down.weight.data[None].clone()
    given = batch([5, 5], WINDOW)
    assert one(given).equal(dense(given))
    for built in (one, dense):
        loss(built, given).backward()
    assert one.embedding.weight.grad.equal(dense.embedding.weight.grad)
    for block, other in zip(dense.blocks(), one.blocks(), strict=True):
        assert other.ffn.gate_up.weight.grad[0].equal(block.ffn.gate_up.weight.grad)
        assert other.ffn.router.weight.grad.eq(0).all()  # there is nothing to choose


def test_it_is_mixtral_and_so_is_its_auxiliary_loss():
    transformers = pytest.importorskip("transformers")
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    ours, given = mixed(balance=1.0), batch([1, 1, 1], WINDOW)
    config = transformers.MixtralConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        num_local_experts=4,
        num_experts_per_tok=2,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        attn_implementation="eager",
        experts_implementation="eager",
    )
    theirs = transformers.MixtralForCausalLM(config).eval()
    weights = {
        "model.embed_tokens.weight": ours.embedding.weight,
        "model.norm.weight": ours.decoder.norm.weight,
        "lm_head.weight": ours.head.weight,
    }
    for i, block in enumerate(ours.blocks()):
        name = f"model.layers.{i}"
        for x, part in zip("qkv", block.attention.qkv.weight.chunk(3), strict=True):
            weights[f"{name}.self_attn.{x}_proj.weight"] = part
        weights[f"{name}.self_attn.o_proj.weight"] = block.attention.out.weight
        weights[f"{name}.mlp.gate.weight"] = block.ffn.router.weight
        weights[f"{name}.mlp.experts.gate_up_proj"] = block.ffn.gate_up.weight
        weights[f"{name}.mlp.experts.down_proj"] = block.ffn.down.weight
        weights[f"{name}.input_layernorm.weight"] = block.attention_norm.weight
        weights[f"{name}.post_attention_layernorm.weight"] = block.ffn_norm.weight
    theirs.load_state_dict({name: value.detach() for name, value in weights.items()}, strict=True)
    said = theirs(given.tokens, output_router_logits=True)
    assert said.logits.std() > 0.5
    torch.testing.assert_close(ours(given), said.logits, rtol=0, atol=1e-5)
    for mixture, logits in zip(ours.mixtures(), said.router_logits, strict=True):
        # Theirs counts a token k times, and so is k where all is even.
        balance = load_balancing_loss_func((logits,), 4, 2) / 2
        assert mixture.auxiliary.item() == pytest.approx(balance.item(), rel=1e-5)
        assert mixture.auxiliary.item() > 1.001
    assert ours.auxiliary().item() == pytest.approx(sum(m.auxiliary.item() for m in ours.mixtures()))


@pytest.mark.parametrize(("experts", "active"), [(1, 1), (5, 1), (5, 2), (5, 5), (9, 3)])
def test_tokens_read_by_group_are_tokens_read_by_all_and_weighed(experts, active):
    """Against every expert reading every token, in double precision, forward and backward; Switch's gate for
    one, Mixtral's for several."""
    torch.manual_seed(0)
    built = SparseFeedForward(SHAPE, 4, experts=experts, active=active, balance=0.0).double()
    built.router.float()  # which is what it computes in
    x = torch.randn(3, 7, SHAPE.width, dtype=torch.double, requires_grad=True)
    p = linear(x.float(), built.router.weight).softmax(-1)
    top = p.topk(active, dim=-1)
    gate = top.values if active == 1 else top.values / top.values.sum(-1, keepdim=True)
    weight = torch.zeros_like(p).scatter(-1, top.indices, gate).double()
    gate, up = torch.einsum("bte,xfe->btxf", x, built.gate_up.weight).chunk(2, dim=-1)
    every = torch.einsum("btxf,xef->btxe", F.silu(gate) * up, built.down.weight)
    plain, ours = (every * weight[..., None]).sum(dim=2), built(x)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    out, wanted = torch.randn_like(plain), [x, *built.parameters()]
    for one, other in zip(*(torch.autograd.grad(y, wanted, out) for y in (ours, plain)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6 if one.dtype == torch.float32 else 1e-12)
    share = torch.bincount(top.indices.flatten(), minlength=experts) / top.indices.numel()
    torch.testing.assert_close(built.load, share)


def test_the_auxiliary_loss_by_hand():
    """Four tokens, two experts: three choose the first, with p of .9, one the second, with p of .6."""
    built = SparseFeedForward(
        Shape(depth=1, width=2, heads=1, ffn_width=2), 1, experts=2, active=1, balance=0.5
    )
    odds = torch.tensor([9.0, 9.0, 9.0, 4 / 6]).log()
    built.router.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    built(torch.stack((odds, torch.zeros(4)), dim=1)[None])
    assert built.load.tolist() == [0.75, 0.25]
    P = (3 * 0.9 + 0.4) / 4
    assert built.auxiliary.item() == pytest.approx(0.5 * 2 * (0.75 * P + 0.25 * (1 - P)), rel=1e-6)
    built.router.weight.data.zero_()  # even p: the loss is that of an even load
    built(torch.randn(1, 4, 2))
    assert built.auxiliary.item() == pytest.approx(0.5, rel=1e-6)


def test_a_step_s_gradient_has_it_and_its_loss_has_not():
    built, given = mixed(balance=0.3), batch([1] * 4, WINDOW)
    step = Step([built], precision="float32", compile=False, device="cpu", clip=1e9)
    tokens = given.tokens.numel()
    [(total, _)] = step.backward([given], tokens)
    found = [p.grad.clone() for p in built.parameters()]
    nll = F.cross_entropy(built(given).flatten(0, 1), given.labels.flatten(), reduction="sum")
    assert total == pytest.approx(nll.item(), rel=1e-6)
    objective = nll / tokens + built.auxiliary()
    for ours, plain in zip(found, torch.autograd.grad(objective, list(built.parameters())), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)
    alone = torch.autograd.grad(built.nll(given) / tokens, built.mixtures()[0].router.weight)[0]
    assert (alone - built.mixtures()[0].router.weight.grad).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_counts_and_flops(kind):
    built, dense = mixed(kind, tie=True), model(kind, tie=True, depth=2)
    blocks, one, router = len(built.blocks()), 3 * 24 * 40, 24 * 4
    assert blocks == (4 if kind is EncoderDecoder else 2)
    counts, plain = count(built), count(dense)
    assert plain["active"] == plain["non_embedding"]
    assert counts["non_embedding"] == plain["non_embedding"] + blocks * (3 * one + router)
    assert counts["active"] == plain["non_embedding"] + blocks * (one + router)
    for prefix, window, start in ([5, 5], 11, None), ([3, 9, 5], 16, None), ([8, 8], 16, 0):
        counted, said = executed(built, prefix, window, start)
        assert counted == said


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_a_logit_sees_is_what_it_saw(kind):
    """No token's choice of experts takes anything from another's: masks hold as they did."""
    given = batch([5, 5], WINDOW, start=0)
    allowed = (
        masks.causal(WINDOW, WINDOW) if kind is CausalDecoder else masks.prefix(given.prefix, WINDOW)[:, 0]
    )
    assert visibility(mixed(kind), given).equal(allowed.expand(2, WINDOW, WINDOW))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_it_is_read_through_a_cache(kind):
    built, text = mixed(kind), batch([5, 5], WINDOW).tokens
    with torch.no_grad():
        reader, hidden = built.read(text[:, :5], WINDOW - 5)
        for at in range(5, WINDOW):
            logits = linear(*built.scaled(hidden))
            torch.testing.assert_close(logits, whole(built, text[:, :at], 5), rtol=0, atol=1e-5)
            hidden = reader(built.embedding(text[:, at, None]))


def test_rate_groups_take_routers_for_readers():
    built = mixed(EncoderDecoder)
    names = {id(p): name for name, p in built.named_parameters()}
    groups = {group: {names[id(p)] for p in found} for group, found in built.rate_groups().items()}
    assert sum(map(len, groups.values())) == len(names)
    assert {n for n in names.values() if n.endswith(("router.weight", "gate_up.weight"))} <= groups["read"]
    assert {n for n in names.values() if n.endswith("ffn.down.weight")} <= groups["write"]


def test_every_width_moves_alike():
    """muP's coordinate check, as for the dense models: the router's rate follows the width, too."""

    def kind(shape: Shape, vocab_size: int, *, tie_embeddings: bool) -> LanguageModel:
        dense = partial(CausalDecoder, tie_embeddings=tie_embeddings)
        return sparse(shape, vocab_size, dense=dense, **KNOBS)

    scaled = [movement(kind, width, 4, "width") for width in (32, 64, 128, 256)]
    assert max(scaled) < 1.3 * min(scaled), scaled


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what torch's compiler warns of while it traces is its own affair
def test_compiled_blocks_have_the_same_gradients():
    given = batch([1] * 4, WINDOW)
    models, results = [mixed(), mixed()], []
    for built, compiled in zip(models, (False, True), strict=True):
        step = Step([built], precision="float32", compile=compiled, device="cpu", clip=1e9)
        results.append(step.backward([given], given.tokens.numel())[0])
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    assert models[0].load() == models[1].load()
    for one, other in zip(*(built.parameters() for built in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def experts(balance=0.01, **knobs):
    knobs = {"experts": 4, "active": 1} | knobs
    return partial(sparse, dense=partial(CausalDecoder, tie_embeddings=False), balance=balance, **knobs)


def test_a_run_records_its_load_and_both_counts_and_resumes_to_the_bit(tmp_path):
    full = run(tmp_path / "whole", architecture=experts())
    assert full.N == full.parameters["active"] + 2 * 3 * 3 * SHAPE.width * SHAPE.ffn_width
    assert full.C_6ND == six_n_d(full.parameters["active"], full.D)
    rows = read_metrics(tmp_path / "whole")
    assert all(0 <= row["expert_load_least"] <= 1 <= row["expert_load_most"] <= 4 for row in rows)
    assert (
        run(tmp_path / "cut", architecture=experts(), objective=Stopping(CausalLM(), 5)).status
        == "interrupted"
    )
    again = run(tmp_path / "cut", architecture=experts(), objective=CausalLM())
    assert again.row() == full.row()
    assert read_metrics(tmp_path / "cut") == rows


def test_the_auxiliary_loss_evens_the_load(tmp_path):
    def most(balance: float) -> float:
        run(tmp_path / str(balance), architecture=experts(balance, experts=8), log_every=1)
        rows = read_metrics(tmp_path / str(balance))[-4:]
        return sum(row["expert_load_most"] for row in rows) / len(rows)

    assert most(1.0) < 0.75 * most(0.0)


class Two(Alone):
    world = 2


def test_what_shares_or_joins_batches_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"^parallel: "):
        run(tmp_path, architecture=experts(), parallel=Two())
    jobs = [named(tmp_path, name, architecture=experts()) for name in "ab"]
    with pytest.raises(BadInput, match="together=1"):
        train(jobs)


@pytest.mark.parametrize("knobs", [{"experts": 0}, {"active": 5}, {"active": 0}, {"balance": -1.0}])
def test_what_cannot_be_had_is_named(knobs):
    with pytest.raises(BadInput, match=f"architecture.{next(iter(knobs))}"):
        mixed(**knobs)
