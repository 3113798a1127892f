"""The masks of the 4 + 4 worked example, literally, and against the definition at every size."""

from collections.abc import Callable

import pytest
import torch
from tiny import ARCHITECTURES, batch, model, visibility

from scalelaw import masks
from scalelaw.models.encoder_decoder import EncoderDecoder

# A window of 8 tokens: 4 of prefix, 4 of target. Rows ask, columns are seen.
CAUSAL = """
1 0 0 0  0 0 0 0
1 1 0 0  0 0 0 0
1 1 1 0  0 0 0 0
1 1 1 1  0 0 0 0
1 1 1 1  1 0 0 0
1 1 1 1  1 1 0 0
1 1 1 1  1 1 1 0
1 1 1 1  1 1 1 1
"""
PREFIX = """
1 1 1 1  0 0 0 0
1 1 1 1  0 0 0 0
1 1 1 1  0 0 0 0
1 1 1 1  0 0 0 0
1 1 1 1  1 0 0 0
1 1 1 1  1 1 0 0
1 1 1 1  1 1 1 0
1 1 1 1  1 1 1 1
"""
# The encoder reads tokens 0 to 3; the decoder tokens 3 to 7, the first of which is the prefix's last.
ENCODER = """
1 1 1 1
1 1 1 1
1 1 1 1
1 1 1 1
"""
CROSS = """
1 1 1 1
1 1 1 1
1 1 1 1
1 1 1 1
1 1 1 1
"""
DECODER = """
1 0 0 0 0
1 1 0 0 0
1 1 1 0 0
1 1 1 1 0
1 1 1 1 1
"""


def matrix(text: str) -> torch.Tensor:
    return torch.tensor([[int(entry) for entry in line.split()] for line in text.strip().split("\n")]).bool()


def test_the_worked_example_literally() -> None:
    four = torch.tensor([4])
    assert masks.causal(8, 8).equal(matrix(CAUSAL))
    assert masks.prefix(four, 8)[0, 0].equal(matrix(PREFIX))
    assert masks.within(four, 4)[0, 0].expand(4, 4).equal(matrix(ENCODER))
    assert masks.within(four, 4)[0, 0].expand(5, 4).equal(matrix(CROSS))
    assert masks.causal(5, 5).equal(matrix(DECODER))
    assert masks.target(four, 3, 8)[0, 0].equal(matrix(DECODER))


def test_the_worked_example_as_the_models_see_it() -> None:
    """By gradients: the masks are what the models do, not only what masks.py says."""
    given = {"CausalDecoder": batch([4], 8, start=0), "PrefixDecoder": batch([4], 8, start=0)}
    wanted = {"CausalDecoder": matrix(CAUSAL), "PrefixDecoder": matrix(PREFIX)}
    # An encoder-decoder's decoder cannot be seen apart from its encoder at the logits: what reaches them is
    # the prefix through the cross-attention and the decoder's own inputs from token 3 on.
    given["EncoderDecoder"] = batch([4], 8)
    wanted["EncoderDecoder"] = torch.zeros(8, 8, dtype=torch.bool)
    wanted["EncoderDecoder"][3:, :4] |= matrix(CROSS)
    wanted["EncoderDecoder"][3:, 3:] |= matrix(DECODER)
    assert wanted["EncoderDecoder"][3:].equal(matrix(PREFIX)[3:])
    for kind in ARCHITECTURES:
        assert visibility(model(kind), given[kind.__name__])[0].equal(wanted[kind.__name__]), kind


def test_the_worked_example_inside_the_encoder_decoder() -> None:
    """Encoder outputs see exactly the encoder matrix; each stack's inputs alone, exactly theirs."""
    built, given = model(EncoderDecoder), batch([4], 8)
    stacks: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: object, inputs: tuple, output: torch.Tensor) -> None:
            memory = inputs[4] if name == "decoder" else None
            stacks[name] = (inputs[0], output, memory)

        return hook

    # Cut the graph at the stacks' doors, so that each is looked at alone.
    def cut(_module: object, inputs: tuple) -> tuple:
        return tuple(v.detach().requires_grad_() if isinstance(v, torch.Tensor) else v for v in inputs)

    for name in ("encoder", "decoder"):
        stack = getattr(built, name)
        stack.register_forward_pre_hook(cut)
        stack.register_forward_hook(keep(name))
    built(given)

    def seen(output: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        mixed = output @ torch.randn(output.shape[-1], generator=torch.Generator().manual_seed(3))
        rows = [
            torch.autograd.grad(mixed[0, t], source, retain_graph=True)[0][0] for t in range(output.shape[1])
        ]
        return torch.stack(rows).ne(0).any(dim=-1)

    source, output, _ = stacks["encoder"]
    assert seen(output, source).equal(matrix(ENCODER))
    source, output, memory = stacks["decoder"]
    assert memory is not None
    assert seen(output, source).equal(matrix(DECODER))
    assert seen(output, memory).equal(matrix(CROSS))


@pytest.mark.parametrize("keys", [1, 2, 5, 8])
def test_every_size_by_the_definition(keys: int) -> None:
    lengths = torch.arange(keys + 1)
    given, inside = masks.prefix(lengths, keys), masks.within(lengths, keys)
    for p in range(keys + 1):
        for t in range(keys):
            for s in range(keys):
                assert given[p, 0, t, s] == (s <= t or s < p)
                assert inside[p, 0, 0, s] == (s < p)
        for first in range(keys):
            begun = masks.target(lengths, first, keys)
            for t in range(first, keys):
                for s in range(first, keys):
                    assert begun[p, 0, t - first, s - first] == (s == t or p - 1 <= s <= t)
    for queries in range(keys + 1):
        assert masks.causal(queries, keys).equal(masks.causal(keys, keys)[keys - queries :])


def test_prefixes_without_a_second_token_are_causal() -> None:
    assert masks.prefix(torch.tensor([0, 1]), 6).equal(masks.causal(6, 6).expand(2, 1, 6, 6))
