"""What a common trunk saves a study, and that it changes no loss and no law.

    python -m bench.branches                              # ten minutes; bench/results/branches.json

Trains the demo's ladder for the causal decoder three times: budgets branching off one trunk a size and
stacked after it, as `study=demo` has them; every run on its own; and every run on its own with another seed.
Fits Chinchilla's law to each. Seconds are of both, branching and stacking; FLOPs of branching alone.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from analysis.laws.chinchilla import Chinchilla
from analysis.solver.solve import solve
from bench.fresh import ROOT
from bench.sweep import timed, train
from scalelaw.provenance import provenance
from scalelaw.run import Run, records, write_atomically

STUDY = ROOT / "conf/study/demo.yaml"
ALONE = "hydra.launcher.together=1"


def ladder(smallest: int) -> str:
    """The demo's rungs and budgets from this depth on, as an override: one architecture instead of three."""
    rungs = yaml.safe_load(STUDY.read_text())["study"]["axes"][0]
    points = [rung for rung in rungs if rung["shape.depth"] >= smallest]
    return f"study.axes={json.dumps([points], separators=(',', ':')).replace(chr(34), '')}"


def trained(folder: Path, axes: str, *words: str) -> tuple[list[Run], float]:
    """The study's runs, by N and D, and the seconds it took."""
    words = ("study=demo", axes, "architecture=causal_decoder", "objective=causal_lm", *words)
    took = timed(partial(train, words, folder))
    return sorted((run for _, run in records(folder)), key=lambda run: (run.N, run.D)), took


def column(runs: Sequence[Run], name: str) -> np.ndarray:
    return np.array([getattr(run, name) for run in runs], float)


def law(runs: Sequence[Run], bootstrap: int) -> dict[str, Any]:
    table = {name: column(runs, name) for name in ("N", "D", "loss")}
    fit = solve(Chinchilla(), table, delta=1e-3, bootstrap=bootstrap, seed=0)
    at = max(run.C for run in runs)
    best = fit.optimum(at)
    return {
        "status": fit.status,
        "params": fit.params,
        "interval95": fit.interval95,
        "optimum": {"C": at, "N_opt": best["N_opt"], "interval95": best["interval95"]["N_opt"]},
    }


def compared(smallest: int, bootstrap: int) -> dict[str, Any]:
    """Raises RuntimeError where a run is missing, ValueError where the studies' runs are not the same."""
    axes = ladder(smallest)
    with tempfile.TemporaryDirectory() as folder:
        trained(Path(folder) / "warm", "study.axes=[[{shape.depth:2,budget.C:1e9}]]", ALONE)
        branched, together = trained(Path(folder) / "branched", axes)
        separate, apart = trained(Path(folder) / "separate", axes, ALONE)
        other, _ = trained(Path(folder) / "other", axes, ALONE, "seed=1")
    for runs in (separate, other):
        if [(run.N, run.D) for run in runs] != [(run.N, run.D) for run in branched]:
            raise ValueError("the studies do not have the same runs")
    saved = sum(run.C * run.timing["shared_steps"] * run.batch_tokens / run.D for run in branched)
    return {
        "runs": len(branched),
        "branches": sum(run.parent is not None for run in branched),
        "share_of_flops_saved": saved / sum(run.C for run in branched),
        "seconds": {"branched": together, "separate": apart},
        "largest_difference": float(np.abs(column(branched, "loss") - column(separate, "loss")).max()),
        "seed_difference": float(np.abs(column(branched, "loss") - column(other, "loss")).max()),
        "laws": {
            name: law(runs, bootstrap)
            for name, runs in (("branched", branched), ("separate", separate), ("another seed", other))
        },
    }


def show(found: dict[str, Any]) -> None:
    seconds = found["seconds"]
    print(
        f"{found['runs']} runs, {found['branches']} of them branches, {found['share_of_flops_saved']:.0%} of "
        f"the FLOPs saved: {seconds['branched']:.0f} s against {seconds['separate']:.0f} s. Largest "
        f"difference of a loss {found['largest_difference']:g}; of another seed's, "
        f"{found['seed_difference']:.4f}."
    )
    for name, it in found["laws"].items():
        cells = [
            f"{key} {value:.3g} [{it['interval95'][key][0]:.3g}, {it['interval95'][key][1]:.3g}]"
            for key, value in it["params"].items()
        ]
        print(f"{name:13} {it['status']}: {', '.join(cells)}; {it['optimum']}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.branches", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--smallest", type=int, default=2, help="depth of the smallest rung")
    parser.add_argument("--bootstrap", type=int, default=1000, help="at least 1")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/branches.json")
    asked = parser.parse_args(arguments)
    found = compared(asked.smallest, asked.bootstrap)
    show(found)
    origin = provenance(" ".join(["python -m bench.branches", *arguments]))
    write_atomically(asked.out, json.dumps({"provenance": origin, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
