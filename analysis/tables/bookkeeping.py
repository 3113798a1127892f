"""Checks of what a table says about its runs: how they ended, what is told twice, which schedule they had."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.tables.columns import one_line
from analysis.tables.flags import DROP, WARN, Flag, named, optional
from analysis.tables.replicates import SIZES, run_column, run_numbers, seed_noise


def status(table: pd.DataFrame) -> Iterator[Flag]:
    ended = table["status"].astype(object).where(table["status"].notna(), "missing").map(one_line)
    for value in sorted(set(ended) - {"finished"}):
        kind = "diverged" if value == "diverged" else "unfinished"
        yield Flag(kind, named(table, ended == value), f"status {value}", DROP)


def duplicates(table: pd.DataFrame) -> Iterator[Flag]:
    """Rows that tell of one run twice: the same run, sizes and loss; or the same in all columns."""
    run = run_column(table)
    told = (run, *SIZES, "loss", "step", "seed") if run else tuple(table.columns)
    keys = table[[name for name in told if name in table]]
    text = {name: pd.Series(keys[name]).map(str) for name in keys if keys[name].dtype == object}
    twice = keys.assign(**text).duplicated()
    yield Flag("duplicate", named(table, twice), "the same as an earlier row", DROP)


# A short warm-up takes a few per cent of a run. Kaplan et al.'s took a fixed 3,000 steps, most of what a
# small run had, which moved their exponent (Porian et al. 2024).
LONG_WARMUP = 0.2


def warm_up(table: pd.DataFrame) -> Iterator[Flag]:
    steps = ("step", "warmup_steps")
    spent, whole = steps if set(steps) <= set(table) else ("D", "warmup_tokens")
    at, warm = optional(table, spent), optional(table, whole)
    within = (at <= warm) & (warm > 0)
    yield Flag("warm-up", named(table, within), "within the learning-rate warm-up", DROP)
    long = ~within & (warm > LONG_WARMUP * at)
    why = f"the learning-rate warm-up took more than {LONG_WARMUP:.0%} of the training so far"
    yield Flag("warm-up", named(table, long), why, WARN)


# A cosine longer than the run by a quarter costs loss that shows (Hoffmann et al. 2022, appendix B). Past the
# schedule's end the rate stays where it decayed to; up to 5 % of that may be rounding to whole steps.
STOPPED_EARLY, WENT_ON = 1 / 1.25, 1.05


def schedule(table: pd.DataFrame) -> Iterator[Flag]:
    moving = np.ones(len(table), dtype=bool)
    if "schedule" in table:
        moving = ~np.array(["constant" in str(name).casefold() for name in table["schedule"]])
    if "schedule_tokens" in table:
        D, made_for = optional(table, "D"), optional(table, "schedule_tokens")
        moving &= made_for > 0
        why = "read off before the learning-rate schedule had ended: not what a run of this D reaches"
        yield Flag("schedule", named(table, moving & (D < STOPPED_EARLY * made_for)), why, WARN)
        why = "trained on past the end of the learning-rate schedule"
        yield Flag("schedule", named(table, moving & (D > WENT_ON * made_for)), why, WARN)
    else:
        last = table["D"].groupby(run_numbers(table)).transform("max")
        why = "checkpoints before their run's end: unless each was decayed, not what a run of this D reaches"
        yield Flag("schedule", named(table, moving & (table["D"] < last)), why, WARN)


def checkpoints(table: pd.DataFrame) -> Iterator[Flag]:
    of, rows = np.unique(run_numbers(table), return_inverse=True, return_counts=True)[1:]
    shared = (rows > 1)[of]
    why = (
        f"{shared.sum()} rows are of {(rows > 1).sum()} runs and not independent: "
        f"fit with cluster={run_column(table)}"
    )
    yield Flag("checkpoints", named(table, shared), why, WARN)


def repeated(table: pd.DataFrame) -> Iterator[Flag]:
    noise = seed_noise(table)
    if noise is not None:
        low, high = noise.interval95
        why = (
            f"{len(noise.rows)} runs of {noise.groups} configurations differ in the seed alone: "
            f"log loss scatters by {noise.sigma:.3g} ({low:.3g} to {high:.3g})"
        )
        yield Flag("repeats", noise.rows, why, WARN)


# Models in use were trained on one to some 2,000 tokens a parameter.
RATIOS = (1.0, 10_000.0)


def ratio(table: pd.DataFrame) -> Iterator[Flag]:
    tokens = table["D"].to_numpy(float) / table["N"].to_numpy(float)
    low, high = RATIOS
    why = "fewer than one token a parameter: such runs say little of trained models, and weigh on B and beta"
    yield Flag("ratio", named(table, tokens < low), why, WARN)
    yield Flag("ratio", named(table, tokens > high), f"more than {high:,.0f} tokens a parameter", WARN)


def embeddings(table: pd.DataFrame) -> Iterator[Flag]:
    few = table["N"].to_numpy(float) < 0.5 * optional(table, "N_total")
    why = (
        "N is less than half of all parameters: the exponents hang on whether embeddings and head are "
        "counted (Porian et al. 2024)"
    )
    yield Flag("embeddings", named(table, few), why, WARN)


def units(table: pd.DataFrame) -> Iterator[Flag]:
    numbers = {name: table[name].to_numpy(float) for name in (*SIZES, "loss") if name in table}
    for name, least in (("N", 1e3), ("D", 1e4)):
        if name in numbers and (most := numbers[name].max()) < least:
            why = f"no {name} above {most:g}: is it counted in millions or billions?"
            yield Flag("units", table.index.tolist(), why, WARN)
    # No vocabulary has the 5e8 entries that a loss of 20 nats would be a guess over.
    if "loss" in numbers and np.median(numbers["loss"]) > 20:
        why = "losses above 20 nats a token: are they perplexities?"
        yield Flag("units", table.index.tolist(), why, WARN)
    if set(SIZES) <= set(numbers):
        # Heads and attention make the C of small models up to some three times 6 N D.
        each = numbers["C"] / (6 * numbers["N"] * numbers["D"])
        odd = (each < 0.2) | (each > 5)
        yield Flag("units", named(table, odd), "C is not within a factor 5 of 6 N D", WARN)
