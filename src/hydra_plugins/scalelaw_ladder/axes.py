"""What `study.axes` means: axes as a scientist writes them, expanded to points. Without Hydra or torch.

A point is a mapping of overrides, key -> value as the command line writes it. An axis is a list of points, or
one of the kinds below under its name; a study is the product of its axes. docs/studies.md shows each.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scalelaw.run import WEIGHTS, Run, records

Point = dict[str, str]
RUNG = "shape.depth"  # the one dial of a ladder
BAND = "tokens_per_parameter"
DIGITS = 3  # of budgets between two ends: C=2.15e10 is read off a run's name, C=21544346900.3 is not

# Grids over rungs: what the amounts are called, the budget they are of, and the key it reads.
GRIDS = {
    "isoflop": ("budgets", "flops", "budget.C"),
    "tokens_per_parameter": ("ratios", "tokens_per_parameter", "budget.ratio"),
    "tokens": ("amounts", "tokens", "budget.D"),
}
KINDS = (*GRIDS, "parents", "pairs", "seeds", "replicates")


class Banded(NamedTuple):
    """A point, and the tokens per parameter between which it is kept; None keeps it anyway."""

    point: Point
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class Replicates:
    """`points` of the study, spread over it, are run once for each of `seeds`, the others for the first."""

    points: int
    seeds: tuple[str, ...]

    def of(self, points: Sequence[Point]) -> list[Point]:
        """Evenly along the study's order, first and last among them: on a grid, along its diagonal.

        All of them where the study, narrowed, has no more.
        """
        if any("seed" in point for point in points):
            raise ValueError("seed: set by the replicates in study.axes, and once more beside them")
        several = min(self.points, len(points))
        step = (len(points) - 1) / max(several - 1, 1)
        chosen = {round(k * step) for k in range(several)}
        return [
            point | {"seed": seed}
            for k, point in enumerate(points)
            for seed in (self.seeds if k in chosen else self.seeds[:1])
        ]


@dataclass(frozen=True)
class Study:
    """Axes expanded: the points of their product, and what of it is repeated."""

    points: list[Banded]
    replicates: Replicates | None


def within(points: Iterable[Banded], ratio: Callable[[Point], float]) -> list[Point]:
    """The points whose tokens per parameter lie in their band. Raises ValueError when none does."""
    every = list(points)
    kept = [p for p, band in every if band is None or band[0] <= ratio(p) <= band[1]]
    if every and not kept:
        raise ValueError(f"study.axes: no point of the study has {BAND} in {list(every[0].band or ())}")
    return kept


def expand(axes: Sequence[Any]) -> Study:
    """The study that `study.axes` stands for. Raises ValueError naming the key that cannot be meant."""
    parts, replicates = [], None
    for number, axis in enumerate(axes):
        key = f"study.axes[{number}]"
        if not isinstance(axis, Mapping):
            parts.append([Banded(point) for point in _points(axis, key)])
            continue
        if len(axis) != 1 or next(iter(axis)) not in KINDS:
            told = f"is a list of points or one of {', '.join(KINDS)}"
            raise ValueError(f"{key}: {told}, not {', '.join(map(str, axis))}")
        [(kind, said)] = axis.items()
        key = f"{key}.{kind}"
        if kind in GRIDS:
            parts.append(_grid(said, key, *GRIDS[kind], banded=kind != BAND))
        elif kind == "parents":
            parts.append([Banded(point) for point in _parents(said, key)])
        elif kind == "pairs":
            parts.append([Banded(point) for point in _pairs(said, key)])
        elif kind == "seeds":
            parts.append([Banded({"seed": seed}) for seed in _seeds(said, key)])
        elif replicates:
            raise ValueError(f"{key}: a study has one of them")
        else:
            replicates = _replicates(said, key)
    return Study([merged(parts) for parts in itertools.product(*parts)], replicates)


def _grid(said: Any, key: str, amounts: str, budget: str, knob: str, *, banded: bool) -> list[Banded]:
    """Every amount with every rung, amounts outermost."""
    said = _mapping(said, key, needs=(amounts, "rungs"), may=(BAND,) if banded else ())
    rungs = [_rung(rung, f"{key}.rungs") for rung in _list(said["rungs"], f"{key}.rungs")]
    band = _band(said[BAND], f"{key}.{BAND}") if BAND in said else None
    values = _amounts(said[amounts], f"{key}.{amounts}")
    return [Banded(rung | {"budget": budget, knob: text(value)}, band) for value in values for rung in rungs]


def _rung(said: Any, key: str) -> Point:
    """A depth of the ladder, or for other shapes the overrides that make it."""
    if isinstance(said, Mapping):
        return {str(name): text(value) for name, value in said.items()}
    return {RUNG: text(_whole(said, key))}


def _points(axis: Any, key: str) -> Iterable[Point]:
    """Points as they are written; a list among a point's values is one point an element."""
    for point in _list(axis, key):
        if not isinstance(point, Mapping):
            raise ValueError(f"{key}: a point is a mapping of keys to values, not {point!r}")
        choices = [value if isinstance(value, list) else [value] for value in point.values()]
        for values in itertools.product(*choices):
            yield {str(name): text(value) for name, value in zip(point, values, strict=True)}


