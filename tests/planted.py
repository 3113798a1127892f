"""Tables with known laws under them."""

import numpy as np
import pandas as pd

from analysis.laws.chinchilla import Chinchilla

TRUE = np.array([1.7, 400.0, 410.0, 0.34, 0.28])


def as_table(**columns) -> pd.DataFrame:
    """Columns as `analysis.tables.runs.load` would give them: rows counted from 1, N and C there."""
    table = pd.DataFrame({"N": 1.0, "D": 1.0, "C": 6.0} | columns).astype(
        dict.fromkeys(("N", "D", "C"), float)
    )
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def grid(sizes: int, budgets: int, *, noise: float = 0.0, seed: int = 0, true=TRUE) -> dict[str, np.ndarray]:
    """Runs of a demo: every size at every number of tokens, 1.5 decades of each."""
    N, D = (
        v.ravel()
        for v in np.meshgrid(np.geomspace(1e5, 3e6, sizes), np.geomspace(1e6, 3e7, budgets), indexing="ij")
    )
    table = {"N": N, "D": D}
    scatter = np.random.default_rng(seed).normal(0, noise, len(N)) if noise else 0.0
    return table | {"loss": Chinchilla().predict(true, table) * np.exp(scatter)}
