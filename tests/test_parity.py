"""Logits equal to implementations that are not ours, on copied weights (transformers, no downloads).

What matches what:
- causal decoder: LlamaForCausalLM as it stands, tied (the tied scale folded into the last norm) and untied;
- prefix decoder: the same Llama under a 4-D mask written here by the definition, row by row;
- encoder-decoder: T5GemmaForConditionalGeneration end to end (both stacks, rotary positions, padding masks,
  cross-attention, untied head), with silu in place of gelu, no soft-capping, full attention, and its
  `post_*_layernorm` modules, which our blocks do not have, replaced by the identity. Its embedding scale of
  sqrt(E) and its (1 + w) norms are folded into the copied weights;
- encoder-decoder, tied: T5ForConditionalGeneration with gated silu, no module changed, one embedding
  for both stacks and the head, scaled by E ** -0.5 there. Ours has rotary positions turned off, since T5 has
  none; T5's relative bias is zero, and the 1 / sqrt(head_dim) that T5 leaves out of its attention is folded
  into the copied query weights.
T5Gemma covers rotary positions across the two stacks, T5 the order of norms and residuals and the tied head.
"""

import pytest
import torch
from tiny import VOCAB, batch, model
from torch import Tensor, nn

from scalelaw.contracts import Batch
from scalelaw.models import encoder_decoder, layers
from scalelaw.models.base import LanguageModel
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder

transformers = pytest.importorskip("transformers")

WINDOW = 19
CLOSE = 1e-5
Weights = dict[str, Tensor]


def self_attention(ours: layers.SelfAttention, prefix: str) -> Weights:
    q, k, v = ours.qkv.weight.chunk(3)
    return {
        f"{prefix}.q_proj.weight": q,
        f"{prefix}.k_proj.weight": k,
        f"{prefix}.v_proj.weight": v,
        f"{prefix}.o_proj.weight": ours.out.weight,
    }


def feed_forward(ours: layers.FeedForward, prefix: str) -> Weights:
    gate, up = ours.gate_up.weight.chunk(2)
    return {
        f"{prefix}.gate_proj.weight": gate,
        f"{prefix}.up_proj.weight": up,
        f"{prefix}.down_proj.weight": ours.down.weight,
    }


def llama(ours: LanguageModel) -> nn.Module:
    shape = ours.shape
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=shape.width,
        intermediate_size=shape.ffn_width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        rms_norm_eps=layers.EPS,
        tie_word_embeddings=ours.head is None,
        attn_implementation="eager",
        use_cache=False,
    )
    # Our tied head scales the hidden state, Llama's does not: the last norm's gain takes the scale.
    scale = 1.0 if ours.head is not None else shape.width**-0.5
    head = ours.embedding if ours.head is None else ours.head
    weights: Weights = {
        "model.embed_tokens.weight": ours.embedding.weight,
        "model.norm.weight": ours.decoder.norm.weight * scale,
        "lm_head.weight": head.weight,
    }
    for i, block in enumerate(ours.decoder.blocks):
        name = f"model.layers.{i}"
        weights |= self_attention(block.attention, f"{name}.self_attn")
        weights |= feed_forward(block.ffn, f"{name}.mlp")
        weights[f"{name}.input_layernorm.weight"] = block.attention_norm.weight
        weights[f"{name}.post_attention_layernorm.weight"] = block.ffn_norm.weight
    return loaded(transformers.LlamaForCausalLM(config), weights)


def loaded(theirs: nn.Module, weights: Weights) -> nn.Module:
    """Every one of their parameters comes from ours: strict, so that none stays at its own start."""
    theirs.load_state_dict({name: value.detach() for name, value in weights.items()}, strict=True)
    return theirs.eval()


