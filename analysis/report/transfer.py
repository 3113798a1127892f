"""Does a learning rate transfer? The optimum of each rung of a sweep over rates, and how far it moves."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scalelaw.run import Run


@dataclass(frozen=True)
class Optimum:
    """Where the loss of one rung is lowest over the learning rate.

    rate: of the parabola through the lowest point and its two neighbours in (log rate, loss), or the lowest
    rate tried when it lies at an end of the range. loss: the parabola's minimum, nats per token.
    status: "bracketed", or why the optimum is not.
    """

    rate: float
    loss: float
    status: str


def optimum(rates: Iterable[float], losses: Iterable[float]) -> Optimum:
    """The optimum of one rung from (n,) rates and (n,) losses.

    Raises ValueError for fewer than three distinct rates, a rate that is not positive or a loss that is not
    finite.
    """
    x, y = (np.asarray(list(values), dtype=float) for values in (rates, losses))
    if len(np.unique(x)) < 3 or len(np.unique(x)) != len(x):
        raise ValueError(
            f"an optimum needs at least three runs, each of another learning rate, not {x.tolist()}"
        )
    if not (x > 0).all() or not np.isfinite(y).all():
        raise ValueError("learning rates must be positive and losses finite")
    order = np.argsort(x)
    x, y = np.log(x[order]), y[order]
    best = int(np.argmin(y))
    if best in (0, len(x) - 1):
        end = "lowest" if best == 0 else "highest"
        return Optimum(float(np.exp(x[best])), float(y[best]), f"at the {end} rate tried")
    near = slice(best - 1, best + 2)
    a, b, c = np.polyfit(x[near] - x[best], y[near], 2)
    shift = -b / (2 * a)
    return Optimum(float(np.exp(x[best] + shift)), float(c - b * b / (4 * a)), "bracketed")


def by_rung(runs: Iterable[Run]) -> dict[str, dict[str, dict[int, Optimum]]]:
    """architecture -> transfer rule -> width -> optimum, over the base rate each run's config names.

    Raises ValueError when there is no finished run to read.
    """
    losses: dict[tuple[str, str, int], dict[float, float]] = {}
    for run in runs:
        if run.finished and run.loss is not None:
            knobs = run.config["optimizer"]
            key = (run.architecture, str(knobs["transfer"]), run.width)
            losses.setdefault(key, {})[float(knobs["lr"])] = run.loss
    if not losses:
        raise ValueError("no finished run to read a learning rate from")
    found: dict[str, dict[str, dict[int, Optimum]]] = {}
    for (architecture, rule, width), points in sorted(losses.items()):
        found.setdefault(architecture, {}).setdefault(rule, {})[width] = optimum(points, points.values())
    return found


def spread(rungs: dict[int, Optimum]) -> tuple[float, bool]:
    """The largest optimal rate over the smallest: 1 where a rate tuned on one rung is best on all.

    And whether every optimum is bracketed; where one is not, the true factor is not known.
    """
    rates = [rung.rate for rung in rungs.values()]
    return max(rates) / min(rates), all(rung.status == "bracketed" for rung in rungs.values())
