"""Claims as several hosts on one folder see them: a host is a name and a system of its own here."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import ROOT

from scalelaw import claim as claims
from scalelaw.claim import STALE, Holder, claim
from scalelaw.contracts import BadInput

# This process's id, given out again since.
GONE = Holder(host="here", system=claims._system(), pid=os.getpid(), began="1", at="then")
AWAY = Holder(host="nodeB", system="another", pid=7, began="1", at="noon")
# Goes through all directories as a study does; each that it gets it marks, holds for a while and finishes.
STUDY = """
import os, sys, time
from pathlib import Path
from scalelaw import claim as claims
from scalelaw.contracts import BadInput
host, root, kill, many = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
claims._system, claims.PATIENCE, claims.HEARTBEAT, claims.STALE = (lambda: host), 60.0, 0.1, 4.0
(root / f"ready-{host}").touch()
while len(list(root.glob("ready-*"))) < many:
    time.sleep(0.01)
first = 13 * int(host[-1]) if host[-1].isdigit() else 0  # else one may get all, and the others wait behind it
runs = sorted(root.glob("run-*"))
for directory in runs[first:] + runs[:first]:
    if (directory / "finished").exists():
        continue
    with claims.claim(directory):
        if (directory / "finished").exists():
            continue
        with (directory / "trained").open("a") as file:
            file.write(host + "\\n")
        if kill == directory.name:
            os.kill(os.getpid(), 9)
        time.sleep(0.01)
        (directory / "finished").touch()
"""


def put(directory: Path, content: str | bytes, *, age: float = 0.0) -> None:
    path = directory / ".claim-1"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (time.time() - age, time.time() - age))


def study(root: Path, host: str, *, kill: str = "", many: int = 1) -> subprocess.Popen:
    """Starts a host, which begins when so many hosts are there."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen([sys.executable, "-c", STUDY, host, str(root), kill, str(many)], env=env)


def test_of_hosts_that_race_one_trains_each_run_and_one_goes_on_for_a_dead_one(tmp_path):
    for number in range(40):
        (tmp_path / f"run-{number:02d}").mkdir()
    assert study(tmp_path, "dead", kill="run-02").wait(timeout=60) == -9
    hosts = [study(tmp_path, f"host{number}", many=4) for number in range(3)]
    assert [host.wait(timeout=120) for host in hosts] == [0] * 3
    trained = [path.read_text().split() for path in sorted(tmp_path.rglob("trained"))]
    assert [len(by) for by in trained] == [1, 1, 2] + [1] * 37
    assert [by[0] for by in trained[:3]] == ["dead"] * 3
    assert len({by[-1] for by in trained[2:]}) > 1  # or nobody raced


def test_a_process_elsewhere_that_shows_life_is_named_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.0)
    put(tmp_path, json.dumps(vars(AWAY)), age=STALE - 10)
    looks = []

    def alive(seconds):
        looks.append(seconds)
        os.utime(tmp_path / ".claim-1")

    monkeypatch.setattr(claims.time, "sleep", alive)
    with pytest.raises(BadInput, match="another process: process 7 on nodeB, since noon"), claim(tmp_path):
        pass
    assert len(looks) == 1
    assert not (tmp_path / ".claim-2").exists()


@pytest.mark.parametrize(
    "given_up",
    [
        (json.dumps(vars(GONE)), 0.0),
        (json.dumps(vars(AWAY) | {"released": True}), 0.0),
        (json.dumps(vars(AWAY)), STALE + 1),
        ('{"host": "nodeB", "pi', STALE + 1),
        (b"\xff\x00", STALE + 1),
        ("", STALE + 1),
        ('{"host": 1, "pid": [], "system": null}', STALE + 1),
        (json.dumps(vars(AWAY) | {"pid": "7"}), STALE + 1),
    ],
)
def test_a_claim_given_up_is_taken_over_at_once(tmp_path, monkeypatch, given_up):
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: pytest.fail("waited"))
    put(tmp_path, given_up[0], age=given_up[1])
    for number in (2, 3):  # a second start takes over from the first, which has let go
        with claim(tmp_path):
            mine = json.loads((tmp_path / f".claim-{number}").read_text())
            assert (mine["pid"], mine["released"]) == (os.getpid(), False)
    left = given_up[0] if isinstance(given_up[0], bytes) else given_up[0].encode()
    assert (tmp_path / ".claim-1").read_bytes() == left  # nobody writes another's


@pytest.mark.parametrize("content", [json.dumps(vars(AWAY)), '{"host": "no', ""])
def test_a_claim_that_may_be_alive_is_waited_for_until_it_is_stale(tmp_path, monkeypatch, content):
    """Whatever its content: a process may be about to write it."""
    monkeypatch.setattr(claims, "PATIENCE", 0.0)
    put(tmp_path, content)
    looks: list[float] = []
    monkeypatch.setattr(claims.time, "sleep", looks.append)
    monkeypatch.setattr(claims, "_now", lambda directory: time.time() + len(looks) * STALE / 3)
    with claim(tmp_path):
        assert 3 <= len(looks) <= 4


def test_who_was_taken_over_writes_nothing_more(tmp_path, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)
    monkeypatch.setattr(claims.os, "_exit", lambda status: ended.set())
    with claim(tmp_path):
        assert not ended.wait(0.1)
        (tmp_path / ".claim-2").write_text(json.dumps(vars(AWAY)))
        assert ended.wait(30)


def test_the_holder_shows_life_and_leaves_others_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)
    put(tmp_path, json.dumps(vars(AWAY)), age=STALE + 1)
    with claim(tmp_path):
        mine, theirs = tmp_path / ".claim-2", (tmp_path / ".claim-1").stat().st_mtime_ns
        first = mine.stat().st_mtime_ns
        deadline = time.monotonic() + 30
        while mine.stat().st_mtime_ns == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert mine.stat().st_mtime_ns > first
    assert json.loads(mine.read_text())["released"]
    assert (tmp_path / ".claim-1").stat().st_mtime_ns == theirs
