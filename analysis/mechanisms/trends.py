"""Does a figure change with size? Its slope on log N, with an interval that seeds and sizes both widen.

K sizes, cells of one size and budget, several seeds in each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

FEWEST = 3  # sizes: two always lie on a line
GROUP = ("architecture", "objective", "data")
TOGETHER = 0.05  # smallest over largest singular value, below which N and D moved together
SAME = 0.02  # relative: budgets are met in whole batches


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How one figure changes along a ladder.

    scale: "log", and slope is d log(figure) / d log N, a power law's exponent; or "linear" where the figure
    is not positive throughout, and slope is its change a factor e of N. at: the centre of log N, and level
    the figure's value on that scale there. seeds: the most of any cell. scatter: standard deviation over
    seeds on that scale; None with one seed. besides: what else moved, and how it was taken.
    """

    figure: str
    group: str
    scale: str
    slope: float
    interval95: tuple[float, float]
    verdict: str
    sizes: int
    seeds: int
    smallest: float
    largest: float
    scatter: float | None
    at: float
    level: float
    missing: int
    besides: str | None

    def said(self) -> str:
        """The verdict in words."""
        low, high = self.interval95
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        on = f"{self.sizes} sizes, N = {self.smallest:.3g} to {self.largest:.3g}, {seeds}"
        kind = "as N^" if self.scale == "log" else "by "
        unit = "" if self.scale == "log" else " a factor e of N"
        value = f"{kind}{self.slope:.3g} [{low:.3g}, {high:.3g}]{unit}"
        aside = "" if self.besides is None else f"; {self.besides}"
        left = f"; not to be had in {self.missing} runs" if self.missing else ""
        if self.verdict == "no trend shown":
            return f"no trend shown, {value}, {on}{aside}{left}"
        return f"{self.verdict} with N, {value}, {on}{aside}{left}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"interval95": list(self.interval95), "said": self.said()}


def trends(table: pd.DataFrame) -> tuple[list[Trend], dict[str, str]]:
    """A trend for each figure and group of analysis.tables.measures; and, by "group: figure", why not.

    One slope in twenty has an interval that leaves 0 out where there is no trend: of many figures some do.
    """
    found, refused = [], {}
    for name, group in named(table):
        for figure, part in group.groupby("figure", sort=False):
            try:
                found.append(trend(part, figure=str(figure), group=name))
            except ValueError as error:
                refused[f"{name}: {figure}"] = str(error)
    return found, refused


def named(table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """The groups that are one ladder each, by the parts of their names that tell them apart."""
    telling = [column for column in GROUP if len(set(table[column])) > 1] or [GROUP[0]]
    for key, part in table.groupby(list(GROUP), sort=True):
        keys: dict[str, Any] = dict(zip(GROUP, key, strict=True))  # pyright: ignore[reportArgumentType]
        yield ", ".join(str(keys[column]).replace("_", " ") for column in telling), part


def trend(part: pd.DataFrame, *, figure: str, group: str) -> Trend:
    """Of the rows of one figure. Raises ValueError saying why the slope is not determined."""
    there = part[part.value.notna()]
    missing = len(part) - len(there)
    value = np.asarray(there.value, float)
    sizes = there.N.nunique()
    if sizes < FEWEST:
        left = f", where it could not be had in {missing} runs" if missing else ""
        raise ValueError(f"not determined: {sizes} sizes{left}, it takes {FEWEST} at the least")
    scale = "log" if value.min() > 0 else "linear"
    cells = there.assign(y=np.log(value) if scale == "log" else value).groupby(["N", "D"]).y
    N, D = (cells.mean().index.get_level_values(k).to_numpy(float) for k in (0, 1))
    X, besides = _design(np.log(N), np.log(D))
    if len(X) <= X.shape[1]:
        raise ValueError(f"not determined: {len(X)} cells of one N and D, it takes {X.shape[1] + 1}")
    scatter = _scatter(cells)
    slope, half, level = _slope(X, cells.mean().to_numpy(), cells.count().to_numpy(), scatter)
    sign = "rises" if slope > half else "falls" if slope < -half else "no trend shown"
    return Trend(
        figure=figure,
        group=group,
        scale=scale,
        slope=slope,
        interval95=(slope - half, slope + half),
        verdict=sign,
        sizes=sizes,
        seeds=int(cells.count().max()),
        smallest=float(N.min()),
        largest=float(N.max()),
        scatter=None if scatter is None else scatter[0],
        at=float(np.log(N).mean()),
        level=level,
        missing=missing,
        besides=besides,
    )


def _design(N: np.ndarray, D: np.ndarray) -> tuple[np.ndarray, str | None]:
    """(cells, 2 or 3): 1, log N about its mean, and log D where that moved by itself."""
    columns = [np.ones(len(N)), N - N.mean()]
    if np.ptp(D) < np.log1p(SAME):
        return np.column_stack(columns), None
    both = np.column_stack([N - N.mean(), D - D.mean()])
    singular = np.linalg.svd(both / np.linalg.norm(both, axis=0), compute_uv=False)
    if len(singular) < 2 or singular[-1] < TOGETHER * singular[0]:
        return np.column_stack(columns), "D moved with N, so that either may be the cause"
    return np.column_stack([*columns, D - D.mean()]), "at the same D"


def _scatter(cells: Any) -> tuple[float, int] | None:
    """Standard deviation over the seeds of a cell, pooled, and its degrees of freedom; None with one seed."""
    freedom = int((cells.count() - 1).sum())
    if freedom == 0:
        return None
    squares = float(cells.apply(lambda y: ((y - y.mean()) ** 2).sum()).sum())
    return float(np.sqrt(squares / freedom)), freedom


def _slope(
    X: np.ndarray, y: np.ndarray, count: np.ndarray, scatter: tuple[float, int] | None
) -> tuple[float, float, float]:
    """Slope on log N, half of its 95 % interval, and the level at the centre.

    Two errors are known: of the cells' means about the line, which a bend widens too, and of the seeds. With
    few sizes the first may be small by chance, and the second knows no bend: the wider one is taken.
    """
    inverse = np.linalg.pinv(X)  # (coefficients, cells)
    coefficients = inverse @ y
    freedom = len(y) - X.shape[1]
    residual = y - X @ coefficients
    about = residual @ residual / freedom * (inverse[1] @ inverse[1])
    half = float(stdtrit(freedom, 0.975) * np.sqrt(about))
    if scatter is not None:
        deviation, pooled = scatter
        seeds = deviation * np.sqrt((inverse[1] ** 2 / count).sum())
        half = max(half, float(stdtrit(pooled, 0.975) * seeds))
    return float(coefficients[1]), half, float(coefficients[0])
