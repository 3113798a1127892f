"""The law of Gadre et al. 2024 (arXiv:2403.08540) for models trained beyond the compute-optimal."""

import numpy as np

from analysis.law import Tradeoff
from analysis.laws.power import PowerSum, Term


class Overtraining(PowerSum):
    """L(N, D, C) = E + (a M^eta + b M^-eta) C^-eta, with M = D / N tokens per parameter (eq. 4).

    Runs with equal M follow power laws in C that share their exponent. Where C = 6 N D this is Chinchilla's
    law with alpha = beta = 2 eta, A = a 6^-eta and B = b 6^-eta.
    """

    name = "overtraining"
    inputs = ("N", "D", "C")
    names = ("E", "a", "b", "eta")
    floor = "E"
    terms = (
        Term("a", "eta", (("N", 1), ("D", -1), ("C", 1))),
        Term("b", "eta", (("N", -1), ("D", 1), ("C", 1))),
    )

    def tradeoff(self, params: np.ndarray) -> Tradeoff:
        # At a fixed product N D = P, a M^eta = a P^eta N^(-2 eta) and b M^-eta = b P^eta D^(-2 eta).
        _, a, b, eta = np.moveaxis(params, -1, 0)
        with np.errstate(divide="ignore"):  # a term that vanished
            return Tradeoff(np.log(a), 2 * eta, np.log(b), 2 * eta)
