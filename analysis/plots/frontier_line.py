"""The fitted frontier as a line: solid where the data reach, dashed where it is extrapolated."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes


def draw(
    axes: Axes, line: pd.DataFrame, x: str, y: str, *, color: str, width: float = 1.8, band=True, **kwargs
):
    """Draw columns x, y of a frontier; the 95 % band too when y is the loss."""
    if band and y == "loss" and line.lo95.notna().any():
        axes.fill_between(line[x], line.lo95, line.hi95, color=color, alpha=0.15, linewidth=0)
    axes.plot(line[x], line[y].where(line.inside), color=color, linewidth=width, **kwargs)
    # The dashes start at the last point inside, or a gap would open between the two.
    near = line.inside & ~(line.inside.shift(1, fill_value=True) & line.inside.shift(-1, fill_value=True))
    kwargs.pop("label", None)
    dashes = line[y].where(~line.inside | near)
    if not line.inside.all():
        axes.plot(line[x], dashes, color=color, linewidth=width * 0.8, linestyle=(0, (3, 2)), **kwargs)


def dashed(line: pd.DataFrame) -> bool:
    return not bool(np.all(line.inside))
