"""The real W&B client offline, and every way its server can fail without costing a run."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from training import LABELS, job, run

from scalelaw.run import read_metrics
from scalelaw.tracking import WandB
from scalelaw.train import train

KNOBS = {"project": "tests", "entity": None, "tags": ["tiny"], "init_timeout": 3, "finish_timeout": 5}


@pytest.fixture(autouse=True)
def unreachable(monkeypatch):
    """A key and a server that refuses: what a laptop on a train has."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)


def mirrored(directory: Path) -> list[dict]:
    """The records of the one offline W&B run below `directory`, by W&B's own reader."""
    (log,) = directory.rglob("offline-run-*/run-*.wandb")
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", log]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def history(records: list[dict]) -> list[dict]:
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]


def summary(records: list[dict]) -> dict:
    merged: dict = {}
    for record in records:
        merged |= record.get("summary", {}).get("update", {})
    return merged


def test_offline_mirrors_the_run_and_two_runs_in_a_process_stay_two(tmp_path):
    for name, seed in (("first", 0), ("second", 1)):
        record = run(tmp_path / name, seed=seed, tracker=WandB(mode="offline", **KNOBS))
        records = mirrored(tmp_path / name)
        assert history(records) == read_metrics(tmp_path / name)
        assert summary(records)["loss"] == record.loss
        assert summary(records)["status"] == "finished"
        (started,) = [r["run"] for r in records if r["type"] == "run"]
        assert (started["run_id"], started["run_group"], started["tags"]) == (record.run, "tests", ["tiny"])
        assert started["config"]["update"]["tiny"] is True
        axes = [r["metric"] for r in records if r["type"] == "metric"]
        assert {"glob_name": "*", "step_metric": "tokens"}.items() <= axes[-1].items()


def test_online_without_a_server_trains_on_and_mirrors_offline(tmp_path, caplog):
    record = run(tmp_path, tracker=WandB(mode="online", **KNOBS))
    assert record.finished
    assert "mirrored offline" in caplog.text
    assert history(mirrored(tmp_path)) == read_metrics(tmp_path)


def test_a_mirror_that_breaks_does_not_break_the_run(tmp_path, caplog):
    class Broken:
        summary: dict = {}  # noqa: RUF012

        def log(self, row):
            raise RuntimeError("service died")

        finish = log

    tracker = WandB(mode="offline", **KNOBS)
    tracker.start = lambda **_: setattr(tracker, "session", Broken())
    record = run(tmp_path, tracker=tracker)
    assert record.finished
    assert "service died" in caplog.text
    assert len(read_metrics(tmp_path)) > 3


def test_runs_trained_side_by_side_have_a_mirror_each(tmp_path):
    """Two runs of one process, open at the same time: each W&B run holds its own rows and no other's."""
    names = ("first", "second")
    jobs = [
        job(
            tmp_path / name,
            seed=seed,
            config={"seed": seed},
            labels=replace(LABELS, run=name, name=name),
            tracker=WandB(mode="offline", **KNOBS),
        )
        for seed, name in enumerate(names)
    ]
    for record in train(jobs):
        records = mirrored(tmp_path / record.run)
        assert history(records) == read_metrics(tmp_path / record.run)
        assert summary(records)["loss"] == record.loss
    first, second = (read_metrics(tmp_path / name) for name in names)
    assert first != second