def _parents(said: Any, key: str) -> list[Point]:
    """A point for each run to start from: those of a list of folders, or all finished ones that kept their
    weights below one folder. Architecture and shape are the parent's."""
    if isinstance(said, list):
        found = [(Path(folder), Run.load(folder)) for folder in said]
    else:
        found = [pair for pair in records(Path(str(said))) if pair[1].finished]
    kept = [(folder, run) for folder, run in found if (folder / WEIGHTS).exists()]
    if not kept:
        raise ValueError(f"{key}: {said} holds no finished run with its weights (checkpoints.weights=true)")
    return [
        {"start": "run", "start.run": str(folder), "architecture": run.architecture}
        | {f"shape.{name}": text(v) for name, v in run.config["shape"].items() if not name.startswith("_")}
        for folder, run in kept
    ]


def _pairs(said: Any, key: str) -> list[Point]:
    """Lists of one length, first with first."""
    said = _mapping(said, key)
    lists = [_list(values, f"{key}.{name}") for name, values in said.items()]
    if len({len(values) for values in lists}) > 1:
        told = ", ".join(f"{name} has {len(values)}" for name, values in zip(said, lists, strict=True))
        raise ValueError(f"{key}: pairs take lists of one length; {told}")
    return [dict(zip(map(str, said), map(text, values), strict=True)) for values in zip(*lists, strict=True)]


def _replicates(said: Any, key: str) -> Replicates:
    said = _mapping(said, key, needs=("points", "seeds"))
    return Replicates(_whole(said["points"], f"{key}.points"), _seeds(said["seeds"], f"{key}.seeds"))


def _seeds(said: Any, key: str) -> tuple[str, ...]:
    """A list of seeds, or how many, counted from 0."""
    if isinstance(said, list):
        return tuple(map(text, _list(said, key)))
    return tuple(map(str, range(_whole(said, key))))


def _amounts(said: Any, key: str) -> list[float]:
    """A list of positive numbers, or `count` of them from one to another in equal ratios."""
    if isinstance(said, Mapping):
        said = _mapping(said, key, needs=("from", "to", "count"))
        low, high = (_positive(said[name], f"{key}.{name}") for name in ("from", "to"))
        count = _whole(said["count"], f"{key}.count")
        steps = [k / max(count - 1, 1) for k in range(count)]
        return [float(f"{low * (high / low) ** step:.{DIGITS}g}") for step in steps]
    return [_positive(value, key) for value in _list(said, key)]


def _band(said: Any, key: str) -> tuple[float, float]:
    ends = [_positive(value, key) for value in _list(said, key)]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ValueError(f"{key}: a band is [lowest, highest], not {said}")
    return ends[0], ends[1]


def merged(parts: Iterable[Banded]) -> Banded:
    """One point of the keys of all. Raises ValueError for a key that two of them set."""
    point, band = {}, None
    for one in parts:
        if twice := point.keys() & one.point.keys():
            raise ValueError(f"study.axes sets {sorted(twice)[0]} on two axes")
        point, band = point | one.point, one.band or band
    return Banded(point, band)


def text(value: Any) -> str:
    """A yaml value as Hydra's command line writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mapping(said: Any, key: str, *, needs: Sequence[str] = (), may: Sequence[str] = ()) -> Mapping:
    if not isinstance(said, Mapping) or not said:
        raise ValueError(f"{key}: takes {', '.join(needs) or 'keys with lists of values'}, not {said!r}")
    if lacking := [name for name in needs if name not in said]:
        raise ValueError(f"{key}.{lacking[0]}: is missing")
    if needs and (unknown := [name for name in said if name not in (*needs, *may)]):
        raise ValueError(f"{key}.{unknown[0]}: is unknown; there are {', '.join((*needs, *may))}")
    return said


def _list(said: Any, key: str) -> list:
    if not isinstance(said, list) or not said:
        raise ValueError(f"{key}: takes a list, not {said!r}")
    return said


def _whole(value: Any, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key}: takes whole numbers of at least 1, not {value!r}")
    return value


def _positive(value: Any, key: str) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value <= 0:
        raise ValueError(f"{key}: takes positive numbers, not {value!r}")
    return float(value)
