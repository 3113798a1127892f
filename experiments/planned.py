"""What runs will be, from their configs alone: N, D, steps, C and memory, nothing allocated."""

import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.identity import identity, plain
from experiments.sizes import weightless
from hydra_plugins.scalelaw_ladder.sweeper import plan as points
from hydra_plugins.scalelaw_local._composer import Composer
from hydra_plugins.scalelaw_local._worker import Job
from hydra_plugins.scalelaw_local.launcher import modules
from scalelaw.contracts import Referring
from scalelaw.counting import count, expected_flops
from scalelaw.job import family
from scalelaw.meeting import marked, meet

SIZED_BY = ("architecture", "shape", "objective", "data", "window", "rows")
BYTES = 4  # of a float32: weights, gradients and both moments of AdamW are kept in it, whatever the precision


@dataclass
class Planned:
    """N, D, steps and C of a run, and the first steps that a longer run of its process takes for it.

    N_total: every parameter. windows: that evaluations pass through the model, all of them together.
    """

    name: str
    N: int
    D: int
    steps: int
    C: float
    N_total: int
    windows: int
    shared: int = 0

    @property
    def spent(self) -> float:
        """FLOPs that are computed for this run: those of C that no other run of its process computes."""
        return self.C * (1 - self.shared / self.steps)

    @property
    def weights(self) -> int:
        """Bytes; the gradients are as many."""
        return BYTES * self.N_total

    @property
    def states(self) -> int:
        """Bytes of weights, gradients and the two moments of AdamW."""
        return 4 * self.weights


@dataclass(frozen=True)
class Size:
    N: int
    N_total: int
    flops: float
    """Training FLOPs of a row, mean over the objective's splits."""


def planned(cfg: DictConfig, name: str) -> Planned:
    """With no weight allocated and no text read but for the size of its vocabulary.

    Raises what the parts of the config raise when they do not fit together.
    """
    size, tokens = _size(json.dumps(plain(cfg, SIZED_BY), sort_keys=True)), cfg.rows * cfg.window
    flops_per_token = size.flops / cfg.window
    plan = instantiate(cfg.budget).resolve(N=size.N, flops_per_token=flops_per_token, batch_tokens=tokens)
    C = size.flops * cfg.rows * plan.steps
    return Planned(name, size.N, plan.D, plan.steps, C, size.N_total, windows(cfg, plan.steps))


def size(cfg: DictConfig) -> dict[str, float]:
    """N, D and C of the run a config stands for, as its record will have them."""
    run = planned(cfg, "")
    return {"N": run.N, "D": run.D, "C": run.C}


def cost(cfg: DictConfig) -> float:
    """Predicted training FLOPs of a run, for the launcher, which begins with the costly ones."""
    return size(cfg)["C"]


def pays(cfg: DictConfig) -> int:
    """Runs of a config that are faster side by side than in turn, for the launcher; 1 if none are.

    On a CPU a step on few tokens of a narrow model is calls more than products. Measured in float32,
    uncompiled, at depth 4 with 128 tokens a step: eight of width 24 train 2.3 times as fast side by side,
    four of width 48 1.5 times, four of width 96 1.2 times; with 2,048 tokens a step nothing is won at any
    width. Mixtures of experts and losses with a model of their own are computed one by one in any case. What
    a GPU wins is for its user to say.
    """
    if cfg.compile or cfg.precision != "float32" or cfg.device != "cpu":
        return 1
    if weightless(cfg, 1).mixtures() or isinstance(instantiate(cfg.objective), Referring):
        return 1
    entries = cfg.rows * cfg.window * instantiate(cfg.shape).width  # of the residual stream
    return 8 if entries <= 8_000 else 4 if entries <= 25_000 else 1


@cache  # runs of one shape differ in budget, seed and rates
def _size(parts: str) -> Size:
    cfg: Any = OmegaConf.create(json.loads(parts))
    source = instantiate(cfg.data)
    objective, vocabulary = marked(instantiate(cfg.objective), source.vocab_size, cfg.window)
    model = weightless(cfg, vocabulary)
    meet(objective, model)
    counts = count(model)
    flops = expected_flops(model, objective, window=cfg.window, rows=cfg.rows)
    return Size(counts["non_embedding"], counts["total"], flops)


def windows(cfg: DictConfig, steps: int) -> int:
    """Validation windows that a run of `steps` steps passes through its model (`scalelaw.evaluate`).

    The last evaluation takes two looks at all of them, one for each of its losses.
    """
    evaluation = instantiate(cfg.evaluation)
    return (len(evaluation.steps(steps)) - 1) * evaluation.curve_rows + 2 * evaluation.rows


@dataclass(frozen=True)
class Study:
    """The runs of a study by number, and what each of its processes trains, `slots` processes at a time.

    composing: seconds of processor time from the start of this process until all configs stood.
    """

    jobs: list[Job]
    runs: dict[int, Planned]
    bundles: list[list[Job]]
    slots: int
    preload: list[str]
    composing: float

    def planned(self, bundle: Sequence[Job]) -> list[Planned]:
        return [self.runs[job.index] for job in bundle]


def study(arguments: Sequence[str]) -> Study:
    """What `experiments.train -m` with these arguments would run."""
    parsed: Any = OverridesParser.create().parse_overrides(list(arguments))
    fixed = [o.input_line for o in parsed if not o.is_sweep_override()]
    base = compose("train", fixed, return_hydra_config=True)
    axes: Any = OmegaConf.to_container(_axes(base.study), resolve=True)
    composer = Composer(GlobalHydra.instance().config_loader(), base)

    def composed(overrides: Sequence[str]) -> DictConfig:
        config = composer(overrides)
        HydraConfig.instance().set_config(config)
        return config

    def ratio(overrides: Sequence[str]) -> float:
        sizes = size(composed(overrides))
        return sizes["D"] / sizes["N"]

    jobs = []
    for index, overrides in enumerate(points(axes, parsed, ratio)):
        config = composed(overrides)
        directory = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
        jobs.append(Job(index, directory.name, directory, config))
    composing = time.process_time()
    runs = {job.index: planned(job.config, job.name) for job in jobs}
    launcher = instantiate(base.hydra.launcher)
    bundles = launcher.bundles(jobs)
    for bundle in bundles:
        branched(bundle, runs)
    slots = launcher.abreast(base)
    return Study(jobs, runs, bundles, slots, list(modules(launcher.preload)), composing)


def _axes(study: DictConfig) -> Any:
    if "stages" not in study:
        return study.axes
    first, *later = study.stages
    if later:
        told = (
            f"of the stages {first} alone is planned: the parents of {', '.join(map(str, later))} come of it"
        )
        print(told, file=sys.stderr)
    return study.stages[first]


def branched(bundle: Sequence[Job], runs: dict[int, Planned]) -> None:
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


def computing(bundle: Sequence[Planned]) -> list[tuple[int, int]]:
    """How many runs of a process compute at a time: (steps, runs), in order.

    A run computes from the step where it branches off to its last.
    """
    edges = sorted({0, *(run.shared for run in bundle), *(run.steps for run in bundle)})
    return [
        (end - begin, sum(run.shared <= begin < run.steps for run in bundle))
        for begin, end in itertools.pairwise(edges)
    ]
