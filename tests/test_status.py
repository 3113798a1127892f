"""The state of every run of a study, told from the files it leaves; and the page on one that still runs."""

import json
import os
import re
import shutil
import signal
import time
from importlib import import_module
from pathlib import Path

import pytest
from commands import call, start
from study import write_study
from training import CausalDecoder, CausalLM, Stopping, run

from analysis.report.live import page
from scalelaw.checkpoint import Checkpoints
from scalelaw.progress import Progress, State
from scalelaw.progress import read as read_progress
from scalelaw.run import METRICS, RECORD, Run
from scalelaw.status import SWEEP, Seen, Sight, clock, last_words, look, span

HALF = {"step": 50, "steps": 200, "loss": 2.5, "rate": 1000.0, "left": 60.0}
HALF |= {"flops": 1e9, "N": 13_944, "architecture": "causal_decoder"}


def quiet(path: Path, seconds: float) -> None:
    """Make as if nothing had happened at `path`, and in it, for so long."""
    for each in (*path.glob("*"), path):
        os.utime(each, (clock(path.parent) - seconds,) * 2)


def going(directory: Path, **changes) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    Progress(directory).show(State(**(HALF | changes)))


def failing(directory: Path, words: str) -> None:
    directory.mkdir(parents=True)
    (directory / "log.txt").write_text(words)


TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: window must be 2\n'


@pytest.fixture
def folder(tmp_path):
    """A sweep of nine runs in every state there is, and one run that it does not list."""
    names = ["finished", "diverged", "going", "slow", "silent", "refused", "torn", "cut", "to_come"]
    listed = [{"name": f"run {name}", "directory": name, "flops": 4e9} for name in names]
    sweep = {"command": "train -m", "commit": None, "started": "2026-01-01T00:00:00+00:00", "runs": listed}
    (tmp_path / SWEEP).write_text(json.dumps(sweep))
    quiet(tmp_path / SWEEP, 5000)
    run(tmp_path / "finished")
    run(tmp_path / "diverged", architecture=broken)
    going(tmp_path / "going")
    going(tmp_path / "slow", step=150, left=50 * 60.0)  # a minute a step
    quiet(tmp_path / "slow", 500)
    going(tmp_path / "silent")
    (tmp_path / "silent" / "log.txt").write_text("reading\nout of memory\n")
    quiet(tmp_path / "silent", 130)
    failing(tmp_path / "refused", TRACEBACK)
    quiet(tmp_path / "refused", 300)
    run(tmp_path / "torn")
    (tmp_path / "torn" / RECORD).write_bytes(b'{"run": ')
    going(tmp_path / "cut")
    quiet(tmp_path / "cut", 6000)  # by an earlier sweep: this one has yet to come to it
    going(tmp_path / "deeper" / "by_itself")
    return tmp_path


def broken(shape, vocab_size):
    model = CausalDecoder(shape, vocab_size, tie_embeddings=False)
    model.head.weight.data.fill_(float("nan"))
    return model


def test_every_state_is_told_with_its_reason(folder):
    sight = look(folder, patience=120)
    seen = {run.directory.name: run for run in sight.runs}
    assert {name: run.state for name, run in seen.items()} == {
        "finished": "finished",
        "diverged": "diverged",
        "going": "running",
        "slow": "running",
        "silent": "stalled",
        "refused": "failed",
        "torn": "failed",
        "cut": "waiting",
        "to_come": "waiting",
        "by_itself": "running",
    }
    assert seen["finished"].loss == Run.load(folder / "finished").loss
    assert "step 1" in seen["diverged"].reason
    assert re.fullmatch(r"no sign of life for 2:1\d min; last words: out of memory", seen["silent"].reason)
    assert seen["refused"].reason == "ValueError: window must be 2"
    assert "torn/run.json is not a run record" in seen["torn"].reason
    assert seen["cut"].reason == "goes on from step 50"
    assert seen["cut"].name == "run cut"
    assert seen["by_itself"].name == "by_itself"
    assert [run.state for run in sight.runs] == sorted(
        (run.state for run in sight.runs),
        key=["running", "stalled", "failed", "diverged", "waiting", "finished"].index,
    )
    assert (sight.code, sight.going, sight.rate) == (1, True, 3000.0)


