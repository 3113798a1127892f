"""Profile of the criterion along each parameter: a steep valley is a parameter the table determines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, MaxNLocator, NullLocator

from analysis.account import Account
from analysis.law import Fit
from analysis.plots.style import INK, PALETTE, canvas, short
from analysis.report.symbols import mathtext

TITLE = "How well each parameter is determined"
COLUMNS = {4: 4, 5: 5, 7: 4, 8: 4}  # of so many panels; of other numbers, three
TOP, BOTTOM = 4.0, -1.5  # of the panels, in units of the rise allowed: two standard errors and a bit
PROFILE_AT, DRAWN_AT = -0.45, -1.0  # where the intervals lie
WIDE = 5.0  # a positive parameter whose panel spans this factor has a log axis
FARTHEST = 1e3  # of a panel's ends from the value: an interval that goes on is cut, and says so
CURVE = 160  # points of a line
EXACT = 1e-10  # scatter that is rounding: so is the profile


def draw(account: Account) -> tuple[Figure, str] | None:
    """A panel for each parameter with a profile; None without any. Use inside `style.look()`."""
    fit = account.fit
    profiles = {} if fit is None else fit.certificate.get("profile", {})
    if fit is None or not profiles or fit.scale < EXACT:
        return None
    names = list(profiles)
    columns = COLUMNS.get(len(names), 3)
    lines = -(-len(names) // columns)
    figure, axes = canvas(lines, columns, height=0.7 + 2.1 * lines, sharey=True)
    flat = axes.ravel()
    for axis, name in zip(flat, names, strict=False):
        _panel(axis, fit, name, profiles[name])
    for axis in flat[len(names) :]:
        axis.remove()
    flat[0].set_ylim(BOTTOM, TOP)
    flat[0].set_yticks([0, 1, 2, 3, 4])
    for axis in axes[:, 0]:
        axis.set_ylabel("Rise of the criterion\nover the rise allowed")
    found = {text: handle for axis in flat[: len(names)] for handle, text in _legend(axis)}
    figure.legend(found.values(), found.keys(), loc="outside upper right", ncols=5)
    return figure, _caption(fit, profiles)


def _legend(axis: Axes) -> Iterator[tuple[Any, str]]:
    handles, texts = axis.get_legend_handles_labels()
    yield from zip(handles, texts, strict=True)


def _panel(axis: Axes, fit: Fit, name: str, profile: dict[str, Any]) -> None:
    value = fit.params[name]
    at, rise = _curve(profile, value)
    low, high = _range(fit, name, profile, at, rise)
    log = low > 0 and high > WIDE * low
    _scale(axis, low, high, log)
    x, y = _read(at, rise, log)
    axis.plot(x, y, color=INK, linewidth=1.2, label="profile")
    seen = (rise <= TOP) & (at >= low) & (at <= high)
    axis.plot(at[seen], rise[seen], linestyle="", marker=".", markersize=3.5, color=INK)
    axis.axhline(1, color=PALETTE[1], linewidth=0.9, linestyle=(0, (4, 2)), label="allowed at 95 %")
    axis.axvline(value, ymin=0, ymax=-BOTTOM / (TOP - BOTTOM), color=INK, linewidth=0.7)
    _bar(axis, profile["interval95"], (low, high), PROFILE_AT, PALETTE[1], "profile interval")
    drawn = fit.interval95.get(name)
    if drawn is not None and np.isfinite(drawn).all():
        _bar(axis, drawn, (low, high), DRAWN_AT, PALETTE[0], "bootstrap interval")
    _others(axis, fit, name, profile["allowed"], (low, high))
    axis.set_title(f"{mathtext(name)}{_open(profile['interval95'])}", fontsize=9)


def _open(ends: list[float | None]) -> str:
    lower, upper = (end is None for end in ends)
    if lower and upper:
        return "   open on both sides"
    return "   open above" if upper else "   open below" if lower else ""


def _curve(profile: dict[str, Any], value: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and rises in units of the rise allowed, the minimum itself among them, by rising value."""
    at = np.array([np.nan if v is None else v for v in profile["value"]], float)
    rise = np.array([np.nan if r is None else r for r in profile["rise"]], float) / profile["allowed"]
    known = np.isfinite(at) & np.isfinite(rise)
    at, rise = np.append(at[known], value), np.append(rise[known], 0.0)
    order = np.argsort(at, kind="stable")
    return at[order], rise[order]


