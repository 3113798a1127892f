"""What a bad balance of N and D costs: the minimum as found by search, and the command that tells it."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import call

from analysis.api import compare
from analysis.comparing.valleys import valleys
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import Kaplan
from experiments.compare import main

LAWS = {"flat": (1.0, 50.0, 80.0, 0.3, 0.35), "steep": (1.0, 2000.0, 3000.0, 0.6, 0.65)}
FACTOR, C = 4.0, 1e12


def runs() -> pd.DataFrame:
    parts = []
    for name, (E, A, B, alpha, beta) in LAWS.items():
        N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e4, 1e6, 5), np.geomspace(1e5, 1e7, 5)))
        loss = E + A * N**-alpha + B * D**-beta
        parts.append(pd.DataFrame({"architecture": name, "N": N, "D": D, "C": 6 * N * D, "loss": loss}))
    return pd.concat(parts, ignore_index=True)


def searched(E: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    N = np.geomspace(1e2, 1e9, 200_001)

    def loss(N):
        return E + A * N**-alpha + B * (C / 6 / N) ** -beta

    best = N[loss(N).argmin()]
    return best, max(loss(best * FACTOR), loss(best / FACTOR)) - loss(best)


def test_a_valley_is_the_laws_own():
    found = compare(runs(), Chinchilla(), bootstrap=20, simulations=0, points=())
    made = {one.group: one for one in valleys(found, runs(), budgets=[C], factor=FACTOR)}
    assert list(made) == ["flat", "steep"]
    for name, law in LAWS.items():
        best, excess = searched(*law)
        assert made[name].N_opt == pytest.approx(best, rel=1e-2)
        assert made[name].excess == pytest.approx(excess, rel=1e-2)
        assert made[name].excess95[0] == pytest.approx(excess, rel=0.05)  # no noise, no width
    assert made["steep"].ratio == pytest.approx(made["steep"].excess / made["flat"].excess)
    assert made["flat"].ratio is None


def test_a_law_of_another_form_is_refused():
    found = compare(runs(), Kaplan(), bootstrap=0, simulations=0, points=(), flops=6.0)
    with pytest.raises(ValueError, match="a valley takes the parameters E, A, B, alpha, beta"):
        valleys(found, runs(), budgets=[C], factor=FACTOR)


def test_the_command_tells_multipliers_and_valleys(tmp_path, monkeypatch, capsys):
    runs().to_csv(tmp_path / "runs.csv", index=False)
    few = ["compare.points=[]", "compare.bootstrap=20", "compare.simulations=0"]
    arguments = [f"table={tmp_path / 'runs.csv'}", *few, f"hydra.run.dir={tmp_path}"]
    assert call(main, monkeypatch, *arguments) == 0
    said = capsys.readouterr().out
    assert "steep needs" in said
    result = json.loads((tmp_path / "compare.json").read_text())
    assert len(result["valleys"]) == 2 * 3  # groups, budgets
    assert result["provenance"]["command"].startswith("python -m experiments.compare")
