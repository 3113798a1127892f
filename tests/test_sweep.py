"""Sweeps as a user starts them: real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import ROOT, TINY, book, start  # noqa: F401 (a fixture)
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from experiments.door import CONF
from hydra_plugins.scalelaw_local._composer import Composer
from scalelaw.run import Run, read_metrics, records

SWEEP = ["-m", "data=text", *TINY]
FAULT = ["+objective.marker=marker", "+objective.at=4"]
KILLED = ["objective._target_=faults.DieOnce", *FAULT, f"+objective.number={int(signal.SIGKILL)}"]


def sweep(
    cwd: Path, *arguments: str, seeds: str = "0,1,2", env: dict[str, str] | None = None
) -> tuple[int, str]:
    process = start("experiments.train", *SWEEP, f"seed={seeds}", *arguments, cwd=cwd, env=env)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def table(cwd: Path) -> list[dict]:
    return [run.row() for _, run in records(cwd / "outputs")]


def priced(cwd: Path) -> dict[str, float | None]:
    """By name, the FLOPs that the sweep expected of its runs."""
    about = json.loads((cwd / "outputs/single/sweep.json").read_text())
    return {run["name"]: run["flops"] for run in about["runs"]}


@pytest.fixture
def undisturbed(tmp_path, book):  # noqa: F811
    """The rows of a sweep that nothing happened to, and the override that names its text."""
    whole = tmp_path / "whole"
    whole.mkdir()
    code, output = sweep(whole, book)
    assert code == 0, output
    return table(whole), book


def test_a_second_start_skips_all_and_touches_nothing(tmp_path, undisturbed):
    rows, book = undisturbed  # noqa: F811
    assert [row["seed"] for row in sorted(rows, key=lambda row: row["seed"])] == [0, 1, 2]
    assert len({row["loss"] for row in rows}) == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").rglob("run.json")}
    code, output = sweep(tmp_path / "whole", book)
    assert code == 0
    assert "3 of them finished before" in output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").rglob("run.json")} == before


def test_one_run_that_breaks_is_one_failed_row(tmp_path, book):  # noqa: F811
    code, output = sweep(tmp_path, book, "budget.D=320,-1")
    assert code == 1
    assert output.count("FAILED") == 3
    assert "budget.D must be a positive number" in output
    assert output.strip().endswith("error: 3 of 6 runs did not finish; their logs say why")
    assert sum(run.finished for _, run in records(tmp_path / "outputs")) == 3
    logs = [path for path in tmp_path.rglob("log.txt") if "Traceback" in path.read_text()]
    assert len(logs) == 3


def test_a_launcher_that_is_not_ours_reports_what_did_not_finish(tmp_path, book):  # noqa: F811
    code, output = sweep(tmp_path, book, "hydra/launcher=basic", "optimizer.lr=0.003,1e30")
    assert code == 1
    assert "error: 3 of 6 runs did not finish; their logs say why" in output.splitlines()
    statuses = sorted(run.status for _, run in records(tmp_path / "outputs"))
    assert statuses == ["diverged"] * 3 + ["finished"] * 3


@pytest.mark.parametrize(("launcher", "extra"), [("slurm", "submitit"), ("ray_tasks", "ray")])
def test_an_engine_that_is_not_installed_is_named(tmp_path, book, launcher, extra):  # noqa: F811
    if find_spec(extra):
        pytest.skip(f"{extra} is installed")
    code, output = sweep(tmp_path, book, f"hydra/launcher={launcher}")
    assert code == 1
    assert output.strip() == f"error: {extra} is not installed: pip install 'scalelaw[{extra}]'"


def test_a_worker_killed_costs_its_run_only_and_goes_on_from_its_checkpoint(tmp_path, book):  # noqa: F811
    """SIGKILL after real checkpoints; the next start repairs that run, to the bits of an undisturbed one."""
    faulty = [*KILLED, "checkpoints.seconds=0", "hydra.launcher.retries=0", "hydra.launcher.together=1"]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    cut.mkdir()
    whole.mkdir()
    (whole / "marker").touch()  # here the fault has happened already
    code, output = sweep(cut, book, *faulty)
    assert code == 1
    assert "killed by SIGKILL" in output
    assert len(table(cut)) == 2
    assert max(cut.rglob("checkpoint-*")).name == "checkpoint-000000003.safetensors"
    code, output = sweep(cut, book, *faulty)
    assert code == 0
    assert "2 of them finished before" in output
    assert sweep(whole, book, *faulty)[0] == 0
    assert table(cut) == table(whole)
    for directory, _ in records(whole / "outputs"):
        assert read_metrics(cut / directory.relative_to(whole)) == read_metrics(directory)


def test_everything_killed_at_once_ends_in_the_same_table(tmp_path, undisturbed):
    rows, book = undisturbed  # noqa: F811
    cut = tmp_path / "cut"
    cut.mkdir()
    process = start("experiments.train", *SWEEP, "seed=0,1,2", book, cwd=cut)
    for line in process.stdout:
        if line.startswith("finished"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    code, output = sweep(cut, book)
    assert code == 0, output
    assert table(cut) == rows
    for directory, _ in records(tmp_path / "whole" / "outputs"):
        twin = cut / directory.relative_to(tmp_path / "whole")
        assert read_metrics(twin) == read_metrics(directory)


def test_runs_do_not_outlive_their_sweep(tmp_path, book):  # noqa: F811
    """SIGKILL to the parent alone: its workers write a checkpoint and stop."""
    long = [
        "seed=0,1",
        "budget.D=3e6",
        "objective._target_=faults.DieWithParent",
        *FAULT,
        "+objective.number=0",
    ]
    process = start("experiments.train", *SWEEP, book, *long, cwd=tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while not (runs := table(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert {row["status"] for row in runs} == {"interrupted"}
    assert all(row["reason"].startswith("SIGTERM") for row in runs)
    assert list(tmp_path.rglob("checkpoint-*.safetensors"))


def test_two_equal_runs_in_a_study_are_an_error(tmp_path, book):  # noqa: F811
    code, output = sweep(tmp_path, book, "log_every=4,5")
    assert code == 1
    assert "two runs of the study are the same" in output


def test_a_stopped_sweep_leaves_resumable_runs(tmp_path, book):  # noqa: F811
    process = start("experiments.train", *SWEEP, book, "seed=0,1", "budget.D=3e6", cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("started") and "s1" in line:
            break
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("progress.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    runs = [Run.load(path.parent) for path in tmp_path.rglob("run.json")]
    assert [run.status for run in runs] == ["interrupted", "interrupted"]
    assert len(list(tmp_path.rglob("checkpoint-*.safetensors"))) == 2


def test_runs_in_one_process_leave_the_records_of_runs_in_their_own(tmp_path, book):  # noqa: F811
    """Three seeds and two budgets, three runs together: of the first and the last seed the shorter budget
    branches off the longer, the middle one is divided between two processes."""
    study = ["budget.D=320,640", "schedule.warmup=2", "log_every=3"]
    whole, together = tmp_path / "whole", tmp_path / "together"
    for cwd, bundle in ((whole, "1"), (together, "3")):
        cwd.mkdir()
        code, output = sweep(cwd, book, *study, f"hydra.launcher.together={bundle}")
        assert code == 0, output
    rows = {row["run"]: row for row in table(together)}
    assert {row["run"]: row | {"parent": None} for row in rows.values()} == {
        r["run"]: r for r in table(whole)
    }
    children = {row["seed"]: row for row in rows.values() if row["parent"]}
    assert {seed: row["D"] for seed, row in children.items()} == {0: 320, 2: 320}
    assert all(rows[row["parent"]]["D"] == 640 for row in children.values())
    for directory, _ in records(whole / "outputs"):
        assert read_metrics(together / directory.relative_to(whole)) == read_metrics(directory)


@pytest.mark.parametrize("together", [1, 3])
def test_a_worker_killed_is_tried_again_within_the_sweep(tmp_path, book, together):  # noqa: F811
    """With it go all the runs that it had, and no others."""
    code, output = sweep(tmp_path, book, *KILLED, f"hydra.launcher.together={together}")
    assert code == 0, output
    assert len([line for line in output.splitlines() if line.startswith("again")]) == together
    assert "killed by SIGKILL" in output
    assert [row["status"] for row in table(tmp_path)] == ["finished"] * 3


def test_a_run_whose_time_is_up_is_stopped_with_a_checkpoint_and_goes_on(tmp_path, book):  # noqa: F811
    """30,000 steps take far more than the eight seconds that they get in all."""
    endless = ["budget.D=2400000", "hydra.launcher.timeout=4", "hydra.launcher.retries=0"]
    reached = []
    for _ in range(2):
        code, output = sweep(tmp_path, book, *endless, seeds="0")
        assert code == 1
        assert "FAILED    causal_decoder-d2-2.4M-s0" in output
        assert "stopped after 4 s (hydra.launcher.timeout)" in output
        [(directory, run)] = records(tmp_path / "outputs")
        assert run.status == "interrupted"
        assert run.step == max(int(path.stem[-9:]) for path in directory.glob("checkpoint-*"))
        reached.append(run.step)
    assert 0 < reached[0] < reached[1]


def test_a_sweep_says_what_it_is_about_to_run_the_costly_first(tmp_path, book):  # noqa: F811
    code, output = sweep(
        tmp_path,
        book,
        "budget.D=320,1280,640",
        "hydra.launcher.together=1",
        "hydra.launcher.slots=1",
        seeds="0",
    )
    assert code == 0, output
    about = json.loads((tmp_path / "outputs/single/sweep.json").read_text())
    flops = {run["name"]: run["flops"] for run in about["runs"]}
    started = [line.split()[1] for line in output.splitlines() if line.startswith("started")]
    assert started == sorted(flops, key=flops.get, reverse=True)
    runs = {run.name: run for _, run in records(tmp_path / "outputs")}
    assert {name: run.C for name, run in runs.items()} == flops
    assert {run.provenance["commit"] for run in runs.values()} == {about["commit"]}


def test_a_sweep_itself_loads_no_torch(tmp_path, book):  # noqa: F811
    """Its workers do, by one of which it has its runs priced."""
    code = "import atexit, sys; from experiments.train import main\n"
    code += "atexit.register(lambda: print('torch' in sys.modules)); main()"
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, *SWEEP, book, "budget.D=320,640,1280"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    C = {run.name: run.C for _, run in records(tmp_path / "outputs")}
    assert priced(tmp_path) == C
    assert len(set(C.values())) == 3


@pytest.mark.parametrize(("price", "flops"), [("die", None), ("collected", 1)])
def test_whoever_prices_may_die_and_collects_garbage(tmp_path, book, price, flops):  # noqa: F811
    code, output = sweep(tmp_path, book, f"hydra.launcher.cost=faults.{price}")
    assert code == 0, output
    assert list(priced(tmp_path).values()) == [flops] * 3
    assert [row["status"] for row in table(tmp_path)] == ["finished"] * 3


def test_a_price_that_is_not_there_is_named(tmp_path, book):  # noqa: F811
    code, output = sweep(tmp_path, book, "hydra.launcher.cost=faults.nobody")
    assert code == 1
    *_, last = output.splitlines()
    assert last.startswith("error: hydra.launcher.cost=faults.nobody is not the name of a function: ")
    assert "Traceback" not in output


def test_all_runs_name_the_commit_that_the_sweep_began_with(tmp_path, book):  # noqa: F811
    """Under a git whose checkout is another one each time it is asked."""
    moving = tmp_path / "bin" / "git"
    moving.parent.mkdir()
    asked = tmp_path / "asked"
    moving.write_text(f"#!/bin/sh\ncase $3 in rev-parse) echo x >>{asked}; wc -l <{asked};; esac\n")
    moving.chmod(0o755)
    code, output = sweep(tmp_path, book, env={"PATH": f"{moving.parent}:/usr/bin:/bin"})
    assert code == 0, output
    about = json.loads((tmp_path / "outputs/single/sweep.json").read_text())
    assert about["commit"] == "1"
    assert [run.provenance["commit"] for _, run in records(tmp_path / "outputs")] == ["1"] * 3


@pytest.mark.parametrize(
    ("key", "value"), [("slots", "0"), ("together", "1.5"), ("retries", "-1"), ("timeout", "0")]
)
def test_a_wrong_knob_is_named(tmp_path, book, key, value):  # noqa: F811
    code, output = sweep(tmp_path, book, f"hydra.launcher.{key}={value}")
    assert code == 1
    assert output.startswith(f"error: hydra.launcher.{key} is a ")


def test_configs_composed_together_are_those_composed_apart():
    """Group options, added keys, quotes, null and lists: to the letter."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        base = compose("train", ["study=demo"], return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        quick = Composer(loader, base)
        for seed, architecture in enumerate(["causal_decoder", "encoder_decoder"] * 2):
            overrides = ["study=demo", f"architecture={architecture}", f"seed={seed}", "tracker.tags=[a,b]"]
            overrides += [
                f"+extra={seed}",
                f"output='a b{seed}'",
                "data.cache=null",
                f"budget.C={seed + 1}e9",
            ]
            assert OmegaConf.to_yaml(quick(overrides)) == OmegaConf.to_yaml(
                loader.load_sweep_config(base, overrides)
            )
    assert len(quick.known) == 4  # +extra is another composition each time


def test_a_run_of_a_sweep_may_have_several_processes(tmp_path, book):  # noqa: F811
    """test_parallel says what its losses are; torchrun around the sweep is refused."""
    two = ["parallel=ddp", "hydra.launcher.devices=2"]
    code, output = sweep(tmp_path, book, *two, seeds="0")
    assert code == 0, output
    ((_, run),) = records(tmp_path / "outputs")
    assert run.finished
    assert run.provenance["processes"] == 2
    code, output = sweep(tmp_path, book, *two, seeds="5", env={"TORCHELASTIC_RUN_ID": "none"})
    assert code == 1
    assert "say hydra.launcher.devices" in output