def test_without_a_list_what_has_left_a_file_is_told(folder):
    (folder / SWEEP).write_text('{"runs": [{"name"')
    states = {run.directory.name: run.state for run in look(folder, patience=120).runs}
    assert "to_come" not in states
    assert states["cut"] == "stalled"
    assert len(states) == 9


def test_a_run_that_starts_again_is_not_what_it_was(tmp_path):
    failing(tmp_path / "a", TRACEBACK)
    quiet(tmp_path / "a", 50)
    assert look(tmp_path, patience=60).runs[0].state == "failed"
    (tmp_path / "a" / ".lock").touch()
    assert (look(tmp_path, patience=60).runs[0].state, look(tmp_path, patience=60).code) == ("running", 2)


def test_a_run_that_hangs_is_told_from_one_that_is_dead(tmp_path):
    for name in ("hangs", "dead"):
        going(tmp_path / name)
        (tmp_path / name / ".claim-1").touch()
        quiet(tmp_path / name, 700)
    (tmp_path / "hangs" / ".claim-2").touch()
    reasons = {run.name: run.reason for run in look(tmp_path, patience=60).runs if run.state == "stalled"}
    assert re.fullmatch(r"no progress for 11:4\d min, though its process lives", reasons["hangs"])
    assert re.fullmatch(r"no sign of life for 11:4\d min", reasons["dead"])


def test_a_record_is_read_anew_when_it_has_changed(tmp_path):
    run(tmp_path / "a")
    assert look(tmp_path, patience=60).code == 0
    content = json.loads((tmp_path / "a" / RECORD).read_text())
    (tmp_path / "a" / RECORD).write_text(json.dumps(content | {"status": "diverged", "reason": "loss nan"}))
    sight = look(tmp_path, patience=60)
    assert (sight.runs[0].reason, sight.code) == ("loss nan", 1)


def test_an_empty_folder_is_an_error(tmp_path):
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"runs=.*: no run there"):
            look(root, patience=60)


def seen(state: str, **parts) -> Seen:
    return Seen(name=state, directory=Path(state), state=state, **parts)


def test_what_is_left_is_the_longest_run_or_all_flops_at_the_pace_of_now():
    fast = seen("running", left=10.0, flops=0.0, whole=1e9)  # 1e8 a second
    slow = seen("running", left=100.0, flops=1e10, whole=2e10)  # the same
    assert Sight([fast, slow], 0.0).left == 100.0
    assert Sight([fast, slow, seen("waiting", whole=1e9)], 0.0).left == 100.0
    assert Sight([fast, slow, seen("waiting", whole=2.9e10)], 0.0).left == pytest.approx(200.0)
    assert Sight([fast, seen("waiting")], 0.0).left is None
    assert Sight([seen("waiting", whole=1e9)], 0.0).left is None


def test_a_run_that_trains_says_what_it_is(tmp_path, monkeypatch):
    states = []

    class Looking(CausalLM):
        def __call__(self, windows, generator):
            states.append(read_progress(tmp_path))
            return super().__call__(windows, generator)

    monkeypatch.setattr("scalelaw.progress.EVERY", 0.0)
    record = run(tmp_path, objective=Looking())
    last = states[11]
    assert (last.step, last.steps, last.N, last.architecture) == (11, 12, record.N, "causal_decoder")
    assert last.flops * 12 / 11 == record.C