@pytest.mark.parametrize("tie", [False, True])
def test_causal_decoder_is_llama(tie: bool) -> None:
    ours, given = model(CausalDecoder, tie=tie), batch([7, 7, 7], WINDOW)
    theirs = llama(ours)(given.tokens).logits[:, given.start :]
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours(given), theirs, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("prefix", [[7, 7, 7], [0, 4, 18], [19, 1, 10]], ids=str)
def test_prefix_decoder_is_llama_under_a_mask(prefix: list[int]) -> None:
    ours, given = model(PrefixDecoder), batch(prefix, WINDOW, start=0)
    mask = torch.full((len(prefix), 1, WINDOW, WINDOW), torch.finfo(torch.float32).min)
    for row, length in enumerate(prefix):
        for t in range(WINDOW):
            mask[row, 0, t, : max(t + 1, length)] = 0
    theirs = llama(ours)(given.tokens, attention_mask=mask).logits
    torch.testing.assert_close(ours(given), theirs, rtol=0, atol=CLOSE)


def t5gemma(ours: LanguageModel) -> nn.Module:
    shape = ours.shape
    stacks = {}
    for stack in ("encoder", "decoder"):
        blocks = len(getattr(ours, stack).blocks)
        stacks[stack] = {
            "vocab_size": VOCAB,
            "hidden_size": shape.width,
            "intermediate_size": shape.ffn_width,
            "num_hidden_layers": blocks,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.heads,
            "head_dim": shape.head_dim,
            "query_pre_attn_scalar": shape.head_dim,
            "hidden_activation": "silu",
            "rms_norm_eps": layers.EPS,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "layer_types": ["full_attention"] * blocks,
            "tie_word_embeddings": False,
        }
    config = transformers.T5GemmaConfig(
        **stacks, vocab_size=VOCAB, tie_word_embeddings=False, attn_implementation="eager"
    )
    theirs = transformers.T5GemmaForConditionalGeneration(config)
    for module in list(theirs.modules()):
        for name, _ in list(module.named_children()):
            if name.startswith("post_"):
                setattr(module, name, nn.Identity())
    assert ours.head is not None
    weights: Weights = {"lm_head.out_proj.weight": ours.head.weight}
    for stack in ("encoder", "decoder"):
        # Their input is the embedding times sqrt(E), their norm multiplies by 1 + w.
        weights[f"model.{stack}.embed_tokens.weight"] = ours.embedding.weight / shape.width**0.5
        weights[f"model.{stack}.norm.weight"] = getattr(ours, stack).norm.weight - 1
        for i, block in enumerate(getattr(ours, stack).blocks):
            name = f"model.{stack}.layers.{i}"
            weights |= self_attention(block.attention, f"{name}.self_attn")
            weights |= feed_forward(block.ffn, f"{name}.mlp")
            weights[f"{name}.pre_self_attn_layernorm.weight"] = block.attention_norm.weight - 1
            weights[f"{name}.pre_feedforward_layernorm.weight"] = block.ffn_norm.weight - 1
            if stack == "decoder":
                k, v = block.cross_attention.kv.weight.chunk(2)
                weights[f"{name}.cross_attn.q_proj.weight"] = block.cross_attention.q.weight
                weights[f"{name}.cross_attn.k_proj.weight"] = k
                weights[f"{name}.cross_attn.v_proj.weight"] = v
                weights[f"{name}.cross_attn.o_proj.weight"] = block.cross_attention.out.weight
                weights[f"{name}.pre_cross_attn_layernorm.weight"] = block.cross_norm.weight - 1
    return loaded(theirs, weights)


def row_by_row(theirs: nn.Module, given: Batch, **keywords: Tensor) -> list[Tensor]:
    """Their logits for each row's targets, each row given alone, in the order of our labels."""
    logits = []
    for tokens, length in zip(given.tokens, given.prefix.tolist(), strict=True):
        places = {"position_ids": (0, length), "decoder_position_ids": (length - 1, WINDOW)}
        asked = {k: torch.arange(*places[k])[None] for k in keywords}
        source, target = tokens[None, :length], tokens[None, length - 1 :]
        # Said outright, because T5Gemma takes token 0 for padding where nothing is said.
        all_of = {
            "attention_mask": torch.ones_like(source),
            "decoder_attention_mask": torch.ones_like(target),
        }
        out = theirs(input_ids=source, decoder_input_ids=target, **all_of, **asked)
        logits.append(out.logits[0])
    return logits


