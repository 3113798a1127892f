"""Runs per minute of a whole sweep, beside hand-written scripts started one after the other and in parallel.

Our side is the real command, with its data, evaluations along the way, checkpoints, tracker and records. The
script (bench/nanogpt_script.py) trains a model of the same shape on as many tokens and evaluates once, at the
end.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench.fresh import ROOT
from scalelaw.run import records

# conf/study/demo.yaml: its ladder, window and rows. Bytes are its tokens.
PER_LAYER, HEAD_DIM, WINDOW, ROWS, VOCABULARY, EVALUATED = 8, 8, 64, 2, 256, 512
STEP_TOKENS = WINDOW * ROWS
BUDGETS = (9, 3, 1)  # of one size, as far apart as the demo's
PLAIN = ["architecture=causal_decoder", "objective=causal_lm", "budget=tokens"]


def studies(depths: Sequence[int], steps: int) -> dict[str, tuple[str, list[tuple[int, int]]]]:
    """The axes of each study and its runs, as (depth, steps).

    seeds: three seeds of every depth, equally long. budgets: three budgets of every depth, as the demo has
    them: under its schedule they share their first steps, and are not computed three times.
    """
    every = list(depths)
    tokens = [steps * STEP_TOKENS * b // BUDGETS[0] for b in BUDGETS]
    return {
        "seeds": (
            f"[[{{shape.depth:{every},seed:[0,1,2],budget.D:{tokens[0]}}}]]",
            [(depth, steps) for depth in every for _ in range(3)],
        ),
        "budgets": (
            f"[[{{shape.depth:{every},budget.D:{tokens}}}]]",
            [(depth, D // STEP_TOKENS) for depth in every for D in tokens],
        ),
    }


def throughput(depths: Sequence[int], steps: int, names: Sequence[str]) -> dict[str, Any]:
    """Seconds and runs per minute of each study: ours, and the scripts' two ways."""
    known = studies(depths, steps)
    warm_axes, warm_runs = studies(depths[-1:], BUDGETS[0])["budgets"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        ours(warm_axes, Path(folder) / "warm")
        script(*warm_runs[0])
        for name in names:
            axes, runs = known[name]
            took = {
                "scalelaw": timed(partial(ours, axes, Path(folder) / name)),
                "scripts, one after the other": timed(partial(_in_turn, runs)),
                "scripts, one a core": timed(partial(_parallel, runs)),
            }
            found[name] = {
                "runs": len(runs),
                "steps": sorted({steps for _, steps in runs}),
                "seconds": took,
                "runs_per_minute": {who: 60 * len(runs) / seconds for who, seconds in took.items()},
            }
    return found


def ours(axes: str, output: Path) -> None:
    """The study on all cores. Raises RuntimeError where a run is missing at the end."""
    train(["study=demo", f"study.axes={axes}", *PLAIN], output)


def train(arguments: Sequence[str], output: Path) -> None:
    command = [sys.executable, "-m", "experiments.train", "-m", *arguments, f"output={output}"]
    # Prepared data are the same for every sweep; what a sweep writes is its own.
    environment = _environment() | {"SCALELAW_CACHE": str(output.parent / "data")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    unfinished = [run.name for _, run in records(output) if not run.finished]
    if done.returncode or unfinished:
        lines = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        raise RuntimeError(f"{' '.join(arguments)}: {lines[-1]}")


def script(depth: int, steps: int, threads: int | None = None) -> None:
    """One run of the hand-written kind; threads: None leaves torch its default, every core."""
    sizes = {
        "depth": depth,
        "width": PER_LAYER * depth,
        "heads": depth * PER_LAYER // HEAD_DIM,
        "vocabulary": VOCABULARY,
        "window": WINDOW,
        "rows": ROWS,
        "steps": steps,
        "evaluation-rows": EVALUATED,
    }
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    own = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(
        [sys.executable, ROOT / "bench" / "nanogpt_script.py", *words],
        check=True,
        capture_output=True,
        env=_environment() | own,
    )


def _in_turn(runs: Sequence[tuple[int, int]]) -> None:
    for run in runs:
        script(*run)


def _parallel(runs: Sequence[tuple[int, int]]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(lambda run: script(*run, threads=1), runs))


def overhead(runs: int) -> dict[str, Any]:
    """Seconds a run of one step adds to a sweep on one core, and those of the sweep's own start.

    apart: runs that have nothing in common but the code, each with a window of its own. seeds: runs of one
    shape.
    """
    still = ["study=single", "shape.depth=2", "rows=2", "hydra.launcher.slots=1"]
    axes: dict[str, Callable[[int], list[str]]] = {
        "apart": lambda n: [
            "window=" + ",".join(str(16 + 2 * k) for k in range(n)),
            "budget.D=1",  # rounded up to one step
        ],
        "seeds": lambda n: ["window=16", "seed=" + ",".join(map(str, range(n))), "budget.D=1"],
    }
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        train([*still, *axes["apart"](1)], Path(folder) / "warm")
        for name, axis in axes.items():
            one = timed(partial(train, [*still, *axis(1)], Path(folder) / f"{name}-one"))
            all_ = timed(partial(train, [*still, *axis(runs)], Path(folder) / f"{name}-all"))
            each = (all_ - one) / (runs - 1)
            found[name] = {"runs": runs, "seconds_a_run": each, "seconds_of_start": one - each}
    return found


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _environment() -> dict[str, str]:
    """The user's own, with torch's default threads, offline."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return kept | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
