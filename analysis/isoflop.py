"""IsoFLOP profiles (Hoffmann et al. 2022, approach 2): at equal compute, which size does best?

Runs of about equal C form a group; a parabola in log N through their losses has its vertex at N_opt(C); the
slope of log N_opt against log C is the exponent a.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage

from analysis.frontier import Cost, frontier
from analysis.law import Fit

SIZES = 3  # a parabola has three coefficients


@dataclass(frozen=True)
class Profile:
    """One group of runs at about equal compute, and the vertex of the parabola through it."""

    C: float
    """Geometric mean of the group's FLOPs."""
    spread: float
    """Largest over smallest C in the group: 1 for runs at exactly equal compute."""
    sizes: int
    status: str
    """`bracketed`, or a sentence saying why there is no N_opt."""
    N_opt: float | None = None
    D_opt: float | None = None
    loss: float | None = None
    parabola: tuple[float, float, float] | None = None
    """Loss = p0 + p1 x + p2 x^2 in x = log N."""
    bias: float | None = None
    """N_opt of a parabola through the fitted surface at the same points, over the surface's own, less 1."""

    def to_json(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Exponent:
    """Slope of log N_opt against log C over the bracketed profiles."""

    a: float | None
    stderr: float | None
    n: int
    status: str


def groups(runs: pd.DataFrame, *, width: float) -> Iterator[pd.DataFrame]:
    """Split runs of one architecture into groups whose C differ by at most a factor `width`, by rising C.

    Complete linkage in log C, so that a chain of neighbours cannot stretch a group beyond `width`.
    """
    if width <= 1:
        raise ValueError(f"an IsoFLOP group needs a width above 1, not {width}")
    if len(runs) == 1:
        yield runs
        return
    if runs.empty:
        return
    x = np.log(runs.C.to_numpy(float))
    labels = fcluster(linkage(x[:, None], "complete"), np.log(width), "distance")
    yield from sorted((runs.loc[labels == k] for k in np.unique(labels)), key=lambda group: group.C.min())


def profile(group: pd.DataFrame) -> Profile:
    """The parabola through one group (columns N, D, C, loss) and its vertex, where the sizes bracket one."""
    C = float(np.exp(np.log(group.C).mean()))
    about = {"C": C, "spread": float(group.C.max() / group.C.min()), "sizes": int(group.N.nunique())}
    if about["sizes"] < SIZES:
        return Profile(**about, status=f"{about['sizes']} of the {SIZES} sizes a parabola needs")
    x = np.log(group.N.to_numpy(float))
    centre = x.mean()  # centred, or the columns of the fit are nearly parallel
    c0, c1, c2 = np.polynomial.polynomial.polyfit(x - centre, group.loss.to_numpy(float), 2)
    about["parabola"] = (
        float(c0 - c1 * centre + c2 * centre**2),
        float(c1 - 2 * c2 * centre),
        float(c2),
    )
    if c2 <= 0:
        return Profile(**about, status="no minimum: the losses do not curve upwards")
    vertex = centre - c1 / (2 * c2)
    if not x.min() < vertex < x.max():
        side = "below the smallest" if vertex <= x.min() else "above the largest"
        return Profile(**about, status=f"minimum not bracketed: it lies {side} size")
    by_size = group.groupby("N").D.mean()
    D = np.exp(np.interp(vertex, np.log(by_size.index.to_numpy(float)), np.log(by_size.to_numpy(float))))
    return Profile(
        **about,
        status="bracketed",
        N_opt=float(np.exp(vertex)),
        D_opt=float(D),
        loss=float(c0 - c1**2 / (4 * c2)),
    )


def with_bias(measured: Profile, group: pd.DataFrame, fit: Fit, cost: Cost) -> Profile:
    """Add what the parabola alone gets wrong: the same points, with losses read off the fitted surface."""
    clean = profile(group.assign(loss=fit.predict(group)))
    truth = frontier(fit, cost, np.array([measured.C])).N[0]
    if measured.N_opt is None or clean.N_opt is None or not np.isfinite(truth):
        return measured
    return Profile(**{**asdict(measured), "bias": float(clean.N_opt / truth - 1)})


def exponent(profiles: list[Profile]) -> Exponent:
    """Log-log regression of N_opt on C; a standard error needs three profiles or more."""
    found = [(p.C, p.N_opt) for p in profiles if p.N_opt is not None]
    n = len(found)
    if n < 2:
        return Exponent(None, None, n, f"{n} of {len(profiles)} profiles with a bracketed minimum: no slope")
    x, y = np.log(np.array(found, float)).T
    dx = x - x.mean()
    a = float(dx @ y / (dx @ dx))
    if n == 2:
        return Exponent(a, None, n, "two profiles: no standard error")
    residual = y - y.mean() - a * dx
    return Exponent(a, float(np.sqrt(residual @ residual / (n - 2) / (dx @ dx))), n, "fitted")


def approach_two(runs: pd.DataFrame, fit: Fit | None, cost: Cost, *, width: float) -> dict:
    """Profiles and exponent of one architecture's runs, as plain JSON values."""
    profiles = []
    for group in groups(runs, width=width):
        found = profile(group)
        profiles.append(found if fit is None else with_bias(found, group, fit, cost))
    return {"profiles": [p.to_json() for p in profiles], "exponent": asdict(exponent(profiles))}