def _read(at: np.ndarray, rise: np.ndarray, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """The profile between its points, linear in the root of the rise."""
    if log:
        at, rise = at[at > 0], rise[at > 0]
    into, out = (np.log, np.exp) if log else (np.asarray, np.asarray)
    root = np.sqrt(rise)
    root[: int(rise.argmin())] *= -1
    x = np.unique(np.concatenate([into(at), np.linspace(into(at).min(), into(at).max(), CURVE)]))
    # A panel shows a small part of what was computed: fine steps go where the rise is small.
    near = into(at)[rise <= 2 * TOP]
    x = np.unique(np.concatenate([x, np.linspace(near.min(), near.max(), CURVE)]))
    return out(x), np.interp(x, into(at), root) ** 2


def _range(
    fit: Fit, name: str, profile: dict[str, Any], at: np.ndarray, rise: np.ndarray
) -> tuple[float, float]:
    """Where the panel ends: wherever the profile is low, the intervals end, or a rival minimum lies."""
    value = fit.params[name]
    shown = [*at[rise <= TOP], value]
    shown += [end for end in profile["interval95"] if end is not None]
    shown += [end for end in fit.interval95.get(name, ()) if np.isfinite(end)]
    values = np.array(shown)
    if value > 0:
        values = values.clip(value / FARTHEST, value * FARTHEST) if values.min() > 0 else values
        values = np.minimum(values, value * FARTHEST)
    low, high = float(values.min()), float(values.max())
    if high <= low:  # a parameter that no interval moves
        low, high = (value * 0.9, value * 1.1) if value > 0 else (value - 1, value + 1)
    if low > 0 and high > WIDE * low:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    margin = 0.05 * (high - low)
    return (low - margin if low > margin or low < 0 else low), high + margin


def _scale(axis: Axes, low: float, high: float, log: bool) -> None:
    if log:
        axis.set_xscale("log")
        factor = high / low
        subs = (1, 2, 5) if factor < 12 else (1, 3) if factor < 60 else (1,)
        axis.xaxis.set_major_locator(LogLocator(subs=subs, numticks=4))
        axis.xaxis.set_minor_locator(NullLocator())
        big = high > 1e7 or low < 1e-4
        axis.xaxis.set_major_formatter(
            LogFormatterMathtext() if big else FuncFormatter(lambda v, _: short(v))
        )
    else:
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v) if abs(v) > 1e3 else f"{v:g}"))
    axis.set_xlim(low, high)
    axis.grid(visible=False)


def _bar(axis: Axes, ends: Any, limits: tuple[float, float], y: float, colour: str, text: str) -> None:
    """An interval; an end that is open, or beyond the panel, is an arrow."""
    low, high = limits
    inside = [limits[k] if end is None else float(np.clip(end, low, high)) for k, end in enumerate(ends)]
    axis.plot(inside, [y, y], color=colour, linewidth=2.2, solid_capstyle="butt", label=text)
    for k, marker in enumerate("<>"):
        if ends[k] is None or not low <= ends[k] <= high:
            axis.plot(
                inside[k], y, marker=marker, markersize=5, color=colour, linestyle="", clip_on=False, zorder=5
            )


def _others(axis: Axes, fit: Fit, name: str, allowed: float, limits: tuple[float, float]) -> None:
    """Other minima: where they have the parameter, and how much worse they are. Those too bad at the top."""
    for other in fit.certificate["minima"][1:]:
        x = other["params"][name]
        y = min((other["objective"] - fit.objective) / allowed, 0.96 * TOP)
        if limits[0] <= x <= limits[1]:
            axis.plot(
                x,
                max(y, 0.0),
                marker="D" if y < 0.96 * TOP else "^",
                markersize=4.5,
                markerfacecolor="white",
                color=PALETTE[3],
                linestyle="",
                zorder=6,
                label="another minimum",
            )


def _caption(fit: Fit, profiles: dict[str, Any]) -> str:
    told = (
        "How much worse the best fit gets with one parameter held elsewhere, in units of the rise that 95 % "
        "confidence allows; beneath, the interval where it allows it, and the one from resamples. "
        "An arrow: the interval goes on beyond the panel."
    )
    if found := [name for name, one in profiles.items() if None in one["interval95"]]:
        told += f" Open: no end of {_listed(found)} was found within 50 standard errors, or its bound."
    lacking = [name for name in fit.law.names if name not in profiles and name not in fit.fixed]
    if at_bound := [name for name in lacking if name in fit.certificate["bounds_hit"]]:
        told += f" {_listed(at_bound)}: at a bound, no profile."
    if units := [name for name in lacking if name not in at_bound]:
        told += f" {_listed(units)}: no profile, as its meaning depends on another parameter."
    return told


def _listed(names: list[str]) -> str:
    return ", ".join(names)
