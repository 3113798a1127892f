"""Published models by their shapes: parameters, FLOPs, energy and caches beside what was published."""

import json
from dataclasses import replace

import pytest
import torch
from commands import ROOT, call
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from analysis import models
from analysis.costs import Doubt
from analysis.models import Bytes, Text
from experiments.cost import main as door
from scalelaw.counting import Published, llama, t5

CONF = str(ROOT / "conf")
NAMES = sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))
SIZE = Bytes(weights=2, training=16, cache=2)


@pytest.fixture(scope="module")
def known() -> dict[str, models.Model]:
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("cost", [f"model=[{','.join(NAMES)}]"])
    return {name: instantiate(entry) for name, entry in cfg.model.items()}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt3", 174.6e9),
        ("gopher", 280e9),
        ("chinchilla", 70e9),
        ("palm", 540.35e9),
        ("llama_7b", 6.738e9),
        ("llama_65b", 65.286e9),
        ("t5_11b", 11.307e9),
    ],
)
def test_parameters_within_one_per_cent(known, name, published):
    assert known[name].parameters == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("gpt3", 0.05), ("gopher", 0.05), ("chinchilla", 0.05), ("palm", 0.05), ("t5_11b", 0.16)],
)
def test_counted_flops_are_those_published(known, name, tolerance):
    """Patterson et al. do not say what T5 11B's figure counts."""
    model = known[name]
    assert model.flops == pytest.approx(model.stated.flops, rel=tolerance)


def test_gpt_3_by_the_estimate_of_its_own_table(known):
    """Brown et al. 2020, table D.1: 6 x 174.6e9 x 3e11 = 3.14e23."""
    assert known["gpt3"].flops_6nd == pytest.approx(3.14e23, rel=0.005)


@pytest.mark.parametrize("name", ["gpt3", "gopher", "palm", "llama_7b", "llama_65b"])
def test_the_interval_holds_the_published_energy_and_emissions(known, name):
    found, stated = models.figures(known[name], SIZE), known[name].stated
    for key in ("mwh", "tonnes"):
        low, high = found[f"{key}95"]
        assert low < getattr(stated, key) < high
        assert high / low < 4


def test_gpt_3_s_quoted_energy(known):
    """1,300 MWh and about 500 t are quoted of Patterson et al.'s 1,287 and 552."""
    found = models.figures(known["gpt3"], SIZE)
    assert found["mwh95"][0] < 1300 < found["mwh95"][1]
    assert found["tonnes95"][0] < 500 < found["tonnes95"][1]


def test_the_published_factors_agree_with_each_other(known):
    """Stated MWh times the site's grid are the stated tonnes, within rounding."""
    for model in known.values():
        if model.stated.mwh is not None:
            tonnes = model.stated.mwh * model.site.carbon / 1e3
            assert tonnes == pytest.approx(model.stated.tonnes, rel=0.03), model.name


def test_textbook_parameters_by_hand_and_where_they_fail(known):
    """12 L E^2 + V E: within half a per cent for GPT-3, 94 % short for T5 11B, whose E is the least of it."""
    plain = llama(depth=3, width=8, ffn_width=32, vocab_size=10)
    assert models.textbook(plain) == 12 * 3 * 64 + 80
    both = replace(plain, encoder=2)
    assert models.textbook(both) == 12 * 2 * 64 + 16 * 3 * 64 + 80
    error = {name: models.textbook(m.shape) / m.parameters - 1 for name, m in known.items() if m.shape}
    assert abs(error["gpt3"]) < 0.005
    assert error["palm"] == pytest.approx(-0.10, abs=0.005)
    assert error["t5_11b"] == pytest.approx(-0.935, abs=0.005)


def test_nothing_is_made_up_of_what_is_undisclosed(known):
    found = models.figures(known["gpt4"], SIZE)
    assert {key: value for key, value in found.items() if value is not None} == {}
    quoted = models.figures(known["palm2"], SIZE)
    assert quoted["cache"] is quoted["textbook"] is None
    assert quoted["flops"] == quoted["flops_6nd"] == pytest.approx(6 * 3.4e11 * 3.6e12)
    assert not known["palm2"].confirmed
    assert "parameters" not in models.compared(known["palm2"], quoted)


