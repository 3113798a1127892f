"""What a study will cost, before anything is trained: python -m experiments.plan study=demo [key=value]"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from experiments.door import CONF, tell
from experiments.identity import identity
from experiments.points import size
from experiments.tuned import weightless
from hydra_plugins.scalelaw_ladder.sweeper import plan as points
from hydra_plugins.scalelaw_local.launcher import Job
from scalelaw.budget import resolved
from scalelaw.counting import count, expected_flops
from scalelaw.trainee import family


@dataclass
class Planned:
    """N, D, steps and C of a run, and the first steps that a longer run of its process takes for it."""

    name: str
    N: int
    D: int
    steps: int
    C: float
    shared: int = 0


def planned(cfg: DictConfig, name: str) -> Planned:
    """With no weight allocated and no text read but for the size of its vocabulary."""
    objective = instantiate(cfg.objective)
    objective.check(cfg.window)
    model = weightless(cfg, instantiate(cfg.data).vocab_size)
    batch = {"window": cfg.window, "rows": cfg.rows}
    plan = resolved(instantiate(cfg.budget), model, objective, **batch)
    C = expected_flops(model, objective, **batch) * cfg.rows * plan.steps
    return Planned(name, count(model)["non_embedding"], plan.D, plan.steps, C)


def branched(bundle: list[Job], runs: dict[int, Planned]) -> None:
    """Note the steps that are taken once for all of a family: see `scalelaw.train`."""
    families = defaultdict(list)
    for job in bundle:
        families[family(identity(job.config))].append(job)
    for jobs in families.values():
        longest = max(jobs, key=lambda job: runs[job.index].steps)
        for job in jobs:
            if job is not longest:
                run = runs[job.index]
                run.shared = min(instantiate(job.config.schedule).shared(run.steps), run.steps)


def study(arguments: list[str]) -> tuple[list[Planned], int]:
    """The runs of `experiments.train -m` with these arguments, and the number of processes they take."""
    parser = OverridesParser.create()
    parsed: Any = parser.parse_overrides(arguments)
    plain = [o.input_line for o in parsed if not o.is_sweep_override()]
    base = compose("train", plain, return_hydra_config=True)
    axes: Any = OmegaConf.to_container(base.study.axes, resolve=True)
    jobs = []
    for index, overrides in enumerate(points(axes, parsed, ratio)):
        config = compose("train", overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        directory = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
        jobs.append(Job(index, directory.name, directory, config))
    runs = {job.index: planned(job.config, job.name) for job in jobs}
    bundles = instantiate(base.hydra.launcher).bundles(jobs)
    for bundle in bundles:
        branched(bundle, runs)
    return list(runs.values()), len(bundles)


def ratio(overrides: list[str]) -> float:
    """Tokens per parameter of the run with these overrides."""
    sizes = size(compose("train", overrides))
    return sizes["D"] / sizes["N"]


def show(runs: list[Planned], processes: int) -> None:
    table = Table("run", "N", "D", "steps", "C", "shared steps", box=None, padding=(0, 2))
    for column in table.columns[1:]:
        column.justify = "right"
    for run in runs:
        shared = f"{run.shared:,}" if run.shared else ""
        table.add_row(run.name, f"{run.N:,}", f"{run.D:,}", f"{run.steps:,}", f"{run.C:.3g}", shared)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    whole = sum(run.C for run in runs)
    spent = sum(run.C * (1 - run.shared / run.steps) for run in runs)
    console.print(f"{len(runs)} runs in {processes} processes, {whole:.3g} FLOPs", end="", highlight=False)
    saved = f": {spent:.3g} to compute, {1 - spent / whole:.0%} less by common trunks"
    console.print(saved if spent < whole else "", highlight=False)


def main() -> None:
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            show(*study(sys.argv[1:]))
    except Exception as error:
        raise SystemExit(tell(error, "train")) from error


if __name__ == "__main__":
    main()
