"""Fits side by side: what is said of peers that are not there, and one measure for all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_peers_that_are_not_installed_are_said_to_be_absent(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)  # bench is not installed
    from bench import peers

    monkeypatch.setattr(peers, "CONTESTANTS", {k: v | {"resamples": 0} for k, v in peers.CONTESTANTS.items()})
    # An interpreter with the standard library alone, whatever is installed beside it.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    table = tmp_path / "mine.csv"
    exact = peers.planted().rename(columns={"N": "size"})
    exact.assign(loss=peers.Chinchilla().predict(peers.TRUE, peers.planted())).to_csv(table, index=False)
    out = tmp_path / "results" / "peers.json"
    words = ["--python", str(bare), "--rounds", "1", "--table", str(table), "--columns", "N=size"]
    peers.main([*words, "--drop-largest", "3", "--out", str(out)])
    told = capsys.readouterr().out
    assert str(tmp_path) not in out.read_text()
    tables = json.loads(out.read_text())["tables"]
    assert tables["planted"]["rows"] == 240
    assert tables["mine.csv"]["rows"] == 237
    for found in tables.values():
        for who in ("chinchilla", "simple-scaling-laws"):
            assert "No module named" in found["fits"][who]["absent"]
    assert told.count("simple-scaling-laws             absent: ") == 2
    # Without noise the truth comes out; with it, each criterion's fit wins by its own measure.
    fit = tables["mine.csv"]["fits"]["scalelaw"]
    assert fit["params"] == pytest.approx(peers.TRUE, rel=1e-6)
    assert max(fit["objective"].values()) < 1e-15
    noisy = tables["planted"]["fits"]
    at_truth = peers.objectives(peers.planted(), peers.TRUE)
    robust, squares = noisy["scalelaw"]["objective"], noisy["scalelaw, least squares in nats"]["objective"]
    assert robust["huber_log"] < min(squares["huber_log"], at_truth["huber_log"])
    assert squares["squares_raw"] < min(robust["squares_raw"], at_truth["squares_raw"])


def test_a_peer_that_fails_says_so():
    asked = {"package": "scalelaw", "table": {"N": [1.0], "D": [1.0], "loss": [1.0]}}
    asked |= {"setting": {"delta": 1e-3, "resamples": 0}}
    done = subprocess.run(
        [sys.executable, ROOT / "bench/peer.py"], input=json.dumps(asked), text=True, capture_output=True
    )
    assert done.returncode
    assert "1 rows for the 5 parameters" in done.stderr.splitlines()[-1]
