"""However W&B fails, under every launcher, each run finishes, and `experiments.sync` sends the rest."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec

import pytest
import wandb
from commands import ROOT, book, call  # noqa: F401
from wandb_server import Server

from experiments.sync import main as sync
from scalelaw.run import METRICS, RECORD, read_metrics, records

# Seconds long, so that a server can die while it trains.
LONG = ["window=16", "rows=2", "budget.D=20000", "shape.depth=2", "log_every=100", "threads=1"]
LONG += ["evaluation.rows=4", "evaluation.curve_rows=2", "evaluation.points=4"]
PACKAGES = {"joblib": "hydra_plugins.hydra_joblib_launcher", "ray_tasks": "ray", "slurm": "submitit"}
INSTALLED = [launcher for launcher, package in PACKAGES.items() if find_spec(package)]
if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
    INSTALLED = [launcher for launcher in INSTALLED if launcher != "slurm"]  # tests/slurm.sh starts one
LAUNCHERS = ["single", "local", "basic", *INSTALLED]
FAULTS = ["online", "offline", "disabled", "no key", "no network", "start", "middle", "end"]


@pytest.fixture
def server():
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def silence():
    """The address of what takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_all_come_whole(tmp_path, monkeypatch, capsys, book, server, silence, fault, launcher):  # noqa: F811
    ours = {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": "0" * 40, "HOME": str(tmp_path)}
    ours |= {f"WANDB_{name}_DIR": str(tmp_path / "client") for name in ("CACHE", "CONFIG", "DATA")}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    seeds = [0] if launcher == "single" else [0, 1]
    swept = [] if launcher == "single" else ["-m", f"hydra/launcher={launcher}"]
    swept += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    mode = fault if fault in ("offline", "disabled") else "online"
    mode = [f"tracker={mode}"] + ["tracker.project=tests"] * (mode != "disabled")
    command = [sys.executable, "-m", "experiments.train", *swept, "data=text", book, *LONG, *mode]
    command += [f"seed={','.join(map(str, seeds))}", f"output={tmp_path}/outputs"]
    env = dict(os.environ) | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    if fault == "online":
        command += ["tracker.patience=60"]  # however busy the machine is, nothing is left to be sent
    if fault == "no key":
        del env["WANDB_API_KEY"]
    if fault == "start":
        server.stop()
    if fault == "no network":
        env["WANDB_BASE_URL"] = silence
    if fault == "end":
        server.dies_at = lambda told: told.get("complete", False)
    streams: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    training = subprocess.Popen(command, cwd=tmp_path, env=env, **streams)
    if fault == "middle":
        while not any(path.read_text().count("\n") > 2 for path in tmp_path.rglob(METRICS)):
            assert training.poll() is None
            time.sleep(0.05)
        server.stop()
        assert not list(tmp_path.rglob(RECORD))
    try:
        out, _ = training.communicate(timeout=120)  # of which W&B may take 30
    finally:
        with suppress(ProcessLookupError):
            os.killpg(training.pid, signal.SIGKILL)
    assert training.returncode == 0, out
    server.dies_at = lambda told: False
    if not server.up:
        server.start()
    wandb.teardown()
    runs = dict(records(tmp_path / "outputs"))
    assert [run.seed for run in runs.values()] == seeds
    for again in (False, True):
        assert call(sync, monkeypatch, f"runs={tmp_path}/outputs", "tracker.project=tests") == 0
        said = capsys.readouterr().out.splitlines()
        assert len(said) == len(runs) + 1
        assert [("there already" in line) for line in said[:-1]] == [again or fault == "online"] * len(runs)
        copies = {run.id: run for run in wandb.Api().runs("team/tests")}
        assert copies.keys() == {run.run for run in runs.values()}
        for directory, run in runs.items():
            rows = sorted(copies[run.run].scan_history(), key=lambda row: row["tokens"])
            assert [{k: v for k, v in row.items() if k[0] != "_"} for row in rows] == read_metrics(directory)
            assert copies[run.run].summary_metrics["loss"] == run.loss
            assert copies[run.run].state == "finished"
    wandb.teardown()
