"""Architectures matched in N or in C, timed by turns on the same batches.

Le tokens of prefix, Ld of target, T = Le + Ld. Every architecture predicts the targets given the prefix.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from analysis.models import cache
from experiments.measured import kept
from experiments.sizes import Unfilled
from scalelaw.contracts import BadInput, Batch
from scalelaw.counting import count, llama, training_flops
from scalelaw.evaluate import conditional
from scalelaw.models.base import LanguageModel
from scalelaw.peak import took
from scalelaw.shape import Shape
from scalelaw.step import Step

FFN_STEP = 8  # hidden units: N and C are matched to a fraction of a per cent, and products keep even sizes
CLIP = 1.0
REFERENCE = "encoder_decoder"
Split = tuple[int, int]  # Le, Ld
Make = Callable[[Shape, int], LanguageModel]


@dataclass(frozen=True)
class Contestant:
    """An architecture in a shape. match: what it has equal to the reference, "N" or "C"; or
    "reference"."""

    architecture: str
    match: str
    make: Make
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a turn is timed: conf/efficiency.yaml says what the keys are."""

    vocab_size: int
    batch_tokens: int
    rounds: int
    seconds: float
    cache_bytes: int
    precision: str
    compile: bool
    device: str
    seed: int


def contestants(makes: Mapping[str, Make], shape: Shape, split: Split, setting: Setting) -> list[Contestant]:
    """The reference, and every other architecture with its N and with its C on a row of this split."""
    reference = Contestant(REFERENCE, "reference", makes[REFERENCE], shape)
    found = [reference]
    for architecture, make in makes.items():
        if architecture == REFERENCE:
            continue
        for match, blocks in (("N", 2), ("C", 1)):
            start = Contestant(architecture, match, make, replace(shape, depth=blocks * shape.depth))
            found.append(matched(start, reference, split, setting.vocab_size))
    return found


def matched(it: Contestant, reference: Contestant, split: Split, vocab_size: int) -> Contestant:
    """The contestant with the FFN width at which it has the reference's N or C: both are linear in it.

    Raises BadInput where no width does."""

    def size(one: Contestant, ffn_width: int) -> float:
        model = weightless(replace(one, shape=replace(one.shape, ffn_width=ffn_width)), vocab_size)
        return count(model)["non_embedding"] if it.match == "N" else flops(model, split)

    wanted = size(reference, reference.shape.ffn_width)
    low, high = size(it, FFN_STEP), size(it, 2 * FFN_STEP)
    steps = 1 + round((wanted - low) / (high - low))
    if steps < 1:
        raise BadInput(f"shape: no {it.architecture} of depth {it.shape.depth} has so small an {it.match}")
    return replace(it, shape=replace(it.shape, ffn_width=FFN_STEP * steps))


def weightless(it: Contestant, vocab_size: int) -> LanguageModel:
    with Unfilled(), torch.device("meta"):
        return it.make(it.shape, vocab_size)


def flops(model: LanguageModel, split: Split) -> int:
    """Training FLOPs of a row."""
    prefix, target = split
    return training_flops(model.flops(window=prefix + target, prefix=prefix, start=prefix - 1))


def turns(entrants: Sequence[tuple[Contestant, Split]], setting: Setting) -> list[dict[str, Any]]:
    """A row a contestant and split: what it is, what is counted, and seconds of a step in each round.

    A step is the gradient of one batch, from its tokens to its clipped norm; the optimizer is left out, for
    it costs by parameter and not by token. Everyone has a turn in each round.
    """
    ready = [_ready(it, split, setting) for it, split in entrants]
    times = [max(1, math.ceil(setting.seconds / took(step, 1, setting.device))) for _, step in ready]
    for number in range(setting.rounds):
        for (row, step), n in zip(ready, times, strict=True):
            row["seconds"].append(took(step, n, setting.device) / n)
        print(f"round {number + 1} of {setting.rounds}", end="\r", file=sys.stderr, flush=True)
    return [row for row, _ in ready]


def _batch(split: Split, setting: Setting) -> Batch:
    window = sum(split)
    rows = setting.batch_tokens // window
    if rows < 1:
        raise BadInput(f"batch_tokens={setting.batch_tokens}: is less than one row of {window} tokens")
    generator = torch.Generator().manual_seed(setting.seed)
    tokens = torch.randint(setting.vocab_size, (rows, window + 1), generator=generator)
    return conditional(tokens, split[0]).to(torch.device(setting.device))


def _ready(it: Contestant, split: Split, setting: Setting) -> tuple[dict[str, Any], Callable[[], object]]:
    batch = _batch(split, setting)
    torch.manual_seed(setting.seed)
    model = it.make(it.shape, setting.vocab_size).to(setting.device)
    held = kept(model, batch, precision=setting.precision, device=setting.device)
    engine = Step(
        [model], precision=setting.precision, compile=setting.compile, device=setting.device, clip=CLIP
    )

    def step() -> object:
        return engine.backward([batch], batch.tokens.numel())

    for _ in range(2):  # the first allocates, and compiles
        step()
    prefix, target = split
    return {
        "architecture": it.architecture,
        "match": it.match,
        "prefix": prefix,
        "target": target,
        "rows": len(batch.tokens),
        "depth": it.shape.depth,
        "ffn_width": it.shape.ffn_width,
        "N": count(model)["non_embedding"],
        "flops": flops(model, split),
        "activations": held / len(batch.tokens),
        "cache": setting.cache_bytes * entries(it, split),
        "seconds": [],
    }, step


def entries(it: Contestant, split: Split) -> int:
    """Entries of the cache of one sequence, once its prefix and target are read.

    The encoder-decoder reads the last token of its prefix twice: encoded, and as its decoder's first."""
    prefix, target = split
    shape = llama(depth=it.shape.depth, width=it.shape.width, ffn_width=it.shape.ffn_width, vocab_size=1)
    if it.architecture != REFERENCE:
        return cache(shape, window=prefix + target, prefix=0)
    return cache(replace(shape, encoder=it.shape.depth), window=prefix + target + 1, prefix=prefix)
