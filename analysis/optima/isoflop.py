"""IsoFLOP profiles (Hoffmann et al. 2022, approach 2): at equal compute, which size does best?

Runs of about equal C form a group; a curve in log N through their losses has its minimum at N_opt(C); the
slope of log N_opt against log C is the exponent a.

Shapes: n rows of the table, m rows of a group, G groups, R sets of losses read at once.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.interpolate import Akima1DInterpolator

from analysis.law import Fit
from analysis.optima.frontier import Cost, frontier

# How many sizes a curve takes: one for each coefficient. Akima's slope at a point looks two points to either
# side, so that below five all of it is edge.
SIZES = {"parabola": 3, "cubic": 4, "akima": 5}

# C of runs meant to be equal differ in the eighth digit where D was rounded to whole tokens.
SAME_C = 6

# Complete linkage compares all pairs: so many budgets take a second and 100 MB. No IsoFLOP study has more.
MOST_BUDGETS = 5000


@dataclass(frozen=True)
class Profile:
    """One group of runs at about equal compute, and the minimum of the curve through it."""

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
    """Loss = p0 + p1 x + p2 x^2 in x = log N, where the curve is a parabola."""
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


@dataclass(frozen=True)
class Minima:
    """Minima of R curves over the same sizes, log N of each and its loss (R,); and what was at fault."""

    x: np.ndarray
    loss: np.ndarray
    curved: np.ndarray
    """Mask (R,) of the curves that have a minimum at all."""
    inside: np.ndarray
    """Mask (R,) of those whose minimum lies between the smallest and the largest size."""


def groups(runs: pd.DataFrame, *, width: float) -> Iterator[pd.DataFrame]:
    """Split runs of one architecture into groups whose C differ by at most a factor `width`, by rising C.

    Runs that share three or more to a budget the very same C are grouped by it. Others by complete linkage in
    log C, so that a chain of neighbours cannot stretch a group beyond `width`. Raises ValueError.
    """
    if width <= 1:
        raise ValueError(f"an IsoFLOP group needs a width above 1, not {width}")
    if runs.empty:
        return
    x, budget, count = np.unique(
        np.log(runs.C.to_numpy(float)).round(SAME_C), return_inverse=True, return_counts=True
    )
    label = np.arange(len(x))
    if len(x) > 1 and count.min() < min(SIZES.values()):
        if len(x) > MOST_BUDGETS:
            raise ValueError(f"{len(x)} different C are no IsoFLOP budgets: the most is {MOST_BUDGETS}")
        label = fcluster(linkage(x[:, None], "complete"), np.log(width), "distance")
    labels = label[budget]
    yield from sorted((runs.loc[labels == k] for k in np.unique(labels)), key=lambda group: group.C.min())


def polynomial(x: np.ndarray, y: np.ndarray, curve: str) -> tuple[np.ndarray, np.ndarray]:
    """Least squares through y (R, m) over x (m,): coefficients (R, p) by rising power of x - mean, and the
    hat matrix (m, m)."""
    V = np.vander(x - x.mean(), SIZES[curve], increasing=True)  # centred, or the columns are nearly parallel
    solve = np.linalg.pinv(V)
    return y @ solve.T, V @ solve


def _stationary(c1: np.ndarray, c2: np.ndarray, c3: np.ndarray | float) -> np.ndarray:
    """Where c1 t + c2 t^2 + c3 t^3 has its minimum; not finite where it has none. c3 = 0 is a parabola."""
    with np.errstate(all="ignore"):
        t = -c1 / (c2 + np.sqrt(c2**2 - 3 * c1 * c3))
    return np.where((c3 == 0) & (c2 <= 0), np.nan, t)


def _value(t: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Polynomials with coefficients (p, ...) by rising power at t (...)."""
    out = np.zeros_like(t)
    for c in coefficients[::-1]:
        out = out * t + c
    return out


