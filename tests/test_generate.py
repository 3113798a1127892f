"""Generated text: with a cache the tokens and logits of whole passes, at the cost that is said."""

import math
from typing import Any

import pytest
import torch
from commands import TINY, book, call  # noqa: F401 (a fixture)
from tiny import ARCHITECTURES, VOCAB, hybrid, model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from experiments.generate import main as door
from experiments.train import main as train
from scalelaw.contracts import SEPARATOR, BadInput, Batch
from scalelaw.generate import draw, generate
from scalelaw.models.base import LanguageModel
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.run import records

ROWS, PROMPT, TOKENS = 3, 7, 12
KINDS: list[Any] = [*ARCHITECTURES, hybrid(0.5), hybrid(1)]


def prompt(length: int = PROMPT) -> torch.Tensor:
    return torch.randint(1, VOCAB, (ROWS, length), generator=torch.Generator().manual_seed(3))


def whole(built: LanguageModel, tokens: torch.Tensor, given: int) -> torch.Tensor:
    """(B, V) logits after the last of `tokens`, all read in one pass, the first `given` as a prefix."""
    labels = torch.full_like(tokens, -100)
    labels[:, -1] = 0
    return built(Batch.of(tokens, labels, torch.full((len(tokens),), given)))[:, -1]


def deaf(built: LanguageModel) -> LanguageModel:
    """Without a mind for SEPARATOR: no text ends."""
    silence = torch.zeros(VOCAB)
    silence[SEPARATOR] = -1e9
    scaled = built.scaled

    def spoken(hidden):
        hidden, table = scaled(hidden)
        return torch.cat((hidden, torch.ones_like(hidden[..., :1])), -1), torch.cat(
            (table, silence[:, None]), 1
        )

    built.scaled = spoken
    return built


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("length", [1, 2, PROMPT])
def test_cached_logits_are_those_of_whole_passes(kind: Any, tie: bool, length: int) -> None:
    built, text = model(kind, tie=tie), prompt(length + TOKENS)
    with torch.no_grad():
        reader, hidden = built.read(text[:, :length], TOKENS)
        for at in range(length, length + TOKENS):
            logits = linear(*built.scaled(hidden))
            assert logits.std() > 0.3
            torch.testing.assert_close(logits, whole(built, text[:, :at], length), rtol=0, atol=1e-5)
            hidden = reader(built.embedding(text[:, at, None]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0, 0.7])
def test_generated_tokens_are_those_of_whole_passes(kind: Any, temperature: float) -> None:
    built, given = deaf(model(kind)), prompt()
    text = generate(
        built, given, tokens=TOKENS, temperature=temperature, generator=torch.Generator().manual_seed(5)
    )
    again, read = torch.Generator().manual_seed(5), given
    with torch.no_grad():
        for _ in range(TOKENS):
            token = draw(whole(built, read, PROMPT), temperature, again)
            read = torch.cat((read, token[:, None]), dim=1)
    assert text.equal(read[:, PROMPT:])
    assert len({tuple(row) for row in text.tolist()}) == ROWS


def test_tokens_are_drawn_as_often_as_the_temperature_says() -> None:
    share = torch.tensor([0.7, 0.2, 0.1])
    logits = share.log().expand(20_000, 3)
    for temperature in (1.0, 2.0):
        expected = share ** (1 / temperature) / (share ** (1 / temperature)).sum()
        found = draw(logits, temperature, torch.Generator().manual_seed(0)).bincount() / 20_000
        assert (found - expected).abs().max() < 4 * math.sqrt(0.25 / 20_000)
    assert draw(logits, 0, torch.Generator()).eq(0).all()


