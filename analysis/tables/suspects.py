"""Checks of the losses against one another: runs that broke, and runs that could have done better."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.tables.envelope import STEEPEST, excess, scatter
from analysis.tables.flags import DROP, WARN, Flag, named, optional
from analysis.tables.replicates import RECIPE, SIZES, configurations


def above_chance(table: pd.DataFrame) -> Iterator[Flag]:
    name = "vocab" if "vocab" in table else "vocab_size"
    vocab = optional(table, name)
    guess = np.log(np.where(vocab >= 2, vocab, np.nan))
    bad = table["loss"].to_numpy(float) > guess
    yield Flag("diverged", named(table, bad), "loss above that of a uniform guess over the vocabulary", DROP)


# A run that broke ends far above its neighbours, mostly by half and more of their loss; an ill-tuned one is
# some per cent worse. Of 4,800 clean tables of 9 to 240 rows with noise of up to 3 %, 20 lost a row: none of
# those with normal noise or with less than 3 %, the others with Student's t of 3 degrees of freedom.
BROKEN, BROKEN_SIGMAS = np.log(1.25), 10
# When more of the table than this lies above the rest, it is not single runs that broke: the runs differ in
# something that the table does not tell, or a few are too good.
MOST_BROKEN = 0.1


def above_neighbours(table: pd.DataFrame) -> Iterator[Flag]:
    over = excess(table, steepest=STEEPEST, witnesses=2)
    if not (over > BROKEN).any():
        return
    bad = over > max(BROKEN, BROKEN_SIGMAS * (scatter(best_of_sweeps(table)) or 0.0))
    if not bad.any():
        return
    worst = f"by up to {np.expm1(over[bad].max()):.0%}"
    if bad.mean() <= MOST_BROKEN:
        why = f"loss above what runs of no more parameters and tokens, or little more, reached, {worst}"
        yield Flag("diverged", named(table, bad), why, DROP)
    else:
        why = f"losses do not fall with N and D in {bad.mean():.0%} of the rows, {worst}: is it one recipe?"
        yield Flag("not one surface", named(table, bad), why, WARN)


# Eight standard deviations of noise, as each row is compared with many and its scale is a rough one: on clean
# tables of normal noise that flags about 2 in 1,000. At least 1 %, what seeds alone may do; and 10 % where a
# table is too short to show its noise.
WORSE_SIGMAS, WORSE, WORSE_UNKNOWN = 8, np.log(1.01), np.log(1.1)


def _worse(table: pd.DataFrame) -> float:
    noise = scatter(best_of_sweeps(table))
    return WORSE_UNKNOWN if noise is None else max(WORSE, WORSE_SIGMAS * noise)


def dominated(table: pd.DataFrame) -> Iterator[Flag]:
    over = excess(table, steepest=np.inf, witnesses=1)
    bad = over > WORSE
    if bad.any():
        bad = over > _worse(table)
    if bad.any():
        why = (
            f"more loss, by up to {np.expm1(over[bad].max()):.1%}, than a run of no more parameters and "
            "tokens: undertuned, or of another recipe or shape"
        )
        yield Flag("undertuned", named(table, bad), why, WARN)


RATES = ("peak_learning_rate", "learning_rate")


def swept(table: pd.DataFrame) -> Iterator[Flag]:
    """Learning rates tried at one N and D: rows that are not the best, and rungs whose best is at an end."""
    rate = optional(table, next(name for name in RATES if name in table))
    table, rate = table.loc[~np.isnan(rate)], rate[~np.isnan(rate)]
    group, best = _sweeps(table)
    low, high = (_least(group, values) for values in (rate, -rate))
    several, y = low < -high, np.log(table["loss"].to_numpy(float))
    worse = several & (y > best + WORSE)
    if worse.any():
        worse &= y > best + _worse(table)
        why = "more loss than another learning rate gave at the same N and D"
        yield Flag("undertuned", named(table, worse), why, WARN)
    edge = several & (y == best) & ((rate == low) | (rate == -high))
    N = table["N"].to_numpy(float)
    for size in np.unique(N[edge]):
        rung = edge & (N == size)
        at = " and ".join(
            end for end, ends in (("lowest", low), ("highest", -high)) if (rate == ends)[rung].any()
        )
        why = (
            f"N={size:.4g}: the best learning rate is the {at} of those tried, {low[rung].min():.4g} to "
            f"{-high[rung].min():.4g}: a better one may lie beyond"
        )
        yield Flag("undertuned", named(table, rung), why, WARN)


def best_of_sweeps(table: pd.DataFrame) -> pd.DataFrame:
    """Of runs that differ in the learning rate alone, the best: what a bad rate costs is not noise."""
    if not set(RATES) & set(table):
        return table
    return table.loc[np.log(table["loss"].to_numpy(float)) == _sweeps(table)[1]]


def _sweeps(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(n,) number of the sweep a row is of, and the log of the best loss in it."""
    group = configurations(table, [name for name in (*SIZES, *RECIPE) if name not in RATES]).to_numpy()
    return group, _least(group, np.log(table["loss"].to_numpy(float)))


def _least(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) the smallest value in each row's group."""
    least = np.full(len(values), np.inf)
    np.minimum.at(least, group, values)
    return least[group]