def test_last_words_are_those_of_a_long_log_and_of_bytes_that_are_no_text(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff" * 10_000 + b"\nthe end \xc3\n\n")
    assert last_words(log).line == "the end \ufffd"
    assert not last_words(log).error
    log.write_text("")
    assert last_words(log) is None


def test_spans_are_as_spoken():
    assert [span(s) for s in (0.4, 59, 60, 3599, 3600, 172_799, 172_800)] == (
        ["0 s", "59 s", "1:00 min", "59:59 min", "1:00 h", "47:59 h", "2.0 d"]
    )


# The command


def status(monkeypatch, *arguments: str) -> int:
    return call(import_module("experiments.status").main, monkeypatch, *arguments)


def test_the_command_shows_a_row_for_each_run_and_ends_with_what_there_is(folder, monkeypatch, capsys):
    assert status(monkeypatch, f"runs={folder}") == 1
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith(
        "1/10 runs finished, 3 running, 1 stalled, 2 failed, 1 diverged, 2 waiting, 3,000 t"
    )
    assert sum(line.lstrip().startswith(("run ", "by_itself")) for line in rows) == 10
    (line,) = (line for line in rows if "run going" in line)
    assert line.split() == ["run", "going", "running", "50/200", "2.5000", "1,000", "1:00", "min"]
    assert not (folder / "live.html").exists()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("patience=x", "patience=x: has to be a number of at least 0"),
        ("watch=0", "watch=0: has to be a number of at least 0.1"),
        ("runs=nowhere", "runs=nowhere: no run there"),
    ],
)
def test_what_the_user_got_wrong_is_one_line(folder, monkeypatch, capsys, key, said):
    assert status(monkeypatch, f"runs={folder}", key) == 1
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_watch_ends_with_the_study_and_its_page_with_it(tmp_path):
    going(tmp_path / "runs" / "a")
    process = start("experiments.status", "runs=runs", "watch=0.1", "page=true", cwd=tmp_path)
    live = tmp_path / "runs" / "live.html"
    deadline = time.monotonic() + 60
    while not live.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert '<meta http-equiv="refresh" content="0.1">' in live.read_text()
    run(tmp_path / "runs" / "a")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert output.startswith("0/1 runs finished, 1 running")
    assert "1/1 runs finished" in output
    assert "refresh" not in live.read_text()
    assert "1 of 1" in live.read_text()


def test_a_watch_outlives_a_moment_without_any_run_and_not_its_folder(tmp_path):
    """A run that begins anew clears its folder before it shows where it is."""
    going(tmp_path / "runs" / "a")
    process = start("experiments.status", "runs=runs", "watch=0.1", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    shutil.rmtree(tmp_path / "runs" / "a")
    for _ in range(3):
        assert process.stdout.readline().startswith("0/1 runs finished, 1 running")
    shutil.rmtree(tmp_path / "runs")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.endswith("error: runs=runs: no run there\n")


def test_a_watch_that_is_stopped_leaves_a_page_that_does_not_go_on(tmp_path):
    going(tmp_path / "a")
    process = start("experiments.status", "runs=.", "watch=0.1", "page=true", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while not (tmp_path / "live.html").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 2
    assert "refresh" not in (tmp_path / "live.html").read_text()


# The page


def test_the_page_shows_all_runs_and_all_curves_in_one_file(tmp_path):
    write_study(tmp_path, architectures=("causal_decoder", "prefix_decoder"), wreck="prefix_decoder")
    going(tmp_path / "runs" / "new", architecture="causal_decoder")
    row = {"step": 4, "tokens": 16_384, "flops": 1e9, "loss": 3.0}
    (tmp_path / "runs" / "new" / METRICS).write_text(json.dumps(row) + "\n" + '{"step": 5, "to')
    sight = look(tmp_path, patience=60)
    made = page(sight, title="a <b>", refresh=5)
    assert page(sight, title="a <b>", refresh=5) == made
    assert made.count("<tr>") == 1 + 37
    assert "Validation loss of 37 runs so far" in made
    assert '<meta http-equiv="refresh" content="5">' in made
    assert "a &lt;b&gt;" in made
    assert "loss was nan at step 40" in made
    loading = re.findall(r'(?:src|href|data|action)="([^"]*)"|url\(([^)]*)\)|@import', made)
    assert all((a or b).startswith("#") for a, b in loading)
    ids = re.findall(r'\bid="([^"]+)"', made)
    assert len(ids) == len(set(ids))


def test_before_any_evaluation_the_page_has_no_figure(tmp_path):
    going(tmp_path / "a")
    made = page(look(tmp_path, patience=60), title="new", refresh=None)
    assert "No run has been evaluated yet" in made
    assert "<svg" not in made
    assert "refresh" not in made


def test_a_stopped_run_is_interrupted_until_a_sweep_comes_to_it_again(tmp_path):
    kept = Checkpoints(seconds=1e9, keep=1, weights=False)
    run(tmp_path / "a", objective=Stopping(CausalLM(), 5), checkpoints=kept)
    assert look(tmp_path, patience=60).runs[0].state == "interrupted"
    listed = [{"name": "a", "directory": "a", "flops": None}]
    (tmp_path / SWEEP).write_text(json.dumps({"command": "", "commit": "", "started": "", "runs": listed}))
    quiet(tmp_path / "a", 10)
    (again,) = look(tmp_path, patience=60).runs
    assert (again.state, again.reason) == ("waiting", "goes on from step 5")
