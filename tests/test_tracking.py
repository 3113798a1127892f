"""The real W&B client, with a server and without: a mirror is made whole, and never costs a run."""

import json
import logging
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import wandb
from commands import call
from training import LABELS, job, run
from wandb_server import serving

import scalelaw.trackers.wandb as mirror
from analysis.tables.runs import load
from experiments.sync import main as sync
from scalelaw.run import RECORD, Run, read_metrics
from scalelaw.trackers.wandb import WandB
from scalelaw.train import train

KNOBS = {"project": "tests", "entity": None, "tags": ["tiny"], "patience": 60}


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path):
    """A key, a server that refuses, which is what a laptop on a train has, and no trace of other tests."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "client"))
    monkeypatch.setattr(mirror, "_outage_since", -mirror.OUTAGE)
    wandb.teardown()  # the client's helper process keeps the address that it began with
    yield
    wandb.teardown()


@pytest.fixture
def server(client, monkeypatch):
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        yield server


def offline(directory: Path) -> list[dict]:
    """The records of the one offline W&B run below `directory`, by W&B's own reader."""
    wandb.teardown()  # the writer is a process of its own
    (log,) = directory.rglob("offline-run-*/run-*.wandb")
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", log]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def bare(rows: list[dict]) -> list[dict]:
    """Without W&B's own keys, by tokens."""
    plain = [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]
    return sorted(plain, key=lambda row: row["tokens"])


def history(records: list[dict]) -> list[dict]:
    return bare([record["history"]["item"] for record in records if record["type"] == "history"])


def summary(records: list[dict]) -> dict:
    merged: dict = {}
    for record in records:
        merged |= record.get("summary", {}).get("update", {})
    return merged


def there() -> dict:
    return {run.id: run for run in wandb.Api().runs("team/tests")}


def whole(directory: Path) -> None:
    """The server has this run, once, with every row and all a fit needs."""
    record = Run.load(directory)
    copy = there()[record.run]
    assert bare(list(copy.scan_history())) == read_metrics(directory)
    assert copy.state == ("finished" if record.finished else "failed")
    assert {key: copy.summary_metrics.get(key) for key in record.row()} == record.row()


def test_offline_mirrors_the_run_and_two_runs_in_a_process_stay_two(tmp_path):
    for name, seed in (("first", 0), ("second", 1)):
        record = run(tmp_path / name, seed=seed, tracker=WandB(mode="offline", **KNOBS))
        records = offline(tmp_path / name)
        assert history(records) == read_metrics(tmp_path / name)
        assert summary(records)["loss"] == record.loss
        assert summary(records)["status"] == "finished"
        (started,) = [r["run"] for r in records if r["type"] == "run"]
        assert (started["run_id"], started["run_group"], started["tags"]) == (record.run, "tests", ["tiny"])
        assert started["config"]["update"]["tiny"] is True
        axes = [r["metric"] for r in records if r["type"] == "metric"]
        assert {"glob_name": "*", "step_metric": "tokens"}.items() <= axes[-1].items()


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
        records = offline(tmp_path / record.run)
        assert history(records) == read_metrics(tmp_path / record.run)
        assert summary(records)["loss"] == record.loss
    first, second = (read_metrics(tmp_path / name) for name in names)
    assert first != second


class Stopping(WandB):
    """Calls `then` when the third row is logged, and again for every row after it."""

    def __init__(self, then, **knobs) -> None:
        super().__init__(**knobs)
        self.then, self.count = then, 0

    def log(self, row) -> None:
        super().log(row)
        self.count += 1
        if self.count >= 3:
            self.then()


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_run_started_again_is_one_run_with_one_history(tmp_path, server, mode):
    """The rows after the checkpoint come twice; the mirror has them once."""
    directory = tmp_path / "run"
    tracker = Stopping(interrupt, mode=mode, **KNOBS)
    with pytest.raises(KeyboardInterrupt):
        run(directory, config={"a": {"b": [1]}}, tracker=tracker)
    assert Run.load(directory).status == "interrupted"
    run(directory, config={"a": {"b": [1]}}, tracker=WandB(mode=mode, **KNOBS))
    assert len(read_metrics(directory)) == 8
    if mode == "offline":
        assert history(offline(directory)) == read_metrics(directory)
        return
    whole(directory)
    (copy,) = there().values()
    assert (copy.name, copy.group, copy.job_type, copy.tags) == ("tiny", "tests", "train", ["tiny"])
    assert copy.config == {"a": {"b": [1]}}


def synced(monkeypatch, capsys, runs: Path) -> tuple[int, list[str]]:
    """Exit status and lines of experiments.sync."""
    status = call(sync, monkeypatch, f"runs={runs}", "tracker.project=tests", "tracker.patience=10")
    said = capsys.readouterr()
    return status, (said.out + said.err).splitlines()


