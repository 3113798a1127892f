"""Laws that tell a model's width from its depth: McLeish et al. 2025 (Gemstones, arXiv:2502.06857).

Width is the size of the residual stream and depth the number of layers: columns `width` and `depth`. N is not
a product of the two, as embeddings and feed-forward sizes follow their own rules: the second law has a term
for it.
"""

import numpy as np

from analysis.laws.power import PowerSum, Term

WIDTH, DEPTH, DATA = (
    Term("A_w", "alpha_w", (("width", 1),)),
    Term("A_d", "alpha_d", (("depth", 1),)),
    Term("B", "beta", (("D", 1),)),
)

# Four exponents make 625 starts, which nearly all end in the same minimum. Of the Gemstones tables each was
# reached from the nearest 10 alone; six times as many leave room for worse tables.
STARTS = 60


class WidthDepthData(PowerSum):
    """L(width, depth, D) = E + A_w / width^alpha_w + A_d / depth^alpha_d + B / D^beta."""

    name = "width_depth_data"
    inputs = ("width", "depth", "D")
    names = ("E", "A_w", "A_d", "B", "alpha_w", "alpha_d", "beta")
    floor = "E"
    terms = (WIDTH, DEPTH, DATA)


class WidthDepthNData(PowerSum):
    """L(width, depth, N, D) = E + A_w / width^alpha_w + A_d / depth^alpha_d + A / N^alpha + B / D^beta."""

    name = "width_depth_N_data"
    inputs = ("width", "depth", "N", "D")
    names = ("E", "A_w", "A_d", "A", "B", "alpha_w", "alpha_d", "alpha", "beta")
    floor = "E"
    terms = (WIDTH, DEPTH, Term("A", "alpha", (("N", 1),)), DATA)

    def guess(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        starts = super().guess(x, y)
        miss = np.abs(self.log_loss(starts, x)[0] - y).sum(axis=1)
        return starts[np.argsort(miss, kind="stable")[:STARTS]]

    def tradeoff(self, params: np.ndarray) -> None:
        """None: at fixed N D, width and depth move along with N, and how is not the law's to say."""
