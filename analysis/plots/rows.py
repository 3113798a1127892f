"""The rows of a fit as figures show them: coloured by one input, doubtful ones marked, many thinned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from scipy import stats

from analysis.account import Account
from analysis.law import Fit
from analysis.plots.style import PALETTE, counts, flops, short, size_key, sizes

# More points than these in a panel hide one another, and weigh on the page: 100 bytes each.
MOST = 400
# More sizes than these have no colours, nor lines, that can be told apart.
RUNGS = 15
# A row is outlying where scatter alone would put any row of its table this far off once in a hundred tables.
OUTLIER = 0.01
# What is said of most rows of a table marks none of them.
COMMON = 0.5
# A range of less than this many decades has too few round numbers of the form 1, 2, 5 for its labels.
NARROW = 0.8
# Beyond these, numbers are powers of ten: products and ratios of inputs.
LEAST_SPOKEN, MOST_SPOKEN = 1e-4, 1e15

LABELS = {
    "N": "N, parameters",
    "D": "D, training tokens",
    "C": "C, training FLOPs",
    "unique_tokens": "Unique tokens",
    "width": "Width",
    "depth": "Depth, layers",
}


@dataclass(frozen=True)
class Rows:
    """The rows (n,) a fit used, in its order."""

    fit: Fit
    table: pd.DataFrame

    @classmethod
    def of(cls, account: Account) -> Rows:
        assert account.fit is not None
        return cls(account.fit, account.table.loc[account.fit.used])

    @property
    def predicted(self) -> np.ndarray:
        """By the residuals: a published parameter may be beyond a float where its law is not."""
        return self.measured * np.exp(-self.fit.residuals)

    @property
    def measured(self) -> np.ndarray:
        return self.table["loss"].to_numpy(float)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.table[name].to_numpy(float)

    @cached_property
    def spread(self) -> np.ndarray:
        """(n,) the scatter of log loss where each row is."""
        return self.fit.scatter.at(self.fit.law.logs(self.table)[:, : len(self.fit.law.inputs)])

    @cached_property
    def outlying(self) -> np.ndarray:
        """Mask (n,) of the rows further off than scatter explains, each row itself taken out of the scale."""
        fit = self.fit
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.nan_to_num(fit.residuals / self.spread)
            rest = len(z) - (len(fit.law.names) - len(fit.fixed)) - 1
            if rest < 1:
                return np.zeros(len(z), dtype=bool)
            own = np.abs(z) / np.sqrt(np.maximum((z @ z - z**2) / rest, 0.0))
        return np.nan_to_num(own) > stats.t.isf(OUTLIER / 2 / len(z), rest)

    @cached_property
    def flagged(self) -> dict[str, np.ndarray]:
        """Mask (n,) of the rows that each kind of doubt names, where it does not name most of them."""
        kinds = dict.fromkeys(flag["kind"] for flag in self.fit.flags)
        masks = {
            kind: self.table.index.isin([r for f in self.fit.flags if f["kind"] == kind for r in f["rows"]])
            for kind in kinds
        }
        return {kind: mask for kind, mask in masks.items() if 0 < mask.mean() <= COMMON}

    @cached_property
    def shown(self) -> np.ndarray:
        """Positions of the rows to draw: all, or MOST by lot, the outlying among them."""
        n = len(self.table)
        if n <= MOST:
            return np.arange(n)
        worst = np.flatnonzero(self.outlying)
        worst = worst[np.argsort(-np.abs(self.fit.residuals[worst]), kind="stable")][: MOST // 5]
        rest = np.setdiff1d(np.arange(n), worst)
        drawn = np.random.default_rng(0).choice(rest, MOST - len(worst), replace=False)
        return np.sort(np.concatenate([worst, drawn]))

    @property
    def thinned(self) -> str:
        """For a caption: what is not drawn, if anything."""
        n = len(self.table)
        return "" if n <= MOST else f" Points: {MOST} of the {n:,} rows, by lot."


@dataclass(frozen=True)
class Tint:
    """Colours by one column of a table."""

    name: str | None
    values: np.ndarray

    @property
    def discrete(self) -> bool:
        return len(np.unique(self.values)) <= RUNGS

    @cached_property
    def _map(self) -> tuple[Colormap, Normalize]:
        if self.discrete:
            return sizes(self.values)
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.82, 256))
        return ListedColormap(colours), LogNorm(self.values.min(), self.values.max())

    def __call__(self, values: Any) -> Any:
        """A colour, or (n, 4) of them."""
        if self.name is None or np.ptp(self.values) == 0:
            return PALETTE[0]
        colours, norm = self._map
        return colours(norm(values))

    def key(self, figure: Figure, axes: Any) -> None:
        """The colour bar beside the axes, where there are colours."""
        if self.name is None or np.ptp(self.values) == 0:
            return
        label = LABELS.get(self.name, self.name)
        if self.discrete:
            size_key(figure, axes, self.values, label)
            return
        colours, norm = self._map
        bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.01, fraction=0.03, aspect=35)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.set_label(label)


def tint(rows: Rows, x: str) -> Tint:
    """Colours by the law's first input that is not on the abscissa `x`; C is one of N and D."""
    others = [name for name in rows.fit.law.inputs if name not in (x, "C")]
    return Tint(others[0], rows[others[0]]) if others else Tint(None, rows.measured)


def label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def scaled(axes: Axes, which: str, name: str, values: Sequence[float] | np.ndarray) -> None:
    """A log axis for the input `name`, over the range of `values`, labelled as such numbers are spoken."""
    values = np.asarray(values, float)
    spoken = name != "C" and values.max() < MOST_SPOKEN and values.min() > LEAST_SPOKEN
    (counts if spoken else flops)(axes, which, values)
    if spoken and np.ptp(np.log10(values)) < NARROW:
        axis = getattr(axes, f"{which}axis")
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(NullLocator())
    getattr(axes, f"set_{which}label")(label(name))
