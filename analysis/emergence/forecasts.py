"""What small models say of large ones: forecasts of a score, each held to the sizes it did not see.

The points within a factor 4 of the largest x are held out; and, as those are one model or two in many
tables, so are those within a factor 4 of the largest left, and so on down: a forecaster sees what lies
below. Every one is listed, those that lose to the two baselines, "same as the last" and a line in the logit,
as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, logit

from analysis.emergence.curves import Curve

REACH = np.log10(4.0)
FEWEST_SEEN = 5  # sizes
CLIP = 1e-3  # scores are kept this far from 0 and 1 where a logarithm is taken
PLACES, MOST_BREAKS = 15, 2
BASELINES = ("same as the last", "logit line")


@dataclass(frozen=True)
class Seen:
    """What a forecaster is given: points in order of x (log10), chance, x to forecast at and the family of
    the model there; test-set sizes, pre-training losses and families where the table has them."""

    x: np.ndarray
    y: np.ndarray
    to: np.ndarray
    floor: float
    items: np.ndarray | None = None
    loss: np.ndarray | None = None
    family: np.ndarray | None = None
    to_family: np.ndarray | None = None


@dataclass(frozen=True)
class Forecast:
    """One forecaster's record on one curve: mean |error| on the held-out points, and the forecasts."""

    task: str
    metric: str
    method: str
    error: float
    predicted: list[float]
    measured: list[float]
    x: list[float]
    wins: bool | None
    """Whether it is nearer than both baselines; None for a baseline."""
    hold_outs: int
    """How many it forecast: the top 4x, the 4x below it, and so on down to five sizes."""
    mean_error: float
    """Mean of its errors on them."""
    wins_over_all: bool | None
    """As `wins`, of the mean errors on these hold-outs."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def last(seen: Seen) -> np.ndarray:
    """The mean score at the largest size seen."""
    return np.full(len(seen.to), seen.y[seen.x >= seen.x[-1] - 1e-9].mean())


def logit_line(seen: Seen) -> np.ndarray:
    """A line in logit of the score against log x."""
    return expit(np.polyval(np.polyfit(seen.x, logit(_inside(seen.y)), 1), seen.to))


def power(seen: Seen) -> np.ndarray:
    """Direct: a power law in the error, 1 - y = b x^-a."""
    slope, level = np.polyfit(seen.x, np.log(1 - _inside(seen.y)), 1)
    return 1 - np.exp(np.minimum(level + slope * seen.to, 0.0))


def sigmoid(seen: Seen) -> np.ndarray:
    """From the floor to a top at most 1, place and steepness free (Ruan et al. 2024, eq. 7, with a top)."""
    return _sigmoid(seen.x, seen.y, seen.to, seen.floor)


def broken(seen: Seen) -> np.ndarray:
    """The log error as a line with up to two breaks, as many as BIC asks for: the broken power law of
    Caballero et al. 2023 with corners, whose places can be searched in full."""
    sizes = np.unique(seen.x)
    places = np.linspace(sizes[1], sizes[-2], PLACES) if len(sizes) > 3 else np.array([])
    log_error, m = np.log(1 - _inside(seen.y)), len(seen.x)
    found = []
    for breaks in range(min(MOST_BREAKS, (len(sizes) - 2) // 2) + 1):
        for at in itertools.combinations(places, breaks):
            left, _, rank, _ = np.linalg.lstsq(_hinges(seen.x, at), log_error, rcond=None)
            squares = float(((log_error - _hinges(seen.x, at) @ left) ** 2).sum()) + m * CLIP**2
            if rank == breaks + 2:
                found.append((m * np.log(squares / m) + (2 * breaks + 2) * np.log(m), at, left))
    _, at, left = min(found, key=lambda one: one[0])
    return 1 - np.exp(np.minimum(_hinges(seen.to, at) @ left, 0.0))


def _hinges(x: np.ndarray, breaks: Sequence[float]) -> np.ndarray:
    return np.stack([np.ones_like(x), x, *(np.maximum(x - at, 0) for at in breaks)], axis=-1)


def pass_until(seen: Seen) -> np.ndarray:
    """log(-log y) is a line in log x (Hu et al. 2023, task scaling law), of scores above chance: of as many
    small models as passed at all, each weighted by what its passes can resolve."""
    risen = (seen.y - seen.floor) / (1 - seen.floor)
    n = np.full(len(risen), 100.0) if seen.items is None else seen.items
    passed = (risen > 0.5 / n) & (risen < 1 - 0.5 / n)
    if len(np.unique(seen.x[passed])) < 3:
        raise ValueError("fewer than three sizes passed at all")
    p = risen[passed]
    # Delta method: the error of log(-log p) is that of p over p |log p|.
    weight = p * np.abs(np.log(p)) / np.sqrt(p * (1 - p) / n[passed])
    line = np.polyfit(seen.x[passed], np.log(-np.log(p)), 1, w=weight)
    return seen.floor + (1 - seen.floor) * np.exp(-np.exp(np.polyval(line, seen.to)))


def two_steps(seen: Seen) -> np.ndarray:
    """x to pre-training loss by a power law, loss to score by a sigmoid (Gadre et al. 2024)."""
    if seen.loss is None:
        raise ValueError("the table tells no loss")
    slope, level = np.polyfit(seen.x, np.log(seen.loss), 1)
    return _sigmoid(-seen.loss, seen.y, -np.exp(level + slope * seen.to), seen.floor)


METHODS: dict[str, Callable[[Seen], np.ndarray]] = {
    "same as the last": last,
    "logit line": logit_line,
    "direct": power,
    "sigmoid": sigmoid,
    "n-break": broken,
    "PassUntil": pass_until,
    "two steps through loss": two_steps,
}


def _all(seen: Seen, groups: Sequence[Curve]) -> dict[str, np.ndarray]:
    """Every method's forecasts but those the curve does not allow, and those made of several."""
    whole = replace(seen, to=np.append(seen.x, seen.to))
    made: dict[str, np.ndarray] = {}
    for name, method in METHODS.items():
        with suppress(ValueError):
            made[name] = method(whole)
    # No single method is best on many tasks, and what they get wrong differs (Makridakis et al. 2020, on the
    # M4 competition).
    median = np.median(list(made.values()), axis=0)
    out = {name: forecast[len(seen.x) :] for name, forecast in made.items()}
    out["median of all"] = median[len(seen.x) :]
    with suppress(ValueError):
        out["median of all, by family"] = by_family(seen, median)
        out["logit line, by family"] = by_family(seen, made["logit line"])
    with suppress(ValueError):
        out["chosen by an earlier hold-out"] = out[_chosen(seen)]
    if groups:
        with suppress(ValueError):
            out["by difficulty"] = _by_difficulty(groups, seen.to)
    return out


