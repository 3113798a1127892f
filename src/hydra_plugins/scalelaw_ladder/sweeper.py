"""Studies as a scientist writes them: axes of paired points, not the full product of lists."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

Point = dict[str, str]


class LadderSweeper(Sweeper):
    """Runs every point of the study once.

    `study.axes` is a list of axes and the study is their product. An axis is a list of points; a point is a
    mapping of overrides that belong together, and a list among its values stands for one point an element:

        axes:
          - - {architecture: causal_decoder, objective: causal_lm}
            - {architecture: prefix_decoder, objective: prefix_lm}
          - - {shape.depth: 2, budget.D: [3e5, 1e6]}
            - {shape.depth: 4, budget.D: [1e6, 3e6]}

    On the command line, `key=a,b` adds an axis; where the study already has that key, it narrows the study to
    those points instead, and a value the study does not have is an error.
    """

    def __init__(self) -> None:
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        assert self.launcher is not None
        assert self.hydra_context is not None
        assert self.config is not None
        axes = OmegaConf.to_container(self.config.study.axes, resolve=True)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        jobs = plan(axes, parser.parse_overrides(arguments))  # pyright: ignore[reportArgumentType]
        results = self.launcher.launch(jobs, initial_job_idx=0)
        failed = [r for r in results if r.status != JobStatus.COMPLETED]
        if failed:
            raise HydraException(f"{len(failed)} of {len(results)} runs did not finish; their logs say why")
        return results


def plan(axes: Sequence[Sequence[Mapping[str, Any]]], overrides: Sequence[Override]) -> list[list[str]]:
    """The override list of every run, in the order of the study."""
    points = [_merge(parts) for parts in itertools.product(*[list(_expand(axis)) for axis in axes])]
    fixed: list[str] = []
    added: list[list[Point]] = []
    for override in overrides:
        key, values = override.get_key_element(), _values(override)
        if any(key in point for point in points):
            points = [point for point in points if point.get(key) in values]
            if not points:
                raise HydraException(f"the study has no point with {key}={','.join(values)}")
        elif len(values) > 1:
            added.append([{key: value} for value in values])
        else:
            fixed.append(f"{key}={values[0]}")
    every = (_merge((point, *more)) for point, *more in itertools.product(points, *added))
    return [fixed + [f"{key}={value}" for key, value in point.items()] for point in every]


def _expand(axis: Iterable[Mapping[str, Any]]) -> Iterable[Point]:
    for point in axis:
        choices = [value if isinstance(value, list) else [value] for value in point.values()]
        for values in itertools.product(*choices):
            yield {key: _text(value) for key, value in zip(point, values, strict=True)}


def _merge(parts: Iterable[Point]) -> Point:
    merged: Point = {}
    for part in parts:
        if twice := merged.keys() & part.keys():
            raise HydraException(f"study.axes sets {sorted(twice)[0]} on two axes")
        merged |= part
    return merged


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise HydraException(f"{override.input_line}: only lists of values can be swept here")
    return [str(value) for value in override.sweep_string_iterator()]


def _text(value: Any) -> str:
    """A yaml value as Hydra's command line writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
