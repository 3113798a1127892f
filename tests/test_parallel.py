"""One run in several processes is the run on one device: two gloo processes on the CPU."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import ROOT, TINY, book, start  # noqa: F401 (a fixture)
from processes import KINDS, RUNS, Stopping
from safetensors import safe_open
from training import STEPS, run

from scalelaw.contracts import BadInput
from scalelaw.parallel import DDP
from scalelaw.run import METRICS, RECORD, Run, read_metrics, records

BITS = 2**-8  # bfloat16's rounding


def torchrun(processes: int, function: str, directory: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [
        f"--nproc_per_node={processes}",
        str(ROOT / "tests" / "processes.py"),
        str(directory),
        function,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


def environment() -> dict[str, str]:
    paths = f"{ROOT}:{ROOT / 'src'}:{ROOT / 'tests'}"
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def figures(record: Run) -> dict[str, float]:
    return {key: value for key, value in record.row().items() if isinstance(value, float)}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The directory in which two processes have done all of `processes.everything`."""
    directory = tmp_path_factory.mktemp("two")
    run(directory / "from-one", objective=Stopping(5))
    torchrun(2, "everything", directory)
    return directory


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", RUNS)
def test_losses_are_those_of_one_device(tmp_path, two, kind, case):
    """Every row of the metrics: training and validation losses, and the norm before clipping, within 1e-5.

    In bfloat16 each process rounds the gradient of its own rows: there losses agree to bfloat16's rounding.
    """
    alone, shared = run(tmp_path, **RUNS[case]), Run.load(two / kind / case)
    tolerance = BITS if case == "bfloat16" else 1e-5
    rows, others = read_metrics(tmp_path), read_metrics(two / kind / case)
    assert [row["step"] for row in others] == [row["step"] for row in rows]
    for row, other in zip(rows, others, strict=True):
        assert other == pytest.approx(row, rel=tolerance)
    assert figures(shared) == pytest.approx(figures(alone), rel=tolerance)
    assert (shared.C, shared.D_target, shared.N) == (alone.C, alone.D_target, alone.N)
    assert shared.provenance["processes"] == 2


def test_clipping_was_at_work(two):
    norms = [row["gradient_norm"] for row in read_metrics(two / "fsdp" / "clipped")]
    assert min(norms) > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_to_one_process_stops_all_and_the_run_resumes_to_the_same_bits(two, kind):
    stopped = Run.load(two / kind / "cut")
    assert (stopped.status, stopped.step) == ("interrupted", 5)
    assert stopped.reason == f"SIGTERM after step 5 of {STEPS}"
    assert Run.load(two / kind / "resumed").row() == Run.load(two / kind / "causal").row()
    assert read_metrics(two / kind / "resumed") == read_metrics(two / kind / "causal")


def test_under_fsdp_each_process_writes_its_part_and_under_ddp_one_writes_all(two):
    (whole,) = (two / "ddp" / "cut").glob("checkpoint-*")
    parts = sorted((two / "fsdp" / "cut").glob("checkpoint-*"))
    assert [part.name for part in parts] == [
        f"checkpoint-000000005-{rank}-of-2.safetensors" for rank in range(2)
    ]
    with safe_open(whole, "pt") as one, safe_open(parts[0], "pt") as a, safe_open(parts[1], "pt") as b:
        assert set(one.keys()) == set(a.keys()) == set(b.keys())
        for name in one.keys():  # noqa: SIM118 (not a dict)
            full, half, rest = (file.get_tensor(name) for file in (one, a, b))
            if full.dim():
                assert len(half) == len(rest) == len(full) / 2
                torch.testing.assert_close(torch.cat((half, rest)), full, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["from-one", "from-fsdp"])
def test_a_run_moves_between_one_process_and_several(tmp_path, two, name):
    assert figures(Run.load(two / name)) == pytest.approx(figures(run(tmp_path)), rel=1e-5)
    rows = [row["train_loss"] for row in read_metrics(tmp_path)]
    assert [row["train_loss"] for row in read_metrics(two / name)] == pytest.approx(rows, rel=1e-5)


def test_a_run_cut_over_two_processes_goes_on_in_one(tmp_path, two):
    shutil.copytree(two / "fsdp" / "cut", tmp_path / "moved")
    assert figures(run(tmp_path / "moved")) == pytest.approx(figures(run(tmp_path / "alone")), rel=1e-5)
    assert not list((tmp_path / "moved").glob("checkpoint-*"))


def test_parts_that_do_not_belong_together_are_passed_over(tmp_path, two, caplog):
    first, _ = sorted((two / "fsdp" / "cut").glob("checkpoint-*"))
    (tmp_path / first.name).write_bytes(first.read_bytes())
    alone = run(tmp_path / "alone")
    assert run(tmp_path).row() == alone.row()
    assert "1 of its 2 files" in caplog.text