def minima(x: np.ndarray, y: np.ndarray, curve: str) -> Minima:
    """Minimum of the curve through losses y (R, m) over log sizes x (m,), for each of the R."""
    if curve == "akima":
        return _akima(x, y)
    c = polynomial(x, y, curve)[0].T
    t = _stationary(c[1], c[2], c[3] if curve == "cubic" else 0.0)
    at = t + x.mean()
    return Minima(at, _value(t, c), np.isfinite(t), (x.min() < at) & (at < x.max()))


def _akima(x: np.ndarray, y: np.ndarray) -> Minima:
    """Akima's piecewise cubic (1970) through the mean loss of each size: every piece has a closed minimum."""
    sizes, which = np.unique(x, return_inverse=True)
    mean = (which == np.arange(len(sizes))[:, None]) / np.bincount(which)[:, None]
    pieces = Akima1DInterpolator(sizes, mean @ y.T).c[::-1]  # (4, pieces, R), by rising power from the left
    t = _stationary(pieces[1], pieces[2], pieces[3])
    within = (t >= 0) & (t <= np.diff(sizes)[:, None])
    t = np.where(within, t, 0.0)
    inner = np.where(within, _value(t, pieces), np.inf)
    knots = mean @ y.T
    at = np.concatenate([t + sizes[:-1, None], np.broadcast_to(sizes[:, None], knots.shape)])
    values = np.concatenate([inner, knots])
    best, R = values.argmin(axis=0), np.arange(len(y))
    found = at[best, R]
    inside = (sizes[0] < found) & (found < sizes[-1])
    return Minima(found, values[best, R], np.ones(len(y), dtype=bool), inside)


def profile(group: pd.DataFrame, curve: str = "parabola") -> Profile:
    """The curve through one group (columns N, D, C, loss) and its minimum, where the sizes bracket one."""
    C = float(np.exp(np.log(group.C).mean()))
    about = {"C": C, "spread": float(group.C.max() / group.C.min()), "sizes": int(group.N.nunique())}
    if about["sizes"] < SIZES[curve]:
        return Profile(**about, status=f"{about['sizes']} of the {SIZES[curve]} sizes {spoken(curve)} needs")
    x, y = np.log(group.N.to_numpy(float)), group.loss.to_numpy(float)[None]
    if curve == "parabola":
        (c0, c1, c2), centre = polynomial(x, y, curve)[0][0], x.mean()
        shifted = (c0 - c1 * centre + c2 * centre**2, c1 - 2 * c2 * centre, c2)
        about["parabola"] = tuple(map(float, shifted))
    found = minima(x, y, curve)
    if not found.curved[0]:
        return Profile(**about, status="no minimum: the losses do not curve upwards")
    if not found.inside[0]:
        side = "below the smallest" if found.x[0] <= x.min() else "above the largest"
        return Profile(**about, status=f"minimum not bracketed: it lies {side} size")
    return Profile(
        **about,
        status="bracketed",
        N_opt=float(np.exp(found.x[0])),
        D_opt=float(C / np.exp(Price.of(group).log_per_token(found.x)[0])),
        loss=float(found.loss[0]),
    )


def spoken(curve: str) -> str:
    return "an Akima curve" if curve == "akima" else f"a {curve}"


@dataclass(frozen=True)
class Price:
    """What a token costs in training FLOPs as runs tell it, C / D against N, both in log."""

    x: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, runs: pd.DataFrame) -> "Price":
        N, C, D = (runs[name].to_numpy(float) for name in ("N", "C", "D"))
        sizes, which = np.unique(N, return_inverse=True)
        return cls(np.log(sizes), np.bincount(which, np.log(C / D)) / np.bincount(which))

    def log_per_token(self, x: np.ndarray) -> np.ndarray:
        """Log FLOPs a token at log N = x: between two sizes along a line, beyond them like N."""
        nearest = np.clip(x, self.x[0], self.x[-1])
        return np.interp(nearest, self.x, self.y) + (x - nearest)


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
