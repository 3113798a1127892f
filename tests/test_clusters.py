"""Studies through other engines: Slurm, Ray, joblib, all real; what is not installed is skipped."""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import ROOT

from scalelaw.run import read_metrics, records

STUDY = ["-m", "architecture=causal_decoder", "shape.depth=2", "budget.D=2e4", "seed=0,1,2,3,4,5"]
STUDY += ["tracker=disabled", "checkpoints.seconds=0", "objective._target_=faults.Struck", "+objective.at=5"]
SLURM = ["slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd"]
PATH = os.environ["PATH"] + os.pathsep + "/usr/sbin"
MISSING = [program for program in SLURM if shutil.which(program, path=PATH) is None]

pytestmark = pytest.mark.slow


def needs(module: str):
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture
def study(tmp_path):
    """Runs the study in a folder of its own; its exit status and what it said. All have the same faults."""
    (tmp_path / "faults").mkdir()

    def start(name: str, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{ROOT / 'tests'}", "HOME": str(tmp_path)}
        command = [sys.executable, "-m", "experiments.train", *STUDY]
        done = subprocess.run(
            [*command, f"+objective.faults={tmp_path / 'faults'}", *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"} | paths | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        return done.returncode, done.stdout

    return start


def table(folder: Path) -> dict[str, tuple]:
    found = {path.name: (run.row(), read_metrics(path)) for path, run in records(folder / "outputs")}
    assert len(found) == 6
    return found


@pytest.fixture
def slurm():
    if MISSING or os.geteuid() != 0 or find_spec("submitit") is None:
        missing = [*MISSING, *(["submitit"] if find_spec("submitit") is None else [])]
        pytest.skip(f"needs root and {', '.join(missing or SLURM)}: see tests/slurm.sh")
    folder = tempfile.mkdtemp(prefix="slurm-")  # open to the users munge and mysql, as pytest's own are not
    script = str(ROOT / "tests" / "slurm.sh")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([script, "start", folder], check=True, timeout=120, **quiet)
    yield {"SLURM_CONF": f"{folder}/slurm.conf"}
    subprocess.run([script, "stop", folder], check=True, timeout=60, **quiet)
    shutil.rmtree(folder, ignore_errors=True)


def test_slurm_with_one_job_killed_and_one_out_of_time(tmp_path, study, slurm):
    for fault in ("kill", "slow"):
        (tmp_path / "faults" / fault).touch()
    limits = ["hydra.launcher.time=2", "hydra.launcher.signal_delay_s=45"]
    code, said = study("slurm", "hydra/launcher=slurm", *limits, env=slurm)
    assert code == 0, said
    assert not list((tmp_path / "faults").iterdir())  # both have struck
    [again] = [line for line in said.splitlines() if line.startswith("again")]
    assert "is FAILED" in again
    logs = "".join(path.read_text() for path in tmp_path.glob("slurm/outputs/**/log.txt"))
    assert logs.count("Requeued job") == 1
    assert "Caught signal SIGUSR2" in logs
    # The steps of the job whose time was up are in its record: it went on from its checkpoint.
    assert max(run.timing["seconds"] for _, run in records(tmp_path / "slurm")) > 20
    assert study("local")[0] == 0
    assert table(tmp_path / "slurm") == table(tmp_path / "local")
    code, said = study("slurm", "hydra/launcher=slurm", env=slurm)
    assert (code, "6 of them finished before" in said) == (0, True)


@needs("ray")
def test_ray_with_one_worker_killed(tmp_path, study):
    (tmp_path / "faults" / "kill").touch()
    code, said = study("ray", "hydra/launcher=ray_tasks")
    assert code == 0, said
    [again] = [line for line in said.splitlines() if line.startswith("again")]
    assert "WorkerCrashedError" in again
    assert study("local")[0] == 0
    assert table(tmp_path / "ray") == table(tmp_path / "local")


@needs("hydra_plugins.hydra_joblib_launcher")
def test_joblib_with_one_run_that_diverges(tmp_path, study):
    """Under a launcher that knows nothing of ours: the others finish, and the exit status is honest."""
    assert study("joblib", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")[0] == 0
    assert study("local")[0] == 0
    assert table(tmp_path / "joblib") == table(tmp_path / "local")
    code, said = study("bad", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "optimizer.lr=0.003,1e30")
    assert code == 1
    assert "error: 6 of 12 runs did not finish; their logs say why" in said.splitlines()
    statuses = sorted(run.status for _, run in records(tmp_path / "bad"))
    assert statuses == ["diverged"] * 6 + ["finished"] * 6
