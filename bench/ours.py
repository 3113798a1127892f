"""Our own training step, as `scalelaw.train` takes it: `Step` and fused AdamW."""

import math
from collections.abc import Callable, Sequence

import torch

from bench.size import Size
from scalelaw.contracts import Objective
from scalelaw.counting import training_flops
from scalelaw.models.base import LanguageModel
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.optim import adamw
from scalelaw.shape import Shape
from scalelaw.step import Step

ARCHITECTURES: dict[str, type[LanguageModel]] = {
    "causal decoder": CausalDecoder,
    "prefix decoder": PrefixDecoder,
    "encoder-decoder": EncoderDecoder,
}
LR, CLIP = 1e-3, 1.0


def build(architecture: str, size: Size) -> LanguageModel:
    shape = Shape(depth=size.depth, width=size.width, heads=size.heads, ffn_width=size.gated)
    return ARCHITECTURES[architecture](shape, size.vocabulary, tie_embeddings=True)


def objective(architecture: str, size: Size) -> Objective:
    """What the architecture is for: a prefix of half the window, or none."""
    causal = architecture == "causal decoder"
    return CausalLM() if causal else PrefixLM(prefix=size.prefix, per_row=False)


def optimizer(model: LanguageModel) -> torch.optim.AdamW:
    rule = {"transfer": "none", "base_width": model.shape.width, "base_depth": model.shape.depth}
    return adamw(model, model.shape, lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, **rule)


def stepper(
    architecture: str,
    models: Sequence[LanguageModel],
    size: Size,
    *,
    precision: str,
    compile: bool,
    device: str,
) -> Callable[[], None]:
    """One step of all models, from windows of tokens to new weights.

    Raises ArithmeticError where a loss is not finite: the speed of such a run means nothing."""
    engine = Step(models, precision=precision, compile=compile, device=device, clip=CLIP)
    optims = [optimizer(model) for model in models]
    ask, generator = objective(architecture, size), torch.Generator().manual_seed(0)
    windows, at = size.windows(), 0

    def step() -> None:
        nonlocal at
        batches = [ask(windows[(at + k) % len(windows)], generator) for k in range(len(models))]
        at += 1
        told = engine.backward(batches, size.tokens)
        if not all(map(math.isfinite, [figure for pair in told for figure in pair])):
            raise ArithmeticError("the loss is not finite, and the speed of such a run means nothing")
        for optim in optims:
            optim.step()

    return step


def flops(architecture: str, size: Size) -> int:
    """Counted training FLOPs of one step (scalelaw.counting)."""
    [(prefix, start, _)] = objective(architecture, size).splits(size.window, size.rows)
    with torch.device("meta"):
        model = build(architecture, size)
    return size.rows * training_flops(model.flops(window=size.window, prefix=prefix, start=start))
