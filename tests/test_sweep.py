"""Sweeps as a user starts them: real processes, real signals."""

import os
import signal
import time
from pathlib import Path

import pytest
from commands import TINY, book, start  # noqa: F401 (a fixture)

from scalelaw.run import Run, read_metrics, records

SWEEP = ["-m", "data=text", *TINY, "seed=0,1,2"]
FAULT = ["+objective.marker=marker", "+objective.at=4"]


def sweep(cwd: Path, *arguments: str) -> tuple[int, str]:
    process = start("experiments.train", *SWEEP, *arguments, cwd=cwd)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def table(cwd: Path) -> list[dict]:
    return [run.row() for _, run in records(cwd / "outputs")]


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


def test_a_worker_killed_costs_its_run_only_and_goes_on_from_its_checkpoint(tmp_path, book):  # noqa: F811
    """SIGKILL after real checkpoints; the next start repairs that run, to the bits of an undisturbed one."""
    faulty = ["objective._target_=faults.DieOnce", *FAULT, f"+objective.number={int(signal.SIGKILL)}"]
    faulty += ["checkpoints.seconds=0"]
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
    process = start("experiments.train", *SWEEP, book, cwd=cut)
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
    process = start("experiments.train", *SWEEP[:-1], book, *long, cwd=tmp_path)
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
    process = start("experiments.train", *SWEEP[:-1], book, "seed=0,1", "budget.D=3e6", cwd=tmp_path)
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