def test_a_row_ends_with_the_separator_and_the_text_with_the_last_row() -> None:
    """A model that says SEPARATOR after token 1, and 1 after anything else."""
    built = model(ARCHITECTURES[0])
    told = torch.full((VOCAB, VOCAB), -9.0)
    told[:, 1], told[1, SEPARATOR], told[1, 1] = 9.0, 18.0, -9.0
    after: list[torch.Tensor] = []
    built.embedding.register_forward_hook(lambda _m, inputs, _o: after.append(inputs[0][:, -1]))
    built.scaled = lambda hidden: (told[after[-1]], torch.eye(VOCAB))
    given = torch.tensor([[5, 1], [5, 6]])
    text = generate(built, given, tokens=9, temperature=0, generator=torch.Generator())
    assert text.tolist() == [[SEPARATOR, SEPARATOR], [1, SEPARATOR]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tie", [False, True])
def test_bytes_and_flops_are_those_said(kind: Any, tie: bool) -> None:
    built, text = model(kind, tie=tie), prompt(PROMPT + TOKENS)

    def measured(step) -> tuple[int, object]:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            out = step()
            linear(*built.scaled(out[1] if isinstance(out, tuple) else out))
        return counter.get_total_flops(), out

    flops, (reader, _) = measured(lambda: built.read(text[:, :PROMPT], TOKENS))
    assert flops == ROWS * built.flops(window=PROMPT, prefix=PROMPT, start=PROMPT - 1)
    assert reader.bytes == 4 * ROWS * built.kept(PROMPT, TOKENS)
    for after in range(TOKENS):
        flops, _ = measured(lambda at=PROMPT + after: reader(built.embedding(text[:, at, None])))
        assert flops == ROWS * built.token_flops(PROMPT, after)
    assert reader.bytes == 4 * ROWS * built.kept(PROMPT, TOKENS)
    # On paper: 24 wide, 4 blocks; a decoder keeps 2 vectors a block and position, an encoder-decoder those of
    # its prompt and of its own positions, which begin with the prompt's last.
    positions = PROMPT + TOKENS + isinstance(built, EncoderDecoder)
    assert reader.bytes == 4 * ROWS * 2 * 24 * 4 * positions


def test_a_token_costs_what_its_weights_and_its_keys_do() -> None:
    """Of a causal decoder: 2 a weight, and 4 E for each key of each block."""
    built = model(ARCHITECTURES[0], tie=True)
    weights = sum(p.numel() for p in built.parameters() if p.dim() == 2)
    assert built.token_flops(PROMPT, 3) == 2 * weights + 4 * (PROMPT + 4) * 24 * 4


@pytest.mark.parametrize(
    ("knobs", "named"),
    [({"tokens": 0}, "tokens"), ({"temperature": -1.0}, "temperature"), ({"prompt": prompt(0)}, "prompt")],
)
def test_what_cannot_be_had_is_named(knobs: dict, named: str) -> None:
    knobs = {"prompt": prompt(), "tokens": 3, "temperature": 1.0, "generator": torch.Generator()} | knobs
    with pytest.raises(BadInput, match=named):
        generate(model(ARCHITECTURES[0]), **knobs)


def test_the_door_writes_the_same_text_for_the_same_seed(tmp_path, monkeypatch, book, capsys):  # noqa: F811
    options = ["data=text", book, "architecture=encoder_decoder", "objective=prefix_lm", f"output={tmp_path}"]
    assert call(train, monkeypatch, *TINY, *options, "checkpoints.weights=true") == 0
    ((directory, _),) = records(tmp_path)
    capsys.readouterr()

    def said(*more: str) -> str:
        words = [f"run={directory}", "prompt='the law'", "tokens=9", f"cache={tmp_path / 'data'}", *more]
        assert call(door, monkeypatch, *words) == 0
        return capsys.readouterr().out

    first = said("seed=1", "samples=2")
    assert first == said("seed=1", "samples=2")
    assert first != said("seed=2", "samples=2")
    assert first.startswith("the law")
    assert said("prompt=''", "tokens=20").startswith("longer than the window of 16 tokens")


def test_symbols_are_not_text(tmp_path, monkeypatch, capsys):
    options = ["data=task", "window=32", *(o for o in TINY if "window" not in o), f"output={tmp_path}"]
    assert call(train, monkeypatch, *options, "checkpoints.weights=true") == 0
    ((directory, _),) = records(tmp_path)
    assert call(door, monkeypatch, f"run={directory}", "prompt=a") == 1
    assert "which is not text" in capsys.readouterr().err
