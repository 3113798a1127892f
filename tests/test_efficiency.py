"""The efficiency of architectures: shapes matched, caches by tensors, planted speeds found, verdicts."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import ROOT, call
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tiny import VOCAB

from analysis import efficiency
from analysis.efficiency import Claim, Ratio
from experiments import turns
from experiments.efficiency import main as door
from scalelaw import peak
from scalelaw.counting import count
from scalelaw.evaluate import conditional
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.layers import CrossAttention, SelfAttention
from scalelaw.shape import Shape
from scalelaw.step import PRECISIONS

ROUNDS = 6


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """A step asks torch for deterministic kernels, which stays with the process."""
    monkeypatch.setattr(peak, "LEAST", 0.0)
    before, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cfg():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("efficiency")


def test_every_contestant_has_the_n_or_the_c_of_the_reference(cfg):
    setting = turns.Setting(**{key: cfg[key] for key in turns.Setting.__dataclass_fields__})
    assert setting.precision in PRECISIONS
    for split in map(tuple, cfg.splits):
        its = turns.contestants(instantiate(cfg.architectures), instantiate(cfg.shape), split, setting)
        assert {(it.architecture, it.match) for it in its[1:]} == {
            (name, match) for name in ("causal_decoder", "prefix_decoder") for match in "NC"
        }
        models = [turns.weightless(it, cfg.vocab_size) for it in its]
        sizes = {
            "N": [count(model)["non_embedding"] for model in models],
            "C": [turns.flops(model, split) for model in models],
        }
        for it, *both in zip(its, sizes["N"], sizes["C"], strict=True):
            if it.match in sizes:
                at = "NC".index(it.match)
                assert both[at] == pytest.approx(sizes[it.match][0], rel=0.01), (it, split)


@pytest.mark.parametrize("kind", [CausalDecoder, EncoderDecoder])
def test_cache_entries_are_the_keys_and_values_the_model_makes(kind):
    """By hooks on the maps that make them; an encoder's own are not kept, and are not counted."""
    shape = Shape(depth=3, width=16, heads=2, ffn_width=24)
    torch.manual_seed(0)
    built = kind(shape, VOCAB, tie_embeddings=False)
    made = 0

    def add(module, inputs, output):
        nonlocal made
        made += output.numel() * 2 // 3 if output.shape[-1] == 3 * shape.width else output.numel()

    for name, module in built.decoder.named_modules():
        if isinstance(module, SelfAttention):
            module.qkv.register_forward_hook(add)
        elif isinstance(module, CrossAttention):
            module.kv.register_forward_hook(add)
        assert not name.startswith("encoder")
    prefix, target = 5, 7
    built(conditional(torch.randint(VOCAB, (1, prefix + target + 1)), prefix))
    name = "encoder_decoder" if kind is EncoderDecoder else "causal_decoder"
    assert turns.entries(turns.Contestant(name, "N", kind, shape), (prefix, target)) == made


def row(architecture, match, prefix, target, *, seconds, flops, depth, cache=1.0):
    return {
        "architecture": architecture,
        "match": match,
        "prefix": prefix,
        "target": target,
        "rows": 2,
        "depth": depth,
        "flops": flops,
        "cache": cache,
        "seconds": list(seconds),
    }


def planted(utilisation=1.1, grows=1.3, attention=0.75):
    """Rounds of a machine that slows down threefold, with these truths in them and 1 % of noise."""
    rng = np.random.default_rng(0)
    slow = np.linspace(1, 3, ROUNDS)

    def noisy(seconds):
        return seconds * slow * np.exp(rng.normal(0, 0.01, ROUNDS))

    splits = []
    for k, (prefix, target) in enumerate([(2, 14), (8, 8), (14, 2)]):
        splits += [
            row("encoder_decoder", "reference", prefix, target, seconds=noisy(1), flops=1.0, depth=3),
            row(
                "causal_decoder",
                "N",
                prefix,
                target,
                seconds=noisy(2 / utilisation),
                flops=2,
                depth=6,
                cache=2,
            ),
            row("causal_decoder", "C", prefix, target, seconds=noisy(1 / utilisation), flops=1, depth=3),
            row("prefix_decoder", "N", prefix, target, seconds=noisy(2 * grows ** (k / 2)), flops=2, depth=6),
        ]
    growth = []
    for T in (16, 32, 64):
        for name, match, depth, of in (
            ("encoder_decoder", "reference", 3, attention),
            ("causal_decoder", "N", 6, 1.0),
        ):
            each = depth * (1 + of * T / 32)
            growth.append(
                row(name, match, T // 2, T // 2, seconds=noisy(2 * T * each), flops=T * each, depth=depth)
            )
    return splits, growth


def test_planted_ratios_are_found_whatever_the_machine_does_meanwhile():
    splits, growth = planted()
    found = {(c.says[:30], c.what): c.found for c in efficiency.claims(splits, growth)}
    values = [ratio.value for ratio in found.values()]
    truth = [2, 2 / 1.1, 1 / 1.1, 2, 1, 1.1, 1.1, 0.75, 0.75, 1.3]
    assert values == pytest.approx(truth, rel=0.05)
    for ratio, true in zip(found.values(), truth, strict=True):
        assert ratio.low <= true * 1.02
        assert true <= ratio.high * 1.02
        assert ratio.high / ratio.low < 1.25


@pytest.mark.parametrize(
    ("utilisation", "verdict"), [(1.0, "does not hold"), (1.175, "holds"), (1.4, "does not hold")]
)
def test_utilisation_has_the_verdict_it_deserves(utilisation, verdict):
    claims = efficiency.claims(*planted(utilisation=utilisation))
    assert [c.verdict for c in claims if "uses the machine" in c.says] == [verdict, verdict]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((0.6, 0.55, 0.65), "holds"),
        ((0.6, 0.45, 0.65), "not decided"),
        ((0.9, 0.8, 1.0), "does not hold"),
        ((math.nan, math.nan, math.nan), "not decided"),
    ],
)
def test_a_claim_holds_only_where_its_whole_interval_does(found, verdict):
    assert Claim("less", "cache", (0.5, 0.7), Ratio(*found)).verdict == verdict


