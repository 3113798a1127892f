"""Sums of power laws, the family nearly every scaling law belongs to; and the optimum of two such terms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.law import Law, Tradeoff

# A term below a millionth of the loss cannot be told from nothing: no table is that exact. The same span
# upwards leaves room for a floor that dominates everything.
FAINT = np.log(1e-6)

# Measured exponents lie between 0.05 (Kaplan 2020) and 0.6 (Gemstones); 5 is far beyond any of them, and
# keeps the published factor exp(exponent * log N) within a float.
STEEPEST = 5.0
START_EXPONENTS = (0.05, 0.12, 0.3, 0.7, 1.6)


@dataclass(frozen=True)
class Term:
    """factor * prod_j input_j^(-power * sign). With `as_unit` it is published as (factor / input)^power."""

    factor: str
    power: str
    signs: tuple[tuple[str, int], ...]
    as_unit: bool = False


class PowerSum(Law):
    """L = floor + sum of terms. Working coordinates: the floor itself, log factors, exponents.

    Subclasses set `name`, `inputs`, `names`, `floor` (the floor's name or None) and `terms`. In logarithms a
    term is linear in its coordinates, so that gradient and curvature are those of log-sum-exp; the floor
    stays linear, so that 0 is a point of its range and not infinitely far away.
    """

    floor: str | None
    terms: Sequence[Term]

    def _at(self, name: str) -> int:
        return self.names.index(name)

    @property
    def bounds(self) -> np.ndarray:
        limit = {self.floor: (0.0, np.inf)}
        for term in self.terms:
            limit |= {term.factor: (FAINT, -FAINT), term.power: (0.0, STEEPEST)}
        return np.array([limit[name] for name in self.names])

    def _design(self, x: np.ndarray) -> list[np.ndarray]:
        """For each term the (n, P) matrix M with log term = theta @ M.T."""
        out = []
        for term in self.terms:
            M = np.zeros((len(x), len(self.names)))
            M[:, self._at(term.factor)] = 1.0
            for name, sign in term.signs:
                M[:, self._at(term.power)] -= sign * x[:, self.inputs.index(name)]
            out.append(M)
        return out

    def _shares(self, theta: np.ndarray, design: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Loss (S, n) and each term's share of it."""
        values = [np.exp(theta @ M.T) for M in design]
        loss = sum(values[1:], values[0])
        if self.floor is not None:
            loss = loss + theta[:, self._at(self.floor), None]
        return loss, [v / loss for v in values]

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        design = self._design(x)
        loss, shares = self._shares(theta, design)
        return np.log(loss), self._gradient(loss, shares, design)

    def _gradient(self, loss: np.ndarray, shares: list[np.ndarray], design: list[np.ndarray]) -> np.ndarray:
        J = np.zeros((*loss.shape, len(self.names)), dtype=loss.dtype)
        for share, M in zip(shares, design, strict=True):
            for p in np.flatnonzero(M.any(axis=0)):
                J[:, :, p] += share * M[:, p]
        if self.floor is not None:
            J[:, :, self._at(self.floor)] = 1 / loss
        return J

    def curvature(self, theta: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        # d2 log L = sum_k share_k M_k M_k' - (d log L)(d log L)'; the floor is linear and adds nothing.
        design = self._design(x)
        loss, shares = self._shares(theta, design)
        J = self._gradient(loss, shares, design)
        out = -np.swapaxes(J * weight[..., None], 1, 2) @ J
        P = len(self.names)
        for share, M in zip(shares, design, strict=True):
            pairs = (M[:, :, None] * M[:, None, :]).reshape(len(x), P * P)
            out += ((weight * share) @ pairs).reshape(-1, P, P)
        return out

    def working(self, params: np.ndarray) -> np.ndarray:
        theta = np.array(params, dtype=np.result_type(params, float))
        for term in self.terms:
            log = np.log(theta[..., self._at(term.factor)])
            theta[..., self._at(term.factor)] = (
                log * params[..., self._at(term.power)] if term.as_unit else log
            )
        return theta

    def published(self, theta: np.ndarray) -> np.ndarray:
        params = np.array(theta, dtype=np.result_type(theta, float))
        for term in self.terms:
            log = theta[..., self._at(term.factor)]
            if term.as_unit:
                with np.errstate(divide="ignore", invalid="ignore"):  # no slope: no unit either
                    log = log / theta[..., self._at(term.power)]
            with np.errstate(over="ignore"):
                params[..., self._at(term.factor)] = np.exp(log)
        return params

    def rescale(self, theta: np.ndarray, x_unit: np.ndarray, y_unit: float) -> np.ndarray:
        out = np.array(theta)
        for term in self.terms:
            shift = sum(sign * x_unit[self.inputs.index(name)] for name, sign in term.signs)
            out[..., self._at(term.factor)] -= theta[..., self._at(term.power)] * shift + y_unit
        if self.floor is not None:
            out[..., self._at(self.floor)] *= np.exp(-y_unit)
        return out

    def guess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # At given exponents the rest is linear: variable projection (Golub & Pereyra 1973) at each point of a
        # grid of exponents, on relative residuals, what came out negative lifted to a small share.
        powers = list(dict.fromkeys(term.power for term in self.terms))
        starts = []
        for exponents in itertools.product(START_EXPONENTS, repeat=len(powers)):
            theta = np.zeros(len(self.names))
            theta[[self._at(p) for p in powers]] = exponents
            columns = [np.exp(M @ theta) for M in self._design(x)]
            if self.floor is not None:
                columns.append(np.ones(len(x)))
            weighted = np.stack(columns, axis=-1) * np.exp(-y)[:, None]
            share = np.linalg.lstsq(weighted, np.ones(len(x)), rcond=1e-10)[0]
            share = np.maximum(share, 1e-3)
            for term, value in zip(self.terms, share, strict=False):
                theta[self._at(term.factor)] = np.log(value)
            if self.floor is not None:
                theta[self._at(self.floor)] = share[-1]
            starts.append(theta)
        return np.array(starts)

    def tradeoff(self, params: np.ndarray) -> Tradeoff | None:
        by_input = {term.signs: term for term in self.terms}
        N, D = by_input.get((("N", 1),)), by_input.get((("D", 1),))
        if N is None or D is None:
            return None
        theta = self.working(params)
        return Tradeoff(
            *(theta[..., self._at(name)] for term in (N, D) for name in (term.factor, term.power))
        )
