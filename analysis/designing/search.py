"""Which runs to add: greedy choice and exchange for the variance of one number (a c-optimal design).

Shapes: S parameter vectors at which the law is linearised, K candidate runs, P parameters. Everything is in
units of the noise of one run: a run with gradient x (P,) of its log loss adds x x' to the information.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.designing.fisher import SINGULAR, information, variance

# Below this gain in the log variance a swap is rounding, and could be swapped back for ever.
GAIN = 1e-9

# Powers of the cost that greedy starts divide the gain by: 0 finds what few dear runs can do, 1 what many
# cheap ones can.
POWERS = (0.0, 0.5, 1.0)

# Designs of more distinct runs than these give up one run at a time only: of pairs there would be hundreds.
PAIRS = 24


@dataclass(frozen=True)
class Choice:
    """What is known at S parameter vectors, and what each candidate would add."""

    known: np.ndarray
    """(S, P, P) information of the runs that exist."""
    gradients: np.ndarray
    """(S, K, P) of the candidates' log losses."""
    target: np.ndarray
    """(S, P) gradient of the number that is asked for."""
    cost: np.ndarray
    """(K,) FLOPs of each candidate."""

    def at(self, some: Any) -> Choice:
        """The same choice at some of the parameter vectors: a mask (S,), or their numbers."""
        return Choice(self.known[some], self.gradients[some], self.target[some], self.cost)

    def variance(self, counts: np.ndarray | float) -> np.ndarray:
        """(S,) of the target, once candidate k has been run counts[k] times."""
        return variance(self.known + information(self.gradients, counts), self.target)

    def best(self, *, budget: float, count: int, replicates: int) -> np.ndarray:
        """(K,) how often to run each candidate: at most `count` runs and `budget` FLOPs in all.

        Greedy starts, by gain per FLOP, per run and in between, each improved by exchange: a run or two are
        given up for what is then the best that the money allows, while that gains (Fedorov 1972; Atkinson,
        Donev & Tobias 2007, chapter 12). The best of the starts.
        """
        limits = (budget, count, replicates)
        found = []
        for power in POWERS:
            counts = self.filled(np.zeros(len(self.cost), dtype=int), *limits, power)
            while (better := self._exchanged(counts, *limits)) is not None:
                counts = better
            found.append((self._now_and_then(counts)[0], counts))
        return min(found, key=lambda pair: pair[0])[1]

    def order(self, counts: np.ndarray) -> list[int]:
        """The chosen runs, the one that tells most per FLOP first."""
        left, out = counts.copy(), []
        while left.any():
            now, then = self._now_and_then(counts - left)
            out.append(int(np.where(left > 0, (now - then) / self.cost, -np.inf).argmax()))
            left[out[-1]] -= 1
        return out

    def _now_and_then(self, counts: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean over S of the log variance, and (K,) what one more of each candidate makes of it.

        The mean of the log is the Bayesian criterion of Chaloner & Verdinelli (1995, section 4): ratios of
        variances count, so that the few draws with large ones do not decide alone. The ridge lets the search
        start from nothing, and is no part of what is reported.
        """
        told = self.known + information(self.gradients, counts)
        ridge = SINGULAR * np.einsum("spp->sp", self.known + information(self.gradients))
        inverse = np.linalg.inv(told + ridge[:, :, None] * np.eye(ridge.shape[1]))
        along = np.einsum("spq,sq->sp", inverse, self.target)
        now = (along * self.target).sum(axis=1)
        moved = np.einsum("skp,sp->sk", self.gradients, along)
        own = np.einsum("skp,skp->sk", self.gradients @ inverse, self.gradients)
        tiny = np.finfo(float).tiny
        then = np.maximum(now[:, None] - moved**2 / (1 + own), tiny)
        return float(np.log(np.maximum(now, tiny)).mean()), np.log(then).mean(axis=0)

    def filled(
        self, counts: np.ndarray, budget: float, count: int, replicates: int | np.ndarray, power: float
    ) -> np.ndarray:
        """With the best run added, by gain over cost^power, while there is one: limits as of `best`.

        replicates may be an array (K,): how often each candidate may be run."""
        counts = counts.copy()
        while counts.sum() < count:
            fits = (self.cost <= budget - counts @ self.cost) & (counts < replicates)
            if not fits.any():
                break
            now, then = self._now_and_then(counts)
            counts[np.where(fits, (now - then) / self.cost**power, -np.inf).argmax()] += 1
        return counts

    def _exchanged(self, counts: np.ndarray, budget: float, count: int, replicates: int) -> np.ndarray | None:
        """The first better design with one or two runs given up for others; None when there is none."""
        now = self._now_and_then(counts)[0]
        chosen = np.flatnonzero(counts)
        twice = np.repeat(chosen, np.minimum(counts[chosen], 2)) if len(chosen) <= PAIRS else chosen[:0]
        for dropped in (*((k,) for k in chosen), *dict.fromkeys(itertools.combinations(twice, 2))):
            fewer = counts - np.bincount(dropped, minlength=len(counts))
            trial = self.filled(fewer, budget, count, replicates, 0.0)
            if self._now_and_then(trial)[0] < now - GAIN:
                return trial
        return None