def test_student_s_interval_by_hand():
    """Two rounds a and b: their mean, and 12.706 times half their distance either way."""
    found = Ratio.of_rounds([0.0, 0.02])
    assert math.log(found.value) == pytest.approx(0.01)
    assert math.log(found.high) - 0.01 == pytest.approx(12.706 * 0.01, rel=1e-4)


def test_speeds_by_hand():
    """2 rows of 16 tokens and 5 FLOPs each in a quarter of a second, on a machine of 100 FLOP/s."""
    it = row("causal_decoder", "N", 8, 8, seconds=[0.25, 0.25], flops=5, depth=2)
    found = efficiency.speeds(it, peak=100)
    assert found["tokens_per_second"].value == pytest.approx(128)
    assert found["utilisation"].value == pytest.approx(0.4)


TINY = ["shape.depth=1", "shape.width=16", "shape.heads=2", "shape.ffn_width=48", "vocab_size=32", "rounds=2"]
TINY += ["splits=[[4,12],[12,4]]", "growth=[8,16]", "batch_tokens=32", "seconds=0"]


def test_the_door_measures_tiny_and_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    assert call(door, monkeypatch, *TINY, f"hydra.run.dir={tmp_path}") == 0
    said = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text() in said
    assert (tmp_path / "efficiency.svg").read_text().startswith("<svg")
    result = json.loads((tmp_path / "results.json").read_text())
    assert len(result["splits"]) == 2 * 5
    assert len(result["growth"]) == 2 * 2
    assert result["provenance"]["settings"]["seed"] == 0
    assert all(len(it["seconds"]) == 2 for it in result["splits"])
    decoder, both = (
        next(it for it in result["splits"] if (it["architecture"], it["match"]) == kind)
        for kind in (("causal_decoder", "N"), ("encoder_decoder", "reference"))
    )
    # Keys and values of 16 tokens in two blocks, and of 17 in one.
    assert (decoder["cache"], both["cache"]) == (4 * 2 * 2 * 16 * 16, 4 * 2 * 1 * 17 * 16)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("splits=[[4,12],[4,4]]", "takes two or more splits of one window"),
        ("batch_tokens=8", "batch_tokens=8: is less than one row of 16 tokens"),
        ("rounds=1", "rounds=1: has to be a whole number of at least 2"),
        ("precision=float8", "precision"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, monkeypatch, capsys, word, told):
    assert call(door, monkeypatch, *TINY, word, f"hydra.run.dir={tmp_path}") == 1
    assert told in capsys.readouterr().err


def test_a_match_that_no_width_reaches_is_refused():
    makes = {
        "causal_decoder": lambda shape, V: CausalDecoder(shape, V, tie_embeddings=False),
        "encoder_decoder": lambda shape, V: EncoderDecoder(shape, V, tie_embeddings=False),
    }
    shape = Shape(depth=1, width=16, heads=2, ffn_width=8)
    reference = turns.Contestant("encoder_decoder", "reference", makes["encoder_decoder"], shape)
    much = turns.Contestant("causal_decoder", "N", makes["causal_decoder"], replace(shape, depth=9))
    with pytest.raises(ValueError, match="no causal_decoder of depth 9 has so small an N"):
        turns.matched(much, reference, (4, 4), 8)
