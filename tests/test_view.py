"""What a sweep shows: every run on a terminal with room for it, one line an event elsewhere."""

import io

import pytest
from rich.console import Console
from training import run

from hydra_plugins.scalelaw_local.view import View
from scalelaw.progress import Progress, State, read


def view(*, terminal: bool, height: int = 40) -> tuple[View, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=110, height=height, color_system=None)
    return View(skipped=1, waiting=[f"run-{i}" for i in range(6)], console=console), out


def play(shown: View, tmp_path) -> None:
    """Three runs start; one finishes, one fails, one goes on at step 50 of 200."""
    for name in ("run-0", "run-1", "run-2"):
        (tmp_path / name).mkdir()
        shown.started(name, tmp_path / name)
    shown.ended("run-0", run(tmp_path / "run-0"), None)
    shown.ended("run-1", None, "killed by SIGKILL")
    Progress(tmp_path / "run-2").show(State(step=50, steps=200, loss=2.345, rate=12_345.0, left=65.0))


def test_a_terminal_shows_every_run_there_is_room_for(tmp_path):
    shown, out = view(terminal=True)
    with shown:
        play(shown, tmp_path)
        out.seek(0)
        out.truncate()
        shown.refresh()
        table = out.getvalue()
    for said in ("3/7 runs, 1 failed", "50/200", "2.345", "12,345", "1:05 min", "finished", "FAILED"):
        assert said in table, table
    assert all(f"run-{i}" in table for i in range(6))
    assert table.count("waiting") == 3


@pytest.mark.parametrize("height", [5, 8])
def test_a_small_terminal_shows_the_running_ones_first(tmp_path, height):
    shown, out = view(terminal=True, height=height)
    with shown:
        play(shown, tmp_path)
        out.seek(0)
        out.truncate()
        shown.refresh()
        lines = out.getvalue().splitlines()
    assert any("run-2" in line and "50/200" in line for line in lines)
    assert len(lines) <= height


def test_elsewhere_it_is_one_line_an_event(tmp_path):
    shown, out = view(terminal=False)
    with shown:
        play(shown, tmp_path)
        shown.refresh()
    lines = out.getvalue().splitlines()
    assert lines[0] == "7 runs, 1 of them finished before"
    assert lines[1:4] == [f"started   run-{i}" for i in range(3)]
    assert lines[4].startswith("finished  run-0: loss ")
    assert lines[4].endswith("[2/7]")
    assert lines[5] == "FAILED    run-1: killed by SIGKILL [3/7]"
    assert lines[6].split() == ["not", "finished", "why"]
    assert lines[7].split() == ["run-1", "killed", "by", "SIGKILL"]
    assert lines[8].startswith("1 finished, 1 skipped, 1 failed, 1 stopped")
    assert len(lines) == 9


def test_a_torn_or_missing_progress_file_is_no_progress(tmp_path):
    assert read(tmp_path) is None
    (tmp_path / "progress.json").write_text('{"step": 1')
    assert read(tmp_path) is None