@pytest.mark.parametrize("encoder", [0, 2])
def test_cache_entries_are_those_of_tensors_made(encoder):
    """A key and a value tensor a decoder block for its own tokens, and across for the prefix."""
    shape = replace(llama(depth=3, width=8, ffn_width=16, vocab_size=10), encoder=encoder)
    window, prefix = 11, 4 if encoder else 0
    own = [torch.zeros(window - prefix, shape.key_value_width) for _ in range(2 * shape.decoder)]
    across = [torch.zeros(prefix, shape.key_value_width) for _ in range(2 * shape.decoder if encoder else 0)]
    made = sum(tensor.numel() for tensor in own + across)
    assert models.cache(shape, window=window, prefix=prefix) == made


def test_grouped_queries_cache_less(known):
    """PaLM's one head of 48 is a forty-eighth of what full keys and values would be."""
    shape = known["palm"].shape
    full = replace(shape, key_value_width=shape.attention_width)
    one, all_ = (models.cache(s, window=2048, prefix=0) for s in (shape, full))
    assert all_ == 48 * one


def test_doubts_add_up_in_squares():
    doubt = Doubt(utilisation=2.0, watts=2.0, pue=1.0, carbon=1.0)
    low, high = doubt.around(8.0, "utilisation", "watts", "pue")
    assert (low, high) == pytest.approx((8 / 2**2**0.5, 8 * 2**2**0.5))
    assert doubt.around(8.0, "pue") == (8.0, 8.0)
    with pytest.raises(ValueError, match=r"doubt\.pue=0\.5"):
        Doubt(utilisation=1, watts=1, pue=0.5, carbon=1)


def test_a_terabyte_in_a_hundred_billion_parameters():
    """8e12 bits / 1e11 = 80 a parameter; at one bit a byte 10, of which 2 can be stored."""
    text = Text(size=1e12, parameters=1e11, bits_per_byte=1.0, capacity=2)
    assert text.told() == pytest.approx({"raw": 80, "compressed": 10, "stored": 0.2})


def test_bits_per_byte_are_those_measured():
    lines = (ROOT / "docs/results/demo/runs.csv").read_text().splitlines()
    at = lines[0].split(",").index("bits_per_byte")
    best = min(float(line.split(",")[at]) for line in lines[1:] if line.split(",")[at])
    with initialize_config_dir(CONF, version_base="1.3"):
        assert compose("cost").text.bits_per_byte == pytest.approx(best, abs=0.005)


def test_the_door_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    words = ["model=[gpt3,palm2,gpt4]", f"hydra.run.dir={tmp_path}"]
    assert call(door, monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "PaLM 2 (unconfirmed)" in said
    assert (tmp_path / "cost.md").read_text() in said
    written = json.loads((tmp_path / "cost.json").read_text())
    assert written["models"]["gpt3"]["mwh"] == pytest.approx(1324, abs=1)
    assert written["text"]["raw"] == pytest.approx(80)
    assert written["provenance"]["command"].startswith("python -m experiments.cost model=")


def test_a_plan_of_one_s_own(tmp_path, monkeypatch):
    words = [
        "model=yours",
        "model.yours.shape.depth=2",
        "model.yours.shape.width=64",
        "model.yours.tokens=1e9",
    ]
    words += ["model.yours.shape.ffn_width=176", "hardware@model.yours.hardware=a100"]
    assert call(door, monkeypatch, *words, f"hydra.run.dir={tmp_path}") == 0
    found = json.loads((tmp_path / "cost.json").read_text())["models"]["yours"]
    shape: Published = llama(depth=2, width=64, ffn_width=176, vocab_size=32_000)
    assert found["flops"] == pytest.approx(3 * shape.flops(window=2048) * 1e9 / 2048)
    assert found["hours"] == pytest.approx(found["flops"] / (3.12e14 * 0.47) / 3600)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("model.yours.tokens=-1", "model.yours: tokens=-1: has to be a positive number"),
        ("model.yours.prefix=100", "model.yours: prefix=100: what an encoder reads"),
        ("model.yours.passes=5", "model.yours: passes=5: is 3, or 4"),
        ("model.yours.doubt.watts=0.1", "doubt.watts=0.1: is a factor either way"),
        ("text.capacity=0", "text.capacity=0: has to be a positive number"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, monkeypatch, capsys, word, told):
    assert call(door, monkeypatch, "model=yours", word, f"hydra.run.dir={tmp_path}") == 1
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_an_encoder_needs_something_to_read(known):
    shape = t5(depth=2, width=8, attention_width=8, heads=2, ffn_width=16)
    with pytest.raises(ValueError, match="prefix=0"):
        replace(known["gpt3"], shape=shape)
