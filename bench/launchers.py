"""A sweep of short runs under three launchers, side by side: ours, Hydra's own, and joblib.

    python -m bench.launchers        # bench/results/launchers.json; a few minutes

All train the same runs with the W&B mirror offline, as by default; ours trains those of one shape side by
side, as by default too (`hydra.launcher.together=null`), the others one at a time in each process. The
launchers take turns. The overhead of a run is what its sweep took on all cores beyond the seconds its runs
say they trained and evaluated, per run.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.fresh import ROOT
from scalelaw.provenance import provenance
from scalelaw.run import records, write_atomically

CORES = os.cpu_count() or 1
LAUNCHERS = {
    "local": [],
    "basic": ["hydra/launcher=basic"],
    "joblib": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"],
}
STUDY = ["study=single", "shape.depth=2,3,4", "seed=0,1,2,3,4,5,6,7", "budget.D=25600", "window=64"]
STUDY += ["shape.width_per_layer=8", "shape.head_dim=8"]
ROUNDS = 3
RUNS = 24


def sweep(launcher: str) -> dict[str, float]:
    """Seconds of a sweep, and of its runs together."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.train", "-m", *STUDY, *LAUNCHERS[launcher]]
        environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        environment |= {"SCALELAW_CACHE": str(Path(tempfile.gettempdir()) / "scalelaw-bench-data")}
        start = time.perf_counter()
        done = subprocess.run(
            [*command, f"output={folder}"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        seconds = time.perf_counter() - start
        runs = [run for _, run in records(Path(folder)) if run.finished]
        if done.returncode or len(runs) != RUNS:
            raise RuntimeError(f"{launcher}: {len(runs)} of {RUNS} runs finished\n{done.stdout}{done.stderr}")
        trained = sum(run.timing["seconds"] for run in runs)
    return {"seconds": seconds, "trained": trained}


def main(arguments: Sequence[str]) -> None:
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in LAUNCHERS}
    sweep("local")  # prepares the text that all others find prepared
    for _ in range(ROUNDS):
        for name in LAUNCHERS:
            rounds[name].append(sweep(name))
    found: dict[str, Any] = {}
    for name, several in rounds.items():
        slots = 1 if name == "basic" else CORES
        seconds = statistics.median(one["seconds"] for one in several)
        overhead = statistics.median((slots * one["seconds"] - one["trained"]) / RUNS for one in several)
        found[name] = {
            "seconds": [one["seconds"] for one in several],
            "runs_per_minute": 60 * RUNS / seconds,
            "core_seconds_a_run_beyond_training": overhead,
        }
        rate = f"{60 * RUNS / seconds:.1f} runs a minute"
        print(f"{name}: {rate}, {overhead:.2f} core seconds a run beyond training")
    result = {"provenance": provenance("python -m bench.launchers"), "runs": RUNS, "launchers": found}
    write_atomically(ROOT / "bench/results/launchers.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
