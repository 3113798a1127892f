"""A fitted E beside the truth: found where the runs tend to it, and denied where they do not."""

import numpy as np
import pandas as pd
import pytest

from analysis.laws.chinchilla import Chinchilla
from analysis.truth import truths

KNOBS = {
    "criterion": "huber_log",
    "delta": 1e-3,
    "bootstrap": 100,
    "interval": "auto",
    "seed": 0,
    "profile": False,
}
E, ALPHA, BETA = 0.7, 0.5, 1 / 3


def runs(architecture: str, exact: float) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e3, 1e5, 6), np.geomspace(2e5, 4e6, 5)))
    loss = (E + 8 * N**-ALPHA + 30 * D**-BETA) * np.exp(0.003 * rng.standard_normal(len(N)))
    return pd.DataFrame({"architecture": architecture, "N": N, "D": D, "loss": loss, "bayes_loss": exact})


def test_the_interval_holds_a_true_e_and_not_a_false_one():
    table = pd.concat([runs("true", E), runs("false", 0.9 * E)], ignore_index=True)
    false, true = truths(table, Chinchilla(), 0.5, **KNOBS)
    assert true.interval95[0] <= E <= true.interval95[1]
    assert true.verdict == "the interval holds it"
    assert false.verdict == "the interval does not hold it"
    assert true.theory == {"alpha": 0.5, "beta": pytest.approx(1 / 3)}
    for name, truth in (("alpha", ALPHA), ("beta", BETA)):
        value, (low, high) = true.exponents[name]
        assert low < truth < high
        assert abs(value - truth) < 0.1
    assert "exactly 0.7000" in true.said()


def test_runs_of_several_truths_are_refused():
    table = pd.concat([runs("one", 0.7), runs("one", 0.71)], ignore_index=True)
    with pytest.raises(ValueError, match="one: 2 Bayes losses"):
        truths(table, Chinchilla(), 0.5, **KNOBS)