def by_family(seen: Seen, made: np.ndarray) -> np.ndarray:
    """A forecast moved in the logit by how much further a family's smaller models are off it than all
    others'.

    made: at seen.x, then at seen.to. A mean of few models is shrunk towards none, by the variances within and
    between families (one-way random effects by moments, Searle et al. 1992, chapter 3). A family without a
    smaller model is not moved. Raises ValueError where the table tells no families, or one.
    """
    if seen.family is None or seen.to_family is None or len(np.unique(seen.family)) == 1:
        raise ValueError("the table tells no families, or one")
    fitted, forecast = np.split(made, [len(seen.x)])
    off = logit(_inside(seen.y)) - logit(_inside(fitted))
    off -= off.mean()
    names, member, sizes = np.unique(seen.family, return_inverse=True, return_counts=True)
    n, k, mean = len(off), len(names), np.bincount(member, off) / sizes
    if n == k:
        return forecast  # what is a family's and what a model's own cannot be told
    within = ((off - mean[member]) ** 2).sum() / (n - k)
    between = ((sizes * mean**2).sum() / (k - 1) - within) / ((n - (sizes**2).sum() / n) / (k - 1))
    moves = dict(zip(names, mean * between / (between + within / sizes), strict=True)) if between > 0 else {}
    move = np.array([moves.get(name, 0.0) for name in seen.to_family])
    return np.where(move == 0, forecast, expit(logit(_inside(forecast)) + move))


def _chosen(seen: Seen) -> str:
    """The method that would have forecast the largest 4x of what is seen best."""
    held = _top(seen.x)
    if len(np.unique(seen.x[~held])) < FEWEST_SEEN:
        raise ValueError("too few points to choose by")
    errors = {}
    for name, method in METHODS.items():
        with suppress(ValueError):
            errors[name] = np.abs(method(_split(seen, ~held, held)) - seen.y[held]).mean()
    return min(errors, key=lambda name: errors[name])


