"""Studies as a scientist writes them (`axes`), run point by point; and those that choose their own points."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.scalelaw_ladder.axes import Banded, Point, expand, merged, within
from hydra_plugins.scalelaw_local._composer import Composer


@dataclass(frozen=True)
class Candidate:
    """A run that may be done: the overrides that make it, its name with seed 0, and what it would be."""

    name: str
    overrides: list[str]
    N: float
    D: float
    C: float


class LadderSweeper(Sweeper):
    """Runs every point of the study once, or with `study.until` those that it asks for, in rounds, or with
    `study.stages` those of each stage in turn.

    On the command line, `key=a,b` adds an axis; where the study already has that key, it narrows the study to
    those points instead, and a value the study does not have is an error.
    size: full name of the function that says N, D and C of the run a config stands for. adaptive: that of the
    loop of a study with `until`: see `experiments.adaptive.study`.
    """

    def __init__(self, size: str, adaptive: str) -> None:
        self.size, self.adaptive = size, adaptive
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.composer: Composer | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        assert self.hydra_context is not None
        assert self.config is not None
        study = self.config.study
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        if "stages" in study:
            results = self._in_stages(overrides)
        else:
            axes: Any = OmegaConf.to_container(study.axes, resolve=True)
            jobs = plan(axes, overrides, self._ratio)
            results = self._in_rounds(jobs, arguments) if "until" in study else self._launch(jobs, 0)
        failed = [r for r in results if r.status != JobStatus.COMPLETED]
        if failed:
            raise HydraException(f"{len(failed)} of {len(results)} runs did not finish; their logs say why")
        return results

    def _launch(self, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        assert self.launcher is not None
        return self.launcher.launch(jobs, initial_job_idx=first)

    def _in_stages(self, overrides: Sequence[Override]) -> Sequence[JobReturn]:
        """One after the other, each in a folder of its own; a stage's parents are the runs of an earlier one
        that finished."""
        assert self.config is not None
        stages: Any = OmegaConf.to_container(self.config.study.stages, resolve=True)
        results: list[JobReturn] = []
        finished: dict[str, list[str]] = {}
        for name, axes in stages.items():
            jobs = plan(after(axes, finished), overrides, self._ratio)
            print(f"stage {name}: {len(jobs)} runs", flush=True)
            own = f"study.name={self.config.study.name}/{name}"
            done = self._launch([[*job, own] for job in jobs], len(results))
            results.extend(done)
            finished[name] = [str(r.working_dir) for r in done if r.status == JobStatus.COMPLETED]
        return results

    def _in_rounds(self, jobs: Sequence[list[str]], arguments: list[str]) -> Sequence[JobReturn]:
        assert self.config is not None
        said = {override for job in jobs for override in job}
        if any(override.startswith("seed=") for override in said):
            raise HydraException("seed: an adaptive study gives the runs of a point their seeds itself")
        if len([override for override in said if override.startswith("architecture=")]) > 1:
            raise HydraException("architecture: an adaptive study fits one law, so narrow it to one of them")
        results: list[JobReturn] = []

        def launch(chosen: Sequence[Sequence[str]]) -> list[Path | None]:
            done = self._launch(chosen, len(results))
            results.extend(done)
            ended = [result.status == JobStatus.COMPLETED for result in done]
            return [Path(str(r.working_dir)) if well else None for r, well in zip(done, ended, strict=True)]

        get_method(self.adaptive)(
            self.config.study,
            [self._candidate(overrides) for overrides in jobs],
            launch,
            folder=Path(self.config.hydra.sweep.dir),
            command=" ".join(["python -m experiments.train -m", *arguments]),
        )
        return results

    def _candidate(self, overrides: list[str]) -> Candidate:
        config = self._compose([*overrides, "seed=0"])
        return Candidate(config.hydra.sweep.subdir, overrides, **get_method(self.size)(config))

    def _ratio(self, overrides: list[str]) -> float:
        sizes = get_method(self.size)(self._compose(overrides))
        return sizes["D"] / sizes["N"]

    def _compose(self, overrides: list[str]) -> DictConfig:
        assert self.hydra_context is not None
        assert self.config is not None
        self.composer = self.composer or Composer(self.hydra_context.config_loader, self.config)
        config = self.composer(overrides)
        HydraConfig.instance().set_config(config)
        return config


def after(axes: Sequence[Any], finished: Mapping[str, list[str]]) -> list[Any]:
    """Axes whose `parents` are the folders of a stage's runs, where they name one."""

    def runs(axis: Any) -> Any:
        named = isinstance(axis, Mapping) and "parents" in axis and axis["parents"] in finished
        return {"parents": finished[axis["parents"]]} if named else axis

    return [runs(axis) for axis in axes]


def plan(
    axes: Sequence[Any],
    overrides: Sequence[Override],
    ratio: Callable[[list[str]], float] | None = None,
) -> list[list[str]]:
    """The override list of every run, in the order of the study.

    ratio: tokens per parameter of the run that an override list stands for, asked only for axes that have a
    band of them. Raises ValueError for axes that mean nothing, HydraException for overrides that do not fit.
    """
    study = expand(axes)
    points = study.points
    fixed: list[str] = []
    added: list[list[Banded]] = []
    for override in overrides:
        key, values = override.get_key_element(), _values(override)
        if any(key in point for point, _ in points):
            points = [one for one in points if one.point.get(key) in values]
            if not points:
                raise HydraException(f"the study has no point with {key}={','.join(values)}")
        elif len(values) > 1:
            added.append([Banded({key: value}) for value in values])
        else:
            fixed.append(f"{key}={values[0]}")

    def written(point: Point) -> list[str]:
        return fixed + [f"{key}={value}" for key, value in point.items()]

    def its_ratio(point: Point) -> float:
        if ratio is None:
            raise ValueError("study.axes: a band of tokens_per_parameter, and nothing here that counts them")
        return ratio(written(point))

    kept = within(map(merged, itertools.product(points, *added)), its_ratio)
    return [written(point) for point in (study.replicates.of(kept) if study.replicates else kept)]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise HydraException(f"{override.input_line}: only lists of values can be swept here")
    return [str(value) for value in override.sweep_string_iterator()]
