"""The law of Muennighoff et al. 2023 (arXiv:2305.16264) for runs that see their data more than once."""

import numpy as np

from analysis.law import Law, Tradeoff, complex_step_curvature
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.power import FAINT, STEEPEST

# A decay within a thousandth of an epoch makes repeated tokens worthless, one over a million epochs as good
# as new ones; the most that the paper trained is 9,000. The same for parameters beyond the optimal size.
DECAY = (np.log(1e-3), np.log(1e6))

# The paper's table has minima from (R_D*, R_N*) = (15, 5.3) to (161, 1.4): a grid this dense finds them.
START_DECAYS = (0.5, 1.5, 5.0, 15.0, 50.0, 150.0, 500.0)

# exp(50) times the optimal size is beyond any excess that decays within DECAY: what is capped here has
# already decayed to exactly nothing.
LARGEST_EXCESS = 50.0


class DataConstrained(Law):
    """L(N, D, U) = E + A / N'^alpha + B / D'^beta, with U = `unique_tokens` (section 3).

    D' = U_D (1 + R_D* (1 - exp(-R_D / R_D*))), U_D = min(U, D) tokens seen once and R_D = D / U_D - 1
    repetitions of them. N' likewise, U_N = min(N, N_opt) with N_opt the compute-optimal size for U_D tokens,
    where alpha A / N_opt^alpha = beta B / U_D^beta, and R_N = N / U_N - 1 the excess over it. Runs with R_D =
    R_N = 0 follow Chinchilla, and so do all runs as R_D* and R_N* go to infinity.

    Working coordinates (E, log A, log B, alpha, beta, log R_D*, log R_N*).
    """

    name = "data_constrained"
    inputs = ("N", "D", "unique_tokens")
    names = ("E", "A", "B", "alpha", "beta", "R_D_star", "R_N_star")
    floor = "E"

    @property
    def bounds(self) -> np.ndarray:
        # An exponent of exactly 0 has no optimal size; a ten-thousandth is flat over any table.
        exponent, factor = (1e-4, STEEPEST), (FAINT, -FAINT)
        return np.array([(0.0, np.inf), factor, factor, exponent, exponent, DECAY, DECAY])

    def units(self, x: np.ndarray) -> np.ndarray:
        """D and `unique_tokens` are counted in the same unit, or their ratio would lose its meaning."""
        logN, logD, _ = x.mean(axis=0)
        return np.array([logN, logD, logD])

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        E, a, b, alpha, beta, log_RD, log_RN = (theta[:, p, None] for p in range(7))
        logN, logD = x[:, 0], x[:, 1]
        logU = np.minimum(x[:, 2], logD)
        optimal = (np.log(alpha / beta) + a - b + beta * logU) / alpha
        more_D, _, more_D_by_R = _worth(logD - logU, log_RD)
        more_N, more_N_by_gap, more_N_by_R = _worth(logN - optimal, log_RN)
        # Up to the optimal size, N counts in full: _worth returns the gap itself, and the optimum cancels.
        eff_N, eff_D = optimal + more_N, logU + more_D
        by_optimal = 1 - more_N_by_gap
        term_N, term_D = np.exp(a - alpha * eff_N), np.exp(b - beta * eff_D)
        loss = E + term_N + term_D
        n, d = term_N / loss, term_D / loss
        gradient = (
            1 / loss,
            n * (1 - by_optimal),
            d + n * by_optimal,
            n * (by_optimal * (optimal - 1 / alpha) - eff_N),
            n * by_optimal * (1 / beta - logU) - d * eff_D,
            -beta * d * more_D_by_R,
            -alpha * n * more_N_by_R,
        )
        return np.log(loss), np.stack(gradient, axis=-1)

    def curvature(self, theta: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return complex_step_curvature(self, theta, x, weight)

    def working(self, params: np.ndarray) -> np.ndarray:
        E, A, B, alpha, beta, RD, RN = np.moveaxis(params, -1, 0)
        return np.stack([E, np.log(A), np.log(B), alpha, beta, np.log(RD), np.log(RN)], axis=-1)

    def published(self, theta: np.ndarray) -> np.ndarray:
        E, a, b, alpha, beta, log_RD, log_RN = np.moveaxis(theta, -1, 0)
        with np.errstate(over="ignore"):
            return np.stack([E, np.exp(a), np.exp(b), alpha, beta, np.exp(log_RD), np.exp(log_RN)], axis=-1)

    def rescale(self, theta: np.ndarray, x_unit: np.ndarray, y_unit: float) -> np.ndarray:
        """Raises ValueError for units in which D and `unique_tokens` are not comparable."""
        if x_unit[1] != x_unit[2]:
            raise ValueError(f"{self.name}: D and unique_tokens have to be counted in the same unit")
        out = np.array(theta)
        out[..., 0] *= np.exp(-y_unit)
        out[..., 1] -= theta[..., 3] * x_unit[0] + y_unit
        out[..., 2] -= theta[..., 4] * x_unit[1] + y_unit
        return out

    def guess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        base, starts = Chinchilla(), []
        logU = np.minimum(x[:, 2], x[:, 1])
        for RD in np.log(START_DECAYS):
            effective = logU + _worth(x[:, 1] - logU, RD)[0]
            seen = np.stack([x[:, 0], effective], axis=-1)
            bases = base.guess(seen, y)
            miss = np.abs(base.log_loss(bases, seen)[0] - y).sum(axis=1)
            starts += [(*bases[miss.argmin()], RD, RN) for RN in np.log(START_DECAYS)]
        return np.array(starts)

    def tradeoff(self, params: np.ndarray) -> Tradeoff | None:
        """That of runs whose data is all new: Chinchilla's."""
        return Chinchilla().tradeoff(params[..., :5])

    def frontier(self, N: np.ndarray, D: np.ndarray, C: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of compute-optimal runs: on data that is all new."""
        return {"N": N, "D": D, "unique_tokens": D}


def _worth(gap: np.ndarray, log_R: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log(1 + R* (1 - exp(-R / R*))) for R = exp(gap) - 1, and its derivatives by `gap` and by log R*.

    Where the gap is negative there is nothing in excess: the gap itself.
    """
    within = np.real(gap) <= 0
    excess = np.exp(np.where(within, 0.0, np.where(np.real(gap) < LARGEST_EXCESS, gap, LARGEST_EXCESS))) - 1
    R = np.exp(log_R)
    lost = np.expm1(-excess / R)
    kept, worth = 1 + lost, -R * lost
    by_gap = kept * (1 + excess) / (1 + worth)
    by_R = (worth - kept * excess) / (1 + worth)
    return np.where(within, gap, np.log1p(worth)), np.where(within, 1.0, by_gap), by_R
