"""Small models and batches for tests of what a model may see, of what it costs, and of parity."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scalelaw.contracts import IGNORE, Batch
from scalelaw.models.base import LanguageModel
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.hybrid_encoder_decoder import HybridEncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.shape import Shape

DECODERS: list[type[LanguageModel]] = [CausalDecoder, PrefixDecoder]
ARCHITECTURES: list[type[LanguageModel]] = [*DECODERS, EncoderDecoder]
VOCAB = 37


def hybrid(share: float) -> Any:
    """A kind of model, with that share of each prefix the decoder's own."""
    return partial(HybridEncoderDecoder, decoder_prefix=share)


def model(kind: type[LanguageModel], *, tie: bool = False, depth: int = 4, seed: int = 0) -> LanguageModel:
    """A model no part of which is at a special value: the head is not zero, no norm gain is one."""
    torch.manual_seed(seed)
    made = kind(Shape(depth=depth, width=24, heads=3, ffn_width=40), VOCAB, tie_embeddings=tie)
    for name, parameter in made.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    if made.head is not None:
        nn.init.normal_(made.head.weight, std=made.shape.width**-0.5)
    return made


def batch(prefix: list[int], window: int, *, start: int | None = None, seed: int = 1) -> Batch:
    """Each row asks for all tokens after its prefix, or, with `start`, all from that position on."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(VOCAB, (len(prefix), window + 1), generator=generator)
    labels = text[:, 1:].clone()
    for row, length in enumerate(prefix):
        labels[row, : max(length - 1, 0) if start is None else start] = IGNORE
    return Batch.of(text[:, :-1], labels, torch.tensor(prefix))


def visibility(built: LanguageModel, given: Batch) -> Tensor:
    """(B, T, T) bool: [b, t, s] where row b's logits at position t depend on its token s at all.

    By gradients of random mixtures of the logits, so that no dependence cancels. Rows of `t` before
    `given.start`, where there are no logits, stay False.
    """
    kept: list[Tensor] = []
    hook = built.embedding.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = built(given)
    hook.remove()
    (embedded,) = kept
    seen = torch.zeros(*given.tokens.shape, given.tokens.shape[1], dtype=torch.bool)
    mixture = torch.randn(VOCAB, generator=torch.Generator().manual_seed(2))
    for t in range(given.start, given.tokens.shape[1]):
        value = (logits[:, t - given.start] @ mixture).sum()
        (gradient,) = torch.autograd.grad(value, embedded, retain_graph=True)
        seen[:, t] = (gradient != 0).any(dim=-1)
    return seen


def loss(built: LanguageModel, given: Batch) -> Tensor:
    """Mean cross-entropy in nats of the labels a batch asks for."""
    labels = given.labels[:, given.start :]
    return nn.functional.cross_entropy(built(given).float().flatten(0, 1), labels.flatten())
