"""Calling the project's commands as a user does: in this process, or in one of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A run of a fraction of a second.
TINY = ["window=16", "rows=2", "budget.D=320", "shape.depth=2", "log_every=4", "threads=1"]
TINY += ["evaluation.rows=4", "evaluation.curve_rows=2", "evaluation.points=2", "tracker=disabled"]


def call(command, monkeypatch, *arguments: str) -> int:
    """Run a door in this process with these arguments; its exit status."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    try:
        command()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def start(module: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen:
    """Start `python -m module` in its own process group, its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{ROOT / 'tests'}",
            "HOME": str(cwd),
        }
        | (env or {}),
    )


@pytest.fixture
def book(tmp_path: Path) -> str:
    """A small text of the user's own, as an override."""
    words = ["the", "law", "of", "all", "states", "that", "was", "made", "in", "peace", "is", "for", "us"]
    paragraphs = [" ".join(words[(i * j) % len(words)] for j in range(1, 60)) for i in range(1, 60)]
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs))
    return f"data.path={tmp_path / 'book.txt'}"
