"""Our causal decoder as a Llama of transformers, and back: the same function under other names.

The blocks are the same (scalelaw.models.layers). Theirs keeps q, k, v and gate, up as matrices of their own,
where ours are one, and has no scale before a tied head: a tied model leaves as an untied one whose head is
the embedding times E ** -0.5, and one whose head is that to the bit comes back as tied.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scalelaw.contracts import BadInput
from scalelaw.models.base import LanguageModel
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.layers import EPS, THETA
from scalelaw.shape import Shape

# What our blocks fix and a LlamaConfig may choose, with its choice where a file says nothing.
FIXED = {
    "model_type": ("llama", None),
    "hidden_act": ("silu", "silu"),
    "rms_norm_eps": (EPS, 1e-6),
    "attention_bias": (False, False),
    "mlp_bias": (False, False),
    "rope_theta": (THETA, THETA),
    "rope_type": ("default", "default"),
}


def to_llama(model: LanguageModel, *, window: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and the tensors of a LlamaForCausalLM with the model's logits.

    window: positions that it was trained on. Raises BadInput for any model but a causal decoder: there is no
    module in transformers that computes the others.
    """
    if type(model) is not CausalDecoder or model.mixtures():
        name = type(model).__name__ + (" with experts" if model.mixtures() else "")
        raise BadInput(f"{name} has no counterpart in transformers: only a dense CausalDecoder has one")
    shape = model.shape
    config = {
        "architectures": ["LlamaForCausalLM"],
        **{key: wanted for key, (wanted, _) in FIXED.items() if key != "rope_type"},
        "vocab_size": model.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn_width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": window,
        "tie_word_embeddings": False,
        "dtype": "float32",
    }
    embedding = model.embedding.weight
    head = scaled(embedding) if model.head is None else model.head.weight
    tensors = {
        "model.embed_tokens.weight": embedding,
        "model.norm.weight": model.decoder.norm.weight,
        "lm_head.weight": head,
    }
    for number in range(shape.depth):
        for ours, theirs in _names(number).items():
            parts = model.get_parameter(ours).chunk(len(theirs))
            tensors |= dict(zip(theirs, parts, strict=True))
    return config, {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def from_llama(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> CausalDecoder:
    """The causal decoder that computes what a Llama does, in float32.

    Raises BadInput naming the key of config.json, or the tensor, that ours cannot be given.
    """
    tensors = dict(tensors)
    shape = _shape(config)
    embedding = _taken(tensors, "model.embed_tokens.weight")
    untied = embedding if config.get("tie_word_embeddings") else _taken(tensors, "lm_head.weight")
    tie = untied.equal(scaled(embedding))
    state = {"embedding.weight": embedding, "decoder.norm.weight": _taken(tensors, "model.norm.weight")}
    if not tie:
        state["head.weight"] = untied
    for number in range(shape.depth):
        for ours, theirs in _names(number).items():
            state[ours] = torch.cat([_taken(tensors, name) for name in theirs])
    left = [name for name in tensors if name != "lm_head.weight" and not name.endswith("inv_freq")]
    if left:
        raise BadInput(f"{', '.join(left[:3])}: no place in a causal decoder for these tensors")
    model = CausalDecoder(shape, len(embedding), tie_embeddings=tie)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise BadInput(f"config.json and the tensors disagree: {' '.join(str(error).split())}") from error
    return model


def scaled(embedding: Tensor) -> Tensor:
    """(V, E): the head that a tied model's logits are computed with, its scale included."""
    return embedding * embedding.shape[1] ** -0.5


def _shape(config: Mapping[str, Any]) -> Shape:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    said = {**config, **rope}
    for key, (wanted, otherwise) in FIXED.items():
        if said.get(key, otherwise) != wanted:
            raise BadInput(f"config.json: {key}={said.get(key, otherwise)!r}, where ours has {wanted!r}")
    try:
        shape = Shape(
            depth=config["num_hidden_layers"],
            width=config["hidden_size"],
            heads=config["num_attention_heads"],
            ffn_width=config["intermediate_size"],
        )
    except KeyError as error:
        raise BadInput(f"config.json names no {error.args[0]}") from None
    for key, wanted in (("num_key_value_heads", shape.heads), ("head_dim", shape.head_dim)):
        if config.get(key) not in (None, wanted):
            raise BadInput(f"config.json: {key}={config[key]}, where ours has {wanted}")
    return shape


def _taken(tensors: dict[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise BadInput(f"the tensor {name} is not there")
    return tensors.pop(name).float()


def _names(block: int) -> dict[str, tuple[str, ...]]:
    """Our matrices of a block, and those of theirs that each is made of, one above the other."""
    ours, theirs = f"decoder.blocks.{block}", f"model.layers.{block}"
    return {
        f"{ours}.attention_norm.weight": (f"{theirs}.input_layernorm.weight",),
        f"{ours}.attention.qkv.weight": tuple(f"{theirs}.self_attn.{x}_proj.weight" for x in "qkv"),
        f"{ours}.attention.out.weight": (f"{theirs}.self_attn.o_proj.weight",),
        f"{ours}.ffn_norm.weight": (f"{theirs}.post_attention_layernorm.weight",),
        f"{ours}.ffn.gate_up.weight": tuple(f"{theirs}.mlp.{x}_proj.weight" for x in ("gate", "up")),
        f"{ours}.ffn.down.weight": (f"{theirs}.mlp.down_proj.weight",),
    }