def forecasts(curve: Curve, groups: Sequence[Curve] = ()) -> list[Forecast]:
    """Every method's forecast of the top 4x of x from the rest, and its record on the hold-outs below.
    groups: the same task's items by difficulty, for one more: a sigmoid for each group, averaged (after Wu &
    Lo 2024).

    A method that the curve does not allow is left out; so is a metric that is no share. Raises ValueError
    where less than five sizes lie below the cut.
    """
    seen = Seen(curve.x, curve.y, curve.x, curve.floor, curve.items, curve.loss, curve.family, curve.family)
    top = held = _top(seen.x)
    if not curve.bounded or len(np.unique(seen.x[~top])) < FEWEST_SEEN:
        raise ValueError(f"{(~top).sum()} points below the largest quarter are too few to forecast from")
    made, errors = [], []
    while len(np.unique(seen.x[~held])) >= FEWEST_SEEN:
        made.append(_all(_split(seen, ~held, held), groups))
        errors.append({name: float(np.abs(p - seen.y[held]).mean()) for name, p in made[-1].items()})
        seen, held = _split(seen, ~held, ~held), _top(seen.x[~held])
    return [
        Forecast(
            task=curve.task,
            metric=curve.metric,
            method=name,
            error=errors[0][name],
            predicted=forecast.tolist(),
            measured=curve.y[top].tolist(),
            x=[curve.at(x) for x in curve.x[top]],
            wins=_wins(name, errors[0]),
            **_over_all(name, errors),
        )
        for name, forecast in made[0].items()
    ]


def _wins(name: str, errors: Mapping[str, float]) -> bool | None:
    return None if name in BASELINES else errors[name] < min(errors[baseline] for baseline in BASELINES)


def _over_all(name: str, errors: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """A method's record on the hold-outs that it forecast, the baselines' being of the same ones."""
    its = [each for each in errors if name in each]
    mean = {key: float(np.mean([each[key] for each in its])) for key in (name, *BASELINES)}
    return {"hold_outs": len(its), "mean_error": mean[name], "wins_over_all": _wins(name, mean)}


def _top(x: np.ndarray) -> np.ndarray:
    """Which points lie within a factor 4 of the largest x."""
    return x > x.max(initial=-np.inf) - REACH + 1e-9


def _split(seen: Seen, below: np.ndarray, above: np.ndarray) -> Seen:
    """The points of one mask, to be forecast at those of another."""
    items, loss, family = (None if v is None else v[below] for v in (seen.items, seen.loss, seen.family))
    to_family = None if seen.family is None else seen.family[above]
    return Seen(seen.x[below], seen.y[below], seen.x[above], seen.floor, items, loss, family, to_family)


def _by_difficulty(groups: Sequence[Curve], to: np.ndarray) -> np.ndarray:
    parts = []
    for group in groups:
        below = group.x < to.min() - 1e-9
        if below.sum() < FEWEST_SEEN:
            raise ValueError("a group of items has too few points")
        parts.append(_sigmoid(group.x[below], group.y[below], to, group.floor))
    weight = [1.0 if g.items is None else float(g.items.mean()) for g in groups]
    return np.average(parts, axis=0, weights=weight)


def _sigmoid(x: np.ndarray, y: np.ndarray, to: np.ndarray, floor: float) -> np.ndarray:
    """floor + (top - floor) / (1 + exp(-(x - c) / s)), fitted from several places, forecast at `to`."""
    span = float(np.ptp(x)) or 1.0

    def at(theta: np.ndarray, where: np.ndarray) -> np.ndarray:
        base, rise, c, s = theta
        return base + rise * expit((where - c) / s)

    low = [0.0, 0.0, x.min() - span, 0.02 * span]
    high = [1.0, 1.0, x.max() + 2 * span, 3 * span]
    start = np.clip(floor, 0.01, 0.9)
    fits = [
        least_squares(
            lambda t: at(t, x) - y, [start, 0.5, x.min() + place * span, 0.2 * span], bounds=(low, high)
        )
        for place in (0.3, 0.7, 1.1, 1.5)
    ]
    return np.clip(at(min(fits, key=lambda f: f.cost).x, to), 0, 1)


def _inside(y: np.ndarray) -> np.ndarray:
    return np.clip(y, CLIP, 1 - CLIP)
