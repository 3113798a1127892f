"""What is said of the cost of architectures, beside what was measured by turns: experiments.efficiency.

Ratios are taken within a round, in which everyone had a turn at about the same time, and averaged over
rounds in their logarithm; intervals are Student's over rounds. What is counted has no interval.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

CAUSAL, PREFIX, REFERENCE = "causal_decoder", "prefix_decoder", "encoder_decoder"
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval, which is the ratio itself where it is counted."""

    value: float
    low: float
    high: float

    @classmethod
    def of_rounds(cls, logs: Any) -> "Ratio":
        """From (rounds,) logarithms, at least two."""
        logs = np.asarray(logs, float)
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
        middle = logs.mean()
        return cls(*(float(np.exp(end)) for end in (middle, middle - half, middle + half)))

    @classmethod
    def counted(cls, value: float) -> "Ratio":
        return cls(value, value, value)


@dataclass(frozen=True)
class Claim:
    """says: the sentence. range: the ratios under which it is true. what: which ratio was found, in words."""

    says: str
    what: str
    range: tuple[float, float]
    found: Ratio

    @property
    def verdict(self) -> str:
        low, high = self.range
        if low <= self.found.low and self.found.high <= high:
            return "holds"
        return "does not hold" if self.found.high < low or self.found.low > high else "not decided"


def claims(splits: Rows, growth: Rows) -> list[Claim]:
    """The claims, each with what was found.

    splits: rows of one window and several prefixes, every architecture at equal N and equal C. growth: rows
    of several windows, half of each a prefix, the causal decoder and the reference at equal N.
    """
    less = "a decoder-only model computes less than an encoder-decoder"
    small = "a decoder-only model needs about 40 % less cache"
    use = "a decoder-only model uses the machine 15 to 20 % better"
    found = [
        Claim(less, "counted training FLOPs, equal N", (0, 1), _counted(splits, "flops", "N")),
        Claim(less, "seconds a step, equal N", (0, 1), measured(splits, "N")),
        Claim(less, "seconds a step, equal C", (0, 1), measured(splits, "C")),
    ]
    found += [
        Claim(small, f"bytes a sequence, equal {match}", (0.5, 0.7), _counted(splits, "cache", match))
        for match in ("N", "C")
    ]
    found += [
        Claim(use, f"FLOP/s, equal {match}", (1.15, 1.2), measured(splits, match, by_flops=True))
        for match in ("N", "C")
    ]
    attention = "attention costs Le^2 + Ld^2 against L^2: half, at Le = Ld"
    pairs = _counted_growth(growth)
    found += [
        Claim(attention, "FLOPs that grow with the window, a block", (0.45, 0.55), pairs),
        Claim(attention, "seconds that grow with the window, a block", (0.45, 0.55), growing(growth)),
        Claim(
            "the prefix decoder's cost grows with the prefix, in a window of one length",
            "seconds over the causal decoder's, longest prefix against shortest",
            (1, math.inf),
            prefixed(splits),
        ),
    ]
    return found


def measured(rows: Rows, match: str, *, by_flops: bool = False) -> Ratio:
    """Seconds of the causal decoder over the reference's, geometric mean over the splits of each round; or
    its FLOP/s over theirs."""
    logs = []
    for causal, reference in _pairs(rows, match):
        log = _logs(causal) - _logs(reference)
        logs.append(math.log(causal["flops"] / reference["flops"]) - log if by_flops else log)
    return Ratio.of_rounds(np.mean(logs, axis=0))


def prefixed(rows: Rows) -> Ratio:
    """Seconds of the prefix decoder over the causal decoder's, at equal N, where both have one shape: this
    ratio at the longest prefix over that at the shortest."""
    prefixes = sorted({row["prefix"] for row in rows})
    by = {(row["architecture"], row["prefix"]): row for row in rows if row["match"] == "N"}

    def over(prefix: int) -> np.ndarray:
        return _logs(by[PREFIX, prefix]) - _logs(by[CAUSAL, prefix])

    return Ratio.of_rounds(over(prefixes[-1]) - over(prefixes[0]))


def growing(rows: Rows) -> Ratio:
    """Slope of seconds a token over the window, the reference's over the causal decoder's, each of one block.

    What a token takes whatever the window falls out; what is left is attention. The slopes of single rounds
    are noise, so their means are compared, with the jackknife's interval; none where a slope is not positive.
    """
    reference, causal = (_slopes(rows, name, "seconds") for name in (REFERENCE, CAUSAL))
    n = len(causal)
    without = np.array([[np.delete(its, k).mean() for k in range(n)] for its in (reference, causal)])
    if min(without.min(), reference.mean(), causal.mean()) <= 0:
        return Ratio(math.nan, math.nan, math.nan)
    whole = math.log(reference.mean() / causal.mean())
    return Ratio.of_rounds(n * whole - (n - 1) * np.log(without[0] / without[1]))


def _counted_growth(rows: Rows) -> Ratio:
    found = [float(_slopes(rows, name, "flops")[0]) for name in (REFERENCE, CAUSAL)]
    return Ratio.counted(found[0] / found[1])


def _slopes(rows: Rows, architecture: str, key: str) -> np.ndarray:
    """(rounds,) least-squares slopes over the window of what a token takes in one block a token passes."""
    its = [row for row in rows if row["architecture"] == architecture]
    windows = [row["prefix"] + row["target"] for row in its]
    if key == "seconds":
        each = [np.asarray(row["seconds"]) / row["rows"] / T for row, T in zip(its, windows, strict=True)]
    else:
        each = [np.array([row[key] / T]) for row, T in zip(its, windows, strict=True)]
    return np.polyfit(windows, np.array(each) / its[0]["depth"], 1)[0]


def _counted(rows: Rows, key: str, match: str) -> Ratio:
    """Of what is counted, from the least to the largest ratio over the splits."""
    ratios = [causal[key] / reference[key] for causal, reference in _pairs(rows, match)]
    return Ratio(float(np.exp(np.mean(np.log(ratios)))), min(ratios), max(ratios))


def _pairs(rows: Rows, match: str) -> Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The causal decoder and the reference of each split."""
    reference = {row["prefix"]: row for row in rows if row["architecture"] == REFERENCE}
    for row in rows:
        if (row["architecture"], row["match"]) == (CAUSAL, match):
            yield row, reference[row["prefix"]]


def _logs(row: Mapping[str, Any]) -> np.ndarray:
    return np.log(np.asarray(row["seconds"], float))


def speeds(row: Mapping[str, Any], peak: float) -> dict[str, Ratio]:
    """tokens a second and utilisation, the share of `peak` FLOP/s that its counted FLOPs come to."""
    seconds = -_logs(row)
    tokens, work = row["rows"] * (row["prefix"] + row["target"]), row["rows"] * row["flops"]
    return {
        "tokens_per_second": Ratio.of_rounds(seconds + math.log(tokens)),
        "utilisation": Ratio.of_rounds(seconds + math.log(work / peak)),
    }
