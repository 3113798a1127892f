"""Approach 2 (Hoffmann et al. 2022, section 3.2): the law through the minima of IsoFLOP profiles, and its
noise.

Shapes: n rows of the table, m of a group, G groups of enough sizes, R sets of losses, k budgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.optima.exponents import Exponents, moved, regress
from analysis.optima.isoflop import SIZES, Price, Profile, groups, minima, polynomial, profile

BRACKETED = "bracketed"

# An interpolant leaves no residuals; its noise is that around the smoothest curve that follows such data.
NOISE_CURVE = {"parabola": "parabola", "cubic": "cubic", "akima": "cubic"}

# A row is an outlier where noise alone would put any row of its table this far off once in a hundred tables.
OUTLIER = 0.01

# Where resamples lose more of the minima than this, those that stay are a selection worth mentioning.
LOST = 0.05

# Minima off their law by more than the noise explains, when chance would do it this rarely.
RARE = 0.01


@dataclass(frozen=True)
class Vertices:
    """The groups with enough sizes for a curve: log C (G,), and of each its rows (m,), their log N, and what
    a token costs."""

    curve: str
    log_C: np.ndarray
    rows: list[np.ndarray]
    x: list[np.ndarray]
    price: list[Price]
    profiles: list[Profile]
    """Of all groups, those with too few sizes among them."""

    @classmethod
    def of(cls, rows: pd.DataFrame, *, curve: str, width: float) -> Vertices:
        """From columns N, D, C, loss. Raises ValueError for an unknown curve or a width not above 1."""
        if curve not in SIZES:
            raise ValueError(f"curve={curve!r} is none of {', '.join(SIZES)}")
        position = dict(zip(rows.index, range(len(rows)), strict=True))
        every = list(groups(rows, width=width))
        profiles = [profile(group, curve) for group in every]
        kept = [(g, p) for g, p in zip(every, profiles, strict=True) if p.sizes >= SIZES[curve]]
        return cls(
            curve=curve,
            log_C=np.log([p.C for _, p in kept]),
            rows=[np.array([position[row] for row in g.index]) for g, _ in kept],
            x=[np.log(g.N.to_numpy(float)) for g, _ in kept],
            price=[Price.of(g) for g, _ in kept],
            profiles=profiles,
        )

    def minima(self, losses: np.ndarray) -> np.ndarray:
        """log N_opt (R, G) at losses (R, n), NaN where a group brackets none."""
        found = [minima(x, losses[:, at], self.curve) for x, at in zip(self.x, self.rows, strict=True)]
        return np.stack([np.where(f.curved & f.inside, f.x, np.nan) for f in found], axis=-1)

    def law(self, log_N: np.ndarray, budgets: np.ndarray) -> Exponents:
        """The power laws through log N_opt (R, G), where it is a number, and the D that C buys at it."""
        per_token = [p.log_per_token(log_N[:, g]) for g, p in enumerate(self.price)]
        log_D = self.log_C - np.stack(per_token, axis=-1)
        return regress(self.log_C, log_N, log_D, np.isfinite(log_N), budgets)

    def read(self, losses: np.ndarray, budgets: np.ndarray) -> Exponents:
        """The whole procedure: which groups bracket a minimum is part of it."""
        return self.law(self.minima(losses), budgets)

    def off_law(self, log_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (R, G) of log N_opt around its own power law, 0 where it is NaN; and how many are over
        after the law's two coefficients (R,)."""
        used = np.isfinite(log_N)
        count = used.sum(axis=1, keepdims=True).clip(1)
        dx = np.where(used, self.log_C - (used * self.log_C).sum(axis=1, keepdims=True) / count, 0.0)
        y = np.where(used, log_N, 0.0)
        y = np.where(used, y - y.sum(axis=1, keepdims=True) / count, 0.0)
        spread = (dx**2).sum(axis=1)
        slope = np.divide((dx * y).sum(axis=1), spread, out=np.zeros(len(y)), where=spread > 0)
        return y - slope[:, None] * dx, used.sum(axis=1) - 2

    def points(self) -> pd.DataFrame:
        """The minima: columns C, N, D, loss."""
        some = [(p.C, p.N_opt, p.D_opt, p.loss) for p in self.profiles if p.status == BRACKETED]
        return pd.DataFrame(some, columns=["C", "N", "D", "loss"], dtype=float)


