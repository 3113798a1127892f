"""The laws of Kaplan et al. 2020 (arXiv:2001.08361): one input at a time, and N and D together.

The laws of one input hold where the others do not bind: L(N) for models trained to convergence, L(D) for
models large enough, L(C) on the frontier. On a grid of runs those are the runs that no run with as much or
less of the input beats: `along` names the input.
"""

import numpy as np

from analysis.law import Law, Tradeoff, complex_step_curvature
from analysis.laws.power import FAINT, STEEPEST, PowerSum, Term


class KaplanN(PowerSum):
    """L(N) = (Nc / N)^aN (eq. 1.1)."""

    name = "kaplan_N"
    inputs = ("N",)
    names = ("N_c", "alpha_N")
    along = "N"
    floor = None
    terms = (Term("N_c", "alpha_N", (("N", 1),), as_unit=True),)


class KaplanD(PowerSum):
    """L(D) = (Dc / D)^aD (eq. 1.2)."""

    name = "kaplan_D"
    inputs = ("D",)
    names = ("D_c", "alpha_D")
    along = "D"
    floor = None
    terms = (Term("D_c", "alpha_D", (("D", 1),), as_unit=True),)


class KaplanC(PowerSum):
    """L(C) = (Cc / C)^aC on the compute frontier (eq. 1.3)."""

    name = "kaplan_C"
    inputs = ("C",)
    names = ("C_c", "alpha_C")
    along = "C"
    floor = None
    terms = (Term("C_c", "alpha_C", (("C", 1),), as_unit=True),)


class KaplanAdditive(PowerSum):
    """L(N, D) = (Nc / N)^aN + (Dc / D)^aD: the form of teaching texts, without a floor."""

    name = "kaplan_additive"
    inputs = ("N", "D")
    names = ("N_c", "alpha_N", "D_c", "alpha_D")
    floor = None
    terms = (
        Term("N_c", "alpha_N", (("N", 1),), as_unit=True),
        Term("D_c", "alpha_D", (("D", 1),), as_unit=True),
    )


class Kaplan(Law):
    """L(N, D) = [(Nc / N)^(aN / aD) + Dc / D]^aD (eq. 1.5).

    Working coordinates (k, aN, q, aD) with k = aN log Nc and q = aD log Dc: the log losses that N = 1 alone
    and D = 1 alone would leave. Then log L = aD log(exp(s) + exp(t)), s = (k - aN log N) / aD and
    t = (q - aD log D) / aD.
    """

    name = "kaplan"
    inputs = ("N", "D")
    names = ("N_c", "alpha_N", "D_c", "alpha_D")

    @property
    def bounds(self) -> np.ndarray:
        # An exponent of D of exactly 0 has no law; a ten-thousandth is flat over any table.
        return np.array([(FAINT, -FAINT), (0.0, STEEPEST), (FAINT, -FAINT), (1e-4, STEEPEST)])

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k, aN, q, aD = (theta[:, p, None] for p in range(4))
        logN, logD = x[:, 0], x[:, 1]
        s, t = (k - aN * logN) / aD, (q - aD * logD) / aD
        top = np.maximum(s.real, t.real)  # a real shift, so that a complex step passes through
        es, et = np.exp(s - top), np.exp(t - top)
        lse = top + np.log(es + et)
        pN, pD = es / (es + et), et / (es + et)
        by_aD = lse - pN * s - pD * q / aD
        return aD * lse, np.stack(
            [pN + 0 * k, -pN * logN, pD + 0 * q, np.broadcast_to(by_aD, pN.shape)], axis=-1
        )

    def curvature(self, theta: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return complex_step_curvature(self, theta, x, weight)

    def working(self, params: np.ndarray) -> np.ndarray:
        Nc, aN, Dc, aD = np.moveaxis(params, -1, 0)
        return np.stack([aN * np.log(Nc), aN, aD * np.log(Dc), aD], axis=-1)

    def published(self, theta: np.ndarray) -> np.ndarray:
        k, aN, q, aD = np.moveaxis(theta, -1, 0)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # no slope: no unit either
            return np.stack([np.exp(k / aN), aN, np.exp(q / aD), aD], axis=-1)

    def rescale(self, theta: np.ndarray, x_unit: np.ndarray, y_unit: float) -> np.ndarray:
        k, aN, q, aD = np.moveaxis(theta, -1, 0)
        return np.stack([k - aN * x_unit[0] - y_unit, aN, q - aD * x_unit[1] - y_unit, aD], axis=-1)

    def guess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # Each exponent by each, at centred inputs; the two terms share the loss at the centre equally.
        exponents = (0.03, 0.08, 0.2, 0.5)
        half = [np.log(0.5) * aD for aD in exponents]
        return np.array([(h, aN, h, aD) for aN in exponents for aD, h in zip(exponents, half, strict=True)])

    def tradeoff(self, params: np.ndarray) -> Tradeoff:
        # The power aD outside is monotone: minimise the bracket, with Nc^g N^-g and Dc D^-1, g = aN / aD.
        k, aN, q, aD = np.moveaxis(self.working(params), -1, 0)
        return Tradeoff(k / aD, aN / aD, q / aD, np.ones_like(aD))