def test_a_server_that_dies_in_the_middle_gets_the_rest_later_and_once(
    tmp_path, server, monkeypatch, capsys, caplog
):
    def die() -> None:
        while server.run("team/tests", LABELS.run) is None:  # the mirror has begun
            assert tracker.thread.is_alive()
        server.stop()

    tracker = Stopping(die, mode="online", **(KNOBS | {"patience": 2}))
    record = run(tmp_path / "runs/run", tracker=tracker)
    assert record.finished
    assert "experiments.sync" in caplog.text
    assert not server.up
    server.start()
    assert len(server.run("team/tests", record.run)["steps"]) < 8
    wandb.teardown()
    (tmp_path / "runs/report.html").write_text("a page")
    for sent in (r"sent \d of 8 rows", "there already"):
        status, lines = synced(monkeypatch, capsys, tmp_path / "runs")
        assert status == 0
        assert re.fullmatch(f"run: {sent}", lines[0])
        assert lines[-1] == "2 of 2 are at the server, in project tests"
        whole(tmp_path / "runs/run")
    assert load("wandb://team/tests", {"N": "N", "D": "D", "loss": "loss"}).run.tolist() == [record.run]
    (artifact,) = server.artifacts.values()
    assert artifact["state"] == "COMMITTED"
    assert server.files[f"/{artifact['digest']}/report.html"] == b"a page"


def test_sync_says_of_each_run_what_it_did_and_is_honest_about_the_rest(
    tmp_path, server, monkeypatch, capsys
):
    for name, seed in (("first", 0), ("second", 1), ("third", 2)):
        run(tmp_path / name, seed=seed, labels=replace(LABELS, run=name, name=name))
    torn = tmp_path / "second" / RECORD
    record = torn.read_text()
    torn.write_text(record[:40])
    status, lines = synced(monkeypatch, capsys, tmp_path)
    assert status == 1
    assert (lines[0], lines[2]) == ("first: sent 8 of 8 rows", "third: sent 8 of 8 rows")
    assert re.match(r"second: not sent \(.*second/run.json is not a run record", lines[1])
    assert lines[3] == "2 of 3 are at the server, in project tests"
    torn.write_text(record)
    del server.run("team/tests", "third")["steps"][3:5]  # what no client lost, but a server may
    status, lines = synced(monkeypatch, capsys, tmp_path)
    assert (status, lines[:3]) == (
        0,
        ["first: there already", "second: sent 8 of 8 rows", "third: sent 2 of 8 rows"],
    )
    for name in ("first", "second", "third"):
        whole(tmp_path / name)


def test_sync_without_a_server_or_a_key_fails_in_one_line(tmp_path, monkeypatch, capsys):
    status, lines = synced(monkeypatch, capsys, tmp_path)
    assert (status, len(lines)) == (1, 1)
    assert "no run record" in lines[0]
    run(tmp_path / "run")
    status, lines = synced(monkeypatch, capsys, tmp_path)
    assert (status, len(lines)) == (1, 1)
    assert "connection refused" in lines[0]
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb.teardown()
    status, lines = synced(monkeypatch, capsys, tmp_path)
    assert (status, len(lines)) == (1, 1)
    assert "API key" in lines[0]


@pytest.fixture
def hole(client, monkeypatch):
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield


def test_a_server_that_never_answers_is_waited_for_once(tmp_path, hole, monkeypatch, caplog):
    """The second run's patience would outlast the test; it is not called on."""
    for name, patience in (("first", 1), ("second", 10_000)):
        record = run(tmp_path / name, tracker=WandB(mode="online", **(KNOBS | {"patience": patience})))
        assert record.finished
        assert len(read_metrics(tmp_path / name)) == 8
    assert caplog.text.count("it does not answer") >= 1


def test_online_without_a_key_or_a_server_trains_on_and_says_so(tmp_path, monkeypatch, caplog):
    assert run(tmp_path / "refused", tracker=WandB(mode="online", **KNOBS)).finished
    assert "connection refused" in caplog.text
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb.teardown()
    assert run(tmp_path / "keyless", tracker=WandB(mode="online", **KNOBS)).finished
    assert "API key" in caplog.text


def test_a_mirror_that_breaks_does_not_break_the_run_and_is_not_asked_again(tmp_path, caplog):
    class Broken:
        asked = 0

        def start(self, **_) -> None:
            pass

        def log(self, row) -> None:
            self.asked += 1
            raise RuntimeError("disk full")

        def finish(self, **_) -> None:
            raise AssertionError

    tracker = Broken()
    with caplog.at_level(logging.WARNING):
        assert run(tmp_path, tracker=tracker).finished
    assert "disk full" in caplog.text
    assert tracker.asked == 1
    assert len(read_metrics(tmp_path)) == 8


def test_tensorboard_has_every_number_once_over_tokens(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from scalelaw.trackers.tensorboard import TensorBoard

    class Cut(TensorBoard):
        def log(self, row) -> None:
            super().log(row)
            if row["step"] >= 6:
                interrupt()

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tracker=Cut())
    run(tmp_path, tracker=TensorBoard())
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rows = read_metrics(tmp_path)
    for key in ("train_loss", "loss", "learning_rate"):
        seen = [(event.step, event.value) for event in events.Scalars(key)]
        assert seen == [(row["tokens"], pytest.approx(row[key], rel=1e-6)) for row in rows if key in row]
    assert "tokens" not in events.Tags()["scalars"]
    (text,) = events.Tensors("summary/text_summary")
    assert b'"status": "finished"' in text.tensor_proto.string_val[0]