@dataclass(frozen=True)
class Noise:
    """Scatter around the groups' curves, one relative scale for the table."""

    scale: float
    freedom: int
    centre: np.ndarray
    """(n,) the groups' smooth curves at their rows; elsewhere the losses themselves."""
    outliers: list[int]
    """Positions of rows further off than scatter explains."""

    @classmethod
    def around(cls, design: Vertices, losses: np.ndarray) -> Noise:
        """Pool relative residuals of losses (n,) over the groups: a group alone has too few for a scale."""
        centre, studentised, total, freedom = losses.copy(), {}, 0.0, 0
        smooth = NOISE_CURVE[design.curve]
        for x, at in zip(design.x, design.rows, strict=True):
            y = losses[at]
            _, hat = polynomial(x, y[None], smooth)
            curve = hat @ y
            centre[at] = curve
            residual, room = y / curve - 1, 1 - np.diag(hat)
            total, freedom = total + float(residual @ residual), freedom + len(x) - SIZES[smooth]
            studentised |= {
                int(i): float(r / np.sqrt(h)) for i, r, h in zip(at, residual, room, strict=True) if h > 1e-6
            }
        if freedom == 0:
            return cls(0.0, 0, centre, [])
        far, rest = [], freedom - 1  # a row's own residual taken out of the scale it is measured by
        if rest:
            limit = float(stats.t.isf(OUTLIER / 2 / len(studentised), rest)) ** 2
            far = [i for i, r in studentised.items() if r * r > limit * max(total - r * r, 0.0) / rest]
        return cls(float(np.sqrt(total / freedom)), freedom, centre, sorted(far))

    def tables(self, R: int, seed: int, chunk: int) -> Iterator[np.ndarray]:
        """R sets of losses (up to chunk, n) around the curves, as unsure of the scale as `freedom` leaves it.

        The scale is drawn from its sampling distribution, freedom / chi-squared, so that percentiles of
        whatever is linear in the losses are Student-t intervals. Row by row the same draws for the same seed
        and n, whatever the groups.
        """
        scales, rows = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
        scale = self.scale * np.sqrt(self.freedom / scales.chisquare(self.freedom, size=R))
        for at in range(0, R, chunk):
            part = scale[at : at + chunk, None]
            yield self.centre * (1 + part * rows.standard_normal((len(part), len(self.centre))))


def resampled(
    design: Vertices, noise: Noise, losses: np.ndarray, budgets: np.ndarray, *, R: int, seed: int, chunk: int
) -> tuple[Exponents | None, str | None, list[str]]:
    """R resamples of the exponents, how they were drawn, and what has to be said of them.

    Losses are drawn around the groups' curves and the whole procedure repeated. Where the minima scatter
    around their law by more than that explains (budgets that differ in more than C), or no row is left over
    to tell the noise, minima are drawn around their law instead, at the scatter that G - 2 degrees of freedom
    leave.
    """
    log_N = design.minima(losses[None])
    if noise.freedom:
        drawn = np.concatenate([design.minima(tables) for tables in noise.tables(R, seed, chunk)])
        if _chance(design, log_N, drawn) >= RARE:
            some = np.isfinite(log_N[0])
            lost = float(np.isnan(drawn[:, some]).mean())
            few = f"{lost:.0%} of these minima are not bracketed in resamples"
            # An interpolant reads the smooth curve otherwise than the losses: the draws are about the latter.
            shift = moved(design.law(log_N, budgets), design.read(noise.centre[None], budgets), -1)
            draws = moved(design.law(drawn, budgets), shift, 1)
            return draws, "losses around the curves", [few] if lost > LOST else []
        told = "the minima are further off their law than the noise within groups explains"
    else:
        told = "no row more than the curves take"
    off, freedom = (x[0] for x in design.off_law(log_N))
    if freedom < 1:
        return None, None, [f"{told}, and two minima tell no scatter: no interval"]
    rng = np.random.default_rng(seed)
    scale = np.sqrt((off**2).sum() / rng.chisquare(freedom, size=(R, 1)))
    drawn = log_N - off + scale * rng.standard_normal((R, len(off)))
    return design.law(drawn, budgets), "minima around their law", [f"{told}: the interval is from the minima"]


def _chance(design: Vertices, log_N: np.ndarray, drawn: np.ndarray) -> float:
    """How often noise within groups alone puts the minima as far off a power law as they are."""
    (seen, left), (by_noise, rest) = design.off_law(log_N), design.off_law(drawn - log_N)
    if left[0] < 1 or not (rest > 0).any():
        return 1.0
    seen, by_noise = (seen**2).sum() / left[0], (by_noise**2).sum(axis=1)[rest > 0] / rest[rest > 0]
    return float((by_noise >= seen).mean())
