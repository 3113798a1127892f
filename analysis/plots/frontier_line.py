"""The fitted frontier as a line: solid where the data reach, dashed where it is extrapolated."""

import pandas as pd
from matplotlib.axes import Axes

# A frontier this far below the best run is an extrapolation that nothing in the panel can check.
FLOOR = 0.8


def draw(
    axes: Axes, line: pd.DataFrame, x: str, y: str, *, color: str, width: float = 1.8, band=True, **kwargs
):
    """Draw columns x, y of a frontier; the 95 % band too when y is the loss."""
    if band and y == "loss" and line.lo95.notna().any():
        axes.fill_between(line[x], line.lo95, line.hi95, color=color, alpha=0.1, linewidth=0)
    axes.plot(line[x], line[y].where(line.inside), color=color, linewidth=width, **kwargs)
    # The dashes start at the last point inside, or a gap would open between the two.
    near = line.inside & ~(line.inside.shift(1, fill_value=True) & line.inside.shift(-1, fill_value=True))
    kwargs.pop("label", None)
    dashes = line[y].where(~line.inside | near)
    if not line.inside.all():
        axes.plot(line[x], dashes, color=color, linewidth=width * 0.8, linestyle=(0, (3, 2)), **kwargs)


def low_enough(measured: pd.Series, lines: list[pd.DataFrame]) -> float:
    """Where a loss axis has to begin to show the frontiers, unless one runs off far below any measurement."""
    lowest = min([measured.min(), *(line.loss.min() for line in lines)])
    return max(lowest, measured.min() * FLOOR)
