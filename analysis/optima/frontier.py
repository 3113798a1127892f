"""The compute frontier: what a FLOP buys, measured and fitted, in counted FLOPs rather than 6 N D.

N parameters, D tokens, C training FLOPs, loss in nats per token.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from analysis.law import Fit


@dataclass(frozen=True)
class Cost:
    """Training FLOPs per token as a function of N, for one architecture.

    With width growing like depth, N grows like width cubed: weights cost FLOPs like N, attention scores like
    N^(2/3) (depth x width at a fixed window), the output head like N^(1/3). The three coefficients are fitted
    to the counted FLOPs, so small models, where 6 N D leaves out most of the cost, are priced as executed.
    """

    weights: float
    attention: float
    head: float
    error: float
    """Largest relative error over the rungs it was fitted on."""

    @classmethod
    def fitted(cls, runs: pd.DataFrame) -> "Cost":
        """Fit to the columns N, D and C of runs of one architecture. Raises ValueError without any."""
        if runs.empty:
            raise ValueError("no run to take the cost of a token from")
        rungs = (runs.C / runs.D).groupby(runs.N).median()
        N, per_token = rungs.index.to_numpy(float), rungs.to_numpy(float)
        # Relative residuals: each rung counts alike, however small.
        coefficients, _ = nnls(_terms(N) / per_token[:, None], np.ones(len(N)))
        error = np.abs(_terms(N) @ coefficients / per_token - 1).max()
        weights, attention, head = map(float, coefficients)
        return cls(weights, attention, head, float(error))

    def per_token(self, N: np.ndarray) -> np.ndarray:
        """FLOPs per training token, (n,) for (n,) parameter counts."""
        return _terms(np.asarray(N, float)) @ [self.weights, self.attention, self.head]


def _terms(N: np.ndarray) -> np.ndarray:
    return np.stack([N, N ** (2 / 3), N ** (1 / 3)], axis=-1)


# Grid for the frontier: 2.3 % steps in N, refined by a parabola to far below any interval reported here,
# over a span wide enough to follow the optimum a few decades beyond the largest rung.
STEPS = 800
REACH = 1e4


def frontier(fit: Fit, cost: Cost, C: np.ndarray) -> pd.DataFrame:
    """The compute-optimal N, D and predicted loss at each budget of C, (n,) FLOPs: columns C, N, D, loss.

    Minimises the fitted L(N, C / cost(N)) over N (Hoffmann et al. 2022, approach 3, with the counted cost in
    place of 6 N). A budget without an inner minimum has NaN.
    """
    C = np.asarray(C, float)
    centre = np.log((C / 6) ** 0.5)[:, None]  # N = D at 6 N D = C: the optimum is within REACH of it
    x = centre + np.linspace(-np.log(REACH), np.log(REACH), STEPS)
    loss = fit.predict(surface(np.exp(x), C[:, None], cost)).reshape(x.shape)
    best = loss.argmin(axis=1)
    inner = (best > 0) & (best < STEPS - 1)
    row, at = np.arange(len(C)), best.clip(1, STEPS - 2)
    left, mid, right = (loss[row, at + k] for k in (-1, 0, 1))
    curvature = left - 2 * mid + right
    shift = np.divide((left - right) / 2, curvature, out=np.zeros_like(mid), where=curvature > 0)
    shift = shift.clip(-1, 1)  # where the loss is flat to rounding, the parabola points anywhere
    N = np.where(inner, np.exp(x[row, at] + shift * (x[0, 1] - x[0, 0])), np.nan)
    D = C / cost.per_token(N)
    out = pd.DataFrame({"C": C, "N": N, "D": D, "loss": np.nan})
    out.loc[inner, "loss"] = fit.predict(out.loc[inner]) if inner.any() else []
    return out


def surface(N: np.ndarray, C: np.ndarray | float, cost: Cost) -> pd.DataFrame:
    """The points (N, D, C) with D bought by C, flattened, ready for `Fit.predict`."""
    N, C = (np.ravel(v) for v in np.broadcast_arrays(np.asarray(N, float), np.asarray(C, float)))
    return pd.DataFrame({"N": N, "D": C / cost.per_token(N), "C": C})


def envelope(curves: list[pd.DataFrame], C: np.ndarray) -> np.ndarray:
    """Approach 1: the lowest loss any learning curve (columns flops, loss) shows at each C, (n,).

    Between two evaluations a curve is read off in log C; outside its own range it says nothing. NaN where no
    curve reaches.
    """
    lowest = np.full(len(C), np.inf)
    for curve in curves:
        if curve.empty:
            continue
        loss = np.interp(np.log(C), np.log(curve.flops), curve.loss, left=np.inf, right=np.inf)
        lowest = np.minimum(lowest, loss)
    return np.where(np.isfinite(lowest), lowest, np.nan)
