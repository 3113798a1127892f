"""Seconds to fit a law."""

import time
from statistics import median
from typing import Any

import numpy as np

from analysis.laws.chinchilla import Chinchilla
from analysis.solver.solve import solve

LAW = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}  # near Hoffmann et al. 2022, table A.3
NOISE = 0.01  # of log loss


def fits(rounds: int, resamples: int) -> list[dict[str, Any]]:
    """Seconds to fit Chinchilla's law to 240 rows of a known law with noise, without and with intervals."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e5, 3e6, 12), np.geomspace(1e6, 3e7, 20)))
    exact = Chinchilla().predict(LAW, {"N": N, "D": D})
    table = {"N": N, "D": D, "loss": exact * np.exp(np.random.default_rng(0).normal(0, NOISE, len(N)))}
    each = {0: [], resamples: []}
    for _ in range(rounds):
        for bootstrap, seconds in each.items():
            start = time.perf_counter()
            solve(Chinchilla(), table, delta=1e-3, bootstrap=bootstrap, seed=0)
            seconds.append(time.perf_counter() - start)
    return [{"rows": len(N), "bootstrap": b, "seconds": median(s), "rounds": s} for b, s in each.items()]
