"""What a thread of this machine can do: the fastest matrix product of a model's sizes or of large squares."""

from collections.abc import Sequence
from typing import Any

import torch

from bench.size import Size
from scalelaw.peak import rate

KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def products(sizes: Sequence[Size], squares: Sequence[int]) -> list[tuple[int, int, int]]:
    """(m, k, n) of the models' own products, tokens by width by width, FFN and vocabulary, and of squares."""
    own = [(s.tokens, s.width, n) for s in sizes for n in (3 * s.width, 2 * s.gated, s.vocabulary)]
    return own + [(n, n, n) for n in squares]


def peaks(shapes: Sequence[Sequence[int]], device: str) -> dict[str, Any]:
    """For each precision the highest FLOP/s of any product and round: a ceiling, so not a median."""
    found = {}
    for kind, dtype in KINDS.items():
        rates = {(m, k, n): rate(m, k, n, dtype, device) for m, k, n in shapes}
        best = max(rates, key=lambda shape: rates[shape])
        rows = [{"product": list(shape), "flops_per_second": value} for shape, value in rates.items()]
        found[kind] = {"flops_per_second": rates[best], "product": list(best), "all": rows}
    return found
