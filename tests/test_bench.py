"""The measurements run, and their file says what they say it says. No figure is asserted: machines differ."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"causal_decoder", "prefix_decoder", "encoder_decoder"}


def test_bench_writes_medians_and_their_quotients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(ROOT)  # bench is not installed
    from bench import __main__ as bench

    monkeypatch.setattr(bench, "RESAMPLES", 20)  # a fiftieth of the time

    out = tmp_path / "results" / "speed.json"
    bench.main(["--widths", "12", "--rounds", "3", "--seconds", "0.01", "--out", str(out)])
    result = json.loads(out.read_text())

    (row,) = result["training"]
    speed, each = row["tokens_per_second"], row["rounds"]
    assert set(speed) == set(each) == OURS | {"hf_llama"}
    for name in speed:
        assert speed[name] > 0
        assert speed[name] == sorted(each[name])[1]
    assert row["over_peer"] == {name: speed[name] / speed["hf_llama"] for name in OURS}
    assert [(fit["rows"], fit["bootstrap"]) for fit in result["fitting"]] == [(240, 0), (240, 20)]
    assert all(fit["seconds"] == sorted(fit["rounds"])[1] > 0 for fit in result["fitting"])
    assert result["provenance"]["threads"] == 1
    assert result["provenance"]["command"].startswith("python -m bench --widths 12")
