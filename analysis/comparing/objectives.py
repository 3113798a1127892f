"""What objectives and architectures give at equal N, D or C: differences of final losses, with intervals.

At equal N and D two groups' runs of one seed see the same order of the data, and what that does to both
cancels in their difference. Where sizes of different groups have to be interpolated nothing is taken to
cancel, and the whole scatter between seeds counts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """`group` less `reference` in column `loss` (of the reference: `against`), nats per token,
    mean over sizes."""

    group: str
    reference: str
    loss: str
    against: str
    mean: float
    low: float
    high: float
    sizes: int
    seeds: int
    freedom: int

    @property
    def said(self) -> str:
        if self.low > 0:
            return "does not reach it"
        return "is below it" if self.high < 0 else "not told apart from it"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"said": self.said}


def grouped(rows: Sequence[dict[str, Any]], knobs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows with a column `group`: architecture, objective, and what of its knobs differs among its runs.

    knobs: of each row, the objective's own settings by dotted name.
    """
    table = pd.DataFrame(rows)
    pair = table["architecture"] + ", " + table["objective"]
    told = []
    for name, own in zip(pair, knobs, strict=True):
        alike = [other for p, other in zip(pair, knobs, strict=True) if p == name]
        differ = [k for k in own if len({str(other.get(k)) for other in alike}) > 1]
        told.append("".join([name, *(f", {k}={own[k]}" for k in differ)]))
    return table.assign(group=told)


def difference(
    table: pd.DataFrame, group: str, reference: str, *, loss: str = "loss", against: str = "loss"
) -> Difference:
    """Over the sizes, D and seeds that both groups have, with the interval of Student's t for pairs.

    A pair is a size and a seed, its value the mean over D: with a common trunk, a shorter run is the
    beginning of the longer one and no other draw. The scatter is that of pairs about their size's mean.
    Raises ValueError where the groups share no run, or no size has two seeds: then no scatter is known.
    """
    mine, its = (_runs(table, name, column) for name, column in ((group, loss), (reference, against)))
    gaps = pd.DataFrame({"gap": mine - its}).dropna().reset_index()
    if gaps.empty:
        raise ValueError(f"{group} and {reference} share no run of equal N, D and seed")
    pairs = pd.DataFrame(gaps.groupby(["N", "seed"], as_index=False)["gap"].mean())
    sizes = [np.asarray(of["gap"], dtype=float) for _, of in pairs.groupby("N")]
    deviation, freedom = _pooled(sizes)
    if freedom == 0:
        raise ValueError(
            f"{group} and {reference} have one seed a size: the scatter between seeds is unknown"
        )
    error = deviation * np.sqrt(sum(1 / len(of) for of in sizes)) / len(sizes)
    mean = float(np.mean([of.mean() for of in sizes]))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * error)
    counts = {"sizes": len(sizes), "seeds": min(map(len, sizes)), "freedom": freedom}
    return Difference(group, reference, loss, against, mean, mean - half, mean + half, **counts)


def _pooled(cells: Sequence[np.ndarray]) -> tuple[float, int]:
    """Standard deviation of values about their cell's mean, and its degrees of freedom."""
    freedom = sum(len(of) - 1 for of in cells)
    squares = sum(float(((of - of.mean()) ** 2).sum()) for of in cells)
    return float(np.sqrt(squares / max(freedom, 1))), freedom


def _runs(table: pd.DataFrame, group: str, loss: str) -> pd.Series:
    """The loss by N, D and seed."""
    its = table[table["group"] == group]
    if its.empty or loss not in its:
        raise ValueError(f"no run of {group}" if its.empty else f"no column {loss}")
    return pd.Series(its.set_index(["N", "D", "seed"])[loss])


@dataclass(frozen=True)
class Share:
    """Of `full`'s gain over `plain` in loss, what `part` has, at equal `axis` (N or C) and one D.

    gain, part_gain: nats per token, mean over the points. low, high: Fieller's interval; None for both where
    the gain itself cannot be told from zero, and with it no share.
    """

    axis: str
    D: int
    plain: str
    part: str
    full: str
    points: list[float]
    gain: float
    part_gain: float
    share: float
    low: float | None
    high: float | None
    freedom: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def recovered(
    table: pd.DataFrame, *, plain: str, part: str, full: str, axis: str, D: int, count: int = 5
) -> Share:
    """Losses are interpolated, linearly in log `axis`, at `count` points over the range that all three have.

    Raises ValueError for groups without a common range, or without two seeds in any cell.
    """
    own = {name: _line(table, name, axis, D) for name in (plain, part, full)}
    low, high = max(x.min() for x, _, _ in own.values()), min(x.max() for x, _, _ in own.values())
    if not low <= high:
        raise ValueError(f"{', '.join(own)} have no {axis} in common at D = {D}")
    points = np.linspace(low, high, count if low < high else 1)
    value, weight, variance = {}, {}, {}
    for name, (x, y, n) in own.items():
        w = np.array([np.interp(points, x, row) for row in np.eye(len(x))]).mean(axis=1)
        value[name], weight[name], variance[name] = float(w @ y), w, float((w**2 / n).sum())
    deviation, freedom = _between(table, list(own), D)
    gain, mine = value[plain] - value[full], value[plain] - value[part]
    a, b, common = variance[plain] + variance[part], variance[plain] + variance[full], variance[plain]
    v = deviation**2
    ends = fieller(mine, gain, v * a, v * b, v * common, freedom)
    low_share, high_share = (None, None) if ends is None else ends
    return Share(
        axis,
        D,
        plain,
        part,
        full,
        np.exp(points).tolist(),
        gain,
        mine,
        mine / gain,
        low_share,
        high_share,
        freedom,
    )


def fieller(
    over: float, under: float, var_over: float, var_under: float, covariance: float, freedom: int
) -> tuple[float, float] | None:
    """Interval of over / under (Fieller 1954): the ratios r that over - r under = 0 is not rejected at.

    None where under = 0 is not rejected either: the set is then no interval.
    """
    t2 = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) ** 2
    a = under**2 - t2 * var_under
    b = over * under - t2 * covariance
    c = over**2 - t2 * var_over
    if a <= 0:
        return None
    root = np.sqrt(max(b * b - a * c, 0.0))
    return float((b - root) / a), float((b + root) / a)


def _line(table: pd.DataFrame, group: str, axis: str, D: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By size: log of the mean `axis`, mean loss, and how many seeds."""
    its = pd.DataFrame(table[(table["group"] == group) & (table["D"] == D)])
    if its.empty:
        raise ValueError(f"no run of {group} at D = {D}")
    sizes = [its[its["N"] == N] for N in sorted(set(its["N"]))]
    x, y = (np.array([np.mean(of[name]) for of in sizes]) for name in (axis, "loss"))
    return np.log(x), y, np.array([len(of) for of in sizes])


def _between(table: pd.DataFrame, groups: Sequence[str], D: int) -> tuple[float, int]:
    """Standard deviation of a run about its cell's mean over seeds, pooled, and its degrees of freedom."""
    chosen = pd.DataFrame(table[table["group"].isin(groups) & (table["D"] == D)])
    deviation, freedom = _pooled(
        [np.asarray(of["loss"], dtype=float) for _, of in chosen.groupby(["group", "N"])]
    )
    if freedom == 0:
        raise ValueError(f"no cell of D = {D} has two seeds: the scatter between seeds is unknown")
    return deviation, freedom