@pytest.mark.parametrize("prefix", [[7, 7, 7], [1, 4, 18]], ids=str)
@pytest.mark.parametrize("depth", [4, 5])
def test_encoder_decoder_is_t5gemma(prefix: list[int], depth: int) -> None:
    """One batch of ours, padded where prefixes differ; each row alone in theirs."""
    ours, given = model(EncoderDecoder, depth=depth), batch(prefix, WINDOW)
    theirs = row_by_row(t5gemma(ours), given, position_ids=given.tokens, decoder_position_ids=given.tokens)
    for row, expected in enumerate(theirs):
        assert expected.std() > 0.5
        torch.testing.assert_close(ours(given)[row, -len(expected) :], expected, rtol=0, atol=CLOSE)


def t5(ours: LanguageModel) -> nn.Module:
    shape = ours.shape
    config = transformers.T5Config(
        vocab_size=VOCAB,
        d_model=shape.width,
        d_kv=shape.head_dim,
        d_ff=shape.ffn_width,
        num_heads=shape.heads,
        num_layers=len(ours.encoder.blocks),
        num_decoder_layers=len(ours.decoder.blocks),
        feed_forward_proj="gated-silu",
        layer_norm_epsilon=layers.EPS,
        dropout_rate=0.0,
    )
    theirs = transformers.T5ForConditionalGeneration(config)
    scale = shape.head_dim**-0.5  # T5 leaves it to the initial weights
    table = ours.embedding.weight
    weights: Weights = {"lm_head.weight": table, "shared.weight": table}
    for stack in ("encoder", "decoder"):
        weights[f"{stack}.embed_tokens.weight"] = table
        weights[f"{stack}.final_layer_norm.weight"] = getattr(ours, stack).norm.weight
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        weights[bias] = torch.zeros_like(theirs.state_dict()[bias])
        for i, block in enumerate(getattr(ours, stack).blocks):
            name, last = f"{stack}.block.{i}.layer", 2 if stack == "decoder" else 1
            q, k, v = block.attention.qkv.weight.chunk(3)
            for part, value in {"q": q * scale, "k": k, "v": v, "o": block.attention.out.weight}.items():
                weights[f"{name}.0.SelfAttention.{part}.weight"] = value
            weights[f"{name}.0.layer_norm.weight"] = block.attention_norm.weight
            if stack == "decoder":
                cross = block.cross_attention
                k, v = cross.kv.weight.chunk(2)
                parts = {"q": cross.q.weight * scale, "k": k, "v": v, "o": cross.out.weight}
                for part, value in parts.items():
                    weights[f"{name}.1.EncDecAttention.{part}.weight"] = value
                weights[f"{name}.1.layer_norm.weight"] = block.cross_norm.weight
            gate, up = block.ffn.gate_up.weight.chunk(2)
            for part, value in {"wi_0": gate, "wi_1": up, "wo": block.ffn.down.weight}.items():
                weights[f"{name}.{last}.DenseReluDense.{part}.weight"] = value
            weights[f"{name}.{last}.layer_norm.weight"] = block.ffn_norm.weight
    return loaded(theirs, weights)


@pytest.mark.parametrize("prefix", [[7, 7, 7], [1, 4, 18]], ids=str)
def test_encoder_decoder_without_positions_is_t5(prefix: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def still(window: int, head_dim: int, device: torch.device) -> Tensor:
        return torch.stack((torch.ones(window, head_dim // 2), torch.zeros(window, head_dim // 2)))

    monkeypatch.setattr(encoder_decoder, "rotation", still)
    ours, given = model(EncoderDecoder, tie=True), batch(prefix, WINDOW)
    for row, expected in enumerate(row_by_row(t5(ours), given)):
        assert expected.std() > 0.5
        torch.testing.assert_close(ours(given)[row, -len(expected) :], expected, rtol=0, atol=CLOSE)
