"""The parametric law of Hoffmann et al. 2022 (arXiv:2203.15556, eq. 2)."""

from analysis.laws.power import PowerSum, Term


class Chinchilla(PowerSum):
    """L(N, D) = E + A / N^alpha + B / D^beta."""

    name = "chinchilla"
    inputs = ("N", "D")
    names = ("E", "A", "B", "alpha", "beta")
    floor = "E"
    terms = (Term("A", "alpha", (("N", 1),)), Term("B", "beta", (("D", 1),)))


class SaturatingC(PowerSum):
    """L(C) = E + A / C^alpha on the compute frontier: a power law with a floor."""

    name = "saturating_C"
    inputs = ("C",)
    names = ("E", "A", "alpha")
    along = "C"
    floor = "E"
    terms = (Term("A", "alpha", (("C", 1),)),)
