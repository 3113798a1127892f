"""Nothing that happens to a sweep changes what it finds: a few faults always, a hundred if asked for."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import TINY, book, start  # noqa: F401 (a fixture)
from mayhem import Mayhem, table, tmpfs
from wandb_server import Server, serving

from scalelaw.run import read_metrics, records

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
STUDY = [
    "-m",
    "data=text",
    *TINY,
    "checkpoints.seconds=0.3",
    "hydra.launcher.together=2",
    "hydra.launcher.slots=2",
]


@pytest.fixture
def disk(tmp_path) -> Iterator[tuple[Path, bool]]:
    """A folder, and whether it is a disk of its own, small enough to be filled."""
    small = tmp_path / "small"
    mounted = tmpfs(small, megabytes=48)
    yield small, mounted
    if mounted:
        subprocess.run(["umount", "-l", small], check=True)


def disturbed(
    tmp_path: Path, disk: tuple[Path, bool], study: list[str], faults: int, server: Server | None = None
) -> Mayhem:
    """The sweep in peace and under faults; both have to find the same. server: that the sweep under faults
    has its runs mirrored by."""
    peace = tmp_path / "peace"
    peace.mkdir()
    process = start("experiments.train", *study, cwd=peace)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    folder, small = disk
    mirrored, env = [], {}
    if server is not None:
        mirrored = ["tracker=online", "tracker.patience=1"]
        env = {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": "0" * 40}
        env |= {f"WANDB_{name}_DIR": str(tmp_path / "client") for name in ("CACHE", "CONFIG", "DATA")}
    mayhem = Mayhem([*study, *mirrored], folder, seed=1, pause=0.7, env=env)
    if small:
        mayhem.kinds["disk full"] = mayhem.fill
    if server is not None:
        mayhem.kinds["W&B's server killed"] = lambda sweep: mayhem.silence(server)
    mayhem.run(faults)
    rows = table(peace)
    assert table(folder) == rows
    assert set(mayhem.finished) == {row["name"] for row in rows}
    for directory, _ in records(peace / "outputs"):
        assert read_metrics(folder / directory.relative_to(peace)) == read_metrics(directory)
    return mayhem


def test_a_few_faults(tmp_path, disk, book):  # noqa: F811
    study = [*STUDY, book, "seed=0,1,2,3", "budget.D=24000"]
    mayhem = disturbed(tmp_path, disk, study, faults=6)
    assert len(mayhem.finished) == 4


@pytest.mark.slow
@pytest.mark.faults
def test_a_hundred_faults(tmp_path, disk, book):  # noqa: F811
    study = [
        *STUDY,
        book,
        "seed=0,1,2,3",
        "architecture=causal_decoder,prefix_decoder",
        "budget.D=96000,48000,24000",
    ]
    with serving() as server:
        mayhem = disturbed(tmp_path, disk, study, faults=100, server=server)
    assert len(mayhem.finished) == 24
    print(dict(mayhem.hit), mayhem.starts, "starts")
    assert len(mayhem.hit) == len(mayhem.kinds)