def test_the_first_process_alone_writes(two):
    for kind in KINDS:
        assert [path.name for path in (two / kind / "causal").glob("tracked-by-*")] == ["tracked-by-0"]


def test_what_cannot_be_is_refused_by_every_process(two):
    for rank in range(2):
        said = json.loads((two / f"refused-{rank}.json").read_text())
        assert said.pop("rows") == "BadInput: rows=3 cannot be shared by 2 processes: say a multiple of that"
        assert "parallel=ddp or parallel=fsdp" in said.pop("none")
        assert "exclude each other" in said.pop("several")
        assert "at steps 0 and 5" in said.pop("apart")
        assert "say device=cuda" in said.pop("device")
        assert said.pop("disk").startswith("OSError" if rank == 1 else "BadInput: another process")
        assert not said
    assert Run.load(two / "disk").status == "failed"


def test_several_processes_take_torchrun(tmp_path):
    with pytest.raises(BadInput, match="torchrun --standalone"):
        run(tmp_path, parallel=DDP())
    assert not (tmp_path / RECORD).exists()


@pytest.mark.slow
def test_three_processes_resume_to_the_same_bits(tmp_path):
    torchrun(3, "three", tmp_path)
    for kind in KINDS:
        assert read_metrics(tmp_path / kind / "cut") == read_metrics(tmp_path / kind / "whole")
        alone = run(tmp_path / kind / "alone", rows=6)
        assert figures(Run.load(tmp_path / kind / "cut")) == pytest.approx(figures(alone), rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU takes a C++ compiler")
def test_compiled_blocks_have_the_losses_of_eager_ones_on_one_device(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torchrun(2, "compiled", tmp_path)
    alone = run(tmp_path / "alone")
    for kind in KINDS:
        assert figures(Run.load(tmp_path / kind)) == pytest.approx(figures(alone), rel=1e-5)


SPAWN = "import processes, sys, pathlib; from scalelaw.parallel import spawn; "
SPAWN += "spawn(2, processes.long, pathlib.Path(sys.argv[1]))"


def spawned(directory: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SPAWN, str(directory)], env=environment())


@pytest.mark.slow
def test_a_launchers_processes_stop_with_it_and_go_on(tmp_path):
    assert spawned(tmp_path / "whole").wait() == 0
    cut = spawned(tmp_path / "cut")
    until(lambda: list((tmp_path / "cut").glob("checkpoint-*-1-of-2.safetensors")))
    cut.terminate()
    assert cut.wait() != 0
    assert Run.load(tmp_path / "cut").status == "interrupted"
    assert spawned(tmp_path / "cut").wait() == 0
    assert (tmp_path / "cut" / METRICS).read_bytes() == (tmp_path / "whole" / METRICS).read_bytes()


LONG = ["data=text", *TINY, "budget.D=8000", "log_every=100", "checkpoints.seconds=0.3"]


def command(directory: Path, text: str, kind: str) -> subprocess.Popen:
    said = ["--standalone", "--nproc_per_node=2", "-m", "experiments.train", f"parallel={kind}"]
    return start("torch.distributed.run", *said, text, *LONG, f"output={directory}", cwd=directory.parent)


def until(there) -> None:
    while not there():
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "harm"),
    [("ddp", "torchrun is stopped"), ("fsdp", "a process is killed"), ("fsdp", "torchrun is killed")],
)
def test_what_is_disturbed_ends_as_if_it_had_not_been(tmp_path, book, kind, harm):  # noqa: F811
    output, _ = command(tmp_path / "whole", book, kind).communicate()
    assert output.count("loss ") == 1  # one process speaks
    disturbed = command(tmp_path / "cut", book, kind)
    until(lambda: list((tmp_path / "cut").rglob("checkpoint-*")))
    children = Path(f"/proc/{disturbed.pid}/task/{disturbed.pid}/children").read_text().split()
    if harm == "torchrun is stopped":
        disturbed.terminate()
    else:
        os.kill(int(children[-1]) if harm == "a process is killed" else disturbed.pid, signal.SIGKILL)
    disturbed.communicate()  # until all that hold its output have ended
    ended = [record.status for _, record in records(tmp_path / "cut")]
    assert ended == ["failed" if harm == "a process is killed" else "interrupted"]
    again = command(tmp_path / "cut", book, kind)
    assert "finished" in again.communicate()[0]
    ((there, record),), ((other, whole),) = records(tmp_path / "cut"), records(tmp_path / "whole")
    assert record.row() == whole.row()
    assert read_metrics(there) == read_metrics(other)
