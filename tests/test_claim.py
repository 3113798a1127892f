"""Claims as several hosts on one folder see them: a host is a name and a system of its own here."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT

from scalelaw import claim as claims
from scalelaw.claim import STALE, Holder, claim
from scalelaw.contracts import BadInput

GONE = Holder(
    host="here", system=claims._system(), pid=os.getpid(), began="1", at="then"
)  # an id given out again
AWAY = Holder(host="nodeB", system="another", pid=7, began="1", at="noon")
# Goes through all directories as a study does; each that it gets it marks, holds for a while and finishes.
STUDY = """
import os, sys, time
from pathlib import Path
from scalelaw import claim as claims
from scalelaw.contracts import BadInput
host, root, kill = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
claims._system, claims.PATIENCE, claims.HEARTBEAT, claims.STALE = (lambda: host), 30.0, 0.1, 2.0
for directory in sorted(root.iterdir()):
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


def study(root: Path, host: str, kill: str = "") -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen([sys.executable, "-c", STUDY, host, str(root), kill], env=env)


def test_of_many_hosts_that_race_one_trains_each_run(tmp_path):
    for number in range(60):
        (tmp_path / f"run-{number:02d}").mkdir()
    hosts = [study(tmp_path, f"host{number}") for number in range(5)]
    assert [host.wait(timeout=120) for host in hosts] == [0] * 5
    trained = [path.read_text().split() for path in tmp_path.rglob("trained")]
    assert len(trained) == 60
    assert all(len(by) == 1 for by in trained)
    assert len({by[0] for by in trained}) > 1  # or nobody raced


def test_of_many_hosts_that_wait_for_a_dead_one_a_single_one_goes_on(tmp_path):
    for number in range(4):
        (tmp_path / f"run-{number}").mkdir()
    assert study(tmp_path, "dead", kill="run-2").wait(timeout=60) == -9
    hosts = [study(tmp_path, f"host{number}") for number in range(5)]
    assert [host.wait(timeout=120) for host in hosts] == [0] * 5
    trained = [(tmp_path / f"run-{number}" / "trained").read_text().split() for number in range(4)]
    assert [len(by) for by in trained] == [1, 1, 2, 1]
    assert trained[2][0] == "dead"


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
