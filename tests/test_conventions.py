"""Kaplan against Chinchilla: one law, counted in two ways, on planted ladders and on our own runs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.laws.chinchilla import Chinchilla
from analysis.optima.conventions import conventions, counted, said, sizes
from analysis.tables import runs

LAW = Chinchilla()
KNOBS = {"flops": 6, "curve": "parabola", "width": 1.3, "seed": 0, "delta": 1e-3}
DEMO = Path(__file__).parents[1] / "docs/results/demo/runs.csv"

# Pearce & Song 2024 (arXiv:2406.12907): N_total = N + 47491 N^(1/3) over Kaplan's sizes, 768 to 1.5e9, and
# what a becomes there with the surface of Besiroglu et al. 2024 and with that of Hoffmann et al. 2022.
OMEGA, SMALLEST, LARGEST = 47491, 768, 1.5e9
COMPUTE = (10**12.95, 10**20.7)
SURFACES = [
    ({"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}, 0.78),
    ({"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}, 0.74),
]


def kaplan(params, sizes=40, points=80) -> pd.DataFrame:
    """Learning curves of Kaplan's sizes, C without embeddings, over the paper's range of C."""
    N = np.repeat(np.geomspace(SMALLEST, LARGEST, sizes), points)
    D = np.tile(np.geomspace(1e6, 1e12, points), sizes)
    table = pd.DataFrame({"run": np.repeat(np.arange(sizes), points), "N": N, "D": D})
    table = table.assign(N_total=N + OMEGA * np.cbrt(N), C=6 * N * D)
    table = table[table.C.between(*COMPUTE)].reset_index(drop=True)
    return table.assign(loss=LAW.predict(params, {"N": table.N_total, "D": table.D}))


def local(params, C):
    """log N_opt at C = 6 N D, both without embeddings: where the loss is flat along it, which is at
    alpha A N_total^(-alpha-1) (dN_total / dN) N = beta B D^-beta."""
    x = np.linspace(np.log(SMALLEST) - 3, np.log(LARGEST) + 3, 4001)
    N = np.exp(x)
    total, slope = N + OMEGA * np.cbrt(N), 1 + OMEGA / 3 * N ** (-2 / 3)
    alpha, beta = params["alpha"], params["beta"]
    D = (beta * params["B"] / (alpha * params["A"] * total ** (-alpha - 1) * slope * N)) ** (1 / beta)
    return np.interp(np.log(C), np.log(6 * N * D), x)


@pytest.mark.parametrize(("params", "published"), SURFACES)
def test_kaplan_s_exponent_comes_out_of_chinchilla_s_surface(params, published):
    C = np.geomspace(*COMPUTE, 400)
    assert np.polyfit(np.log(C), local(params, C), 1)[0] == pytest.approx(published, abs=0.006)
    found = conventions(kaplan(params), None, method="approach1", bootstrap=0, **KNOBS)
    by = {(c.N, c.C): c for c in found}
    assert list(by) == [("N", "6 N D"), ("N", "6 N_total D"), ("N_total", "6 N_total D")]
    first, total = by["N", "6 N D"], by["N_total", "6 N_total D"]
    # The same C, read off runs on a grid of sizes 0.16 of a decade apart, over seven decades of C.
    at = first.optimum.points.C.to_numpy()
    span = np.geomspace(at.min(), at.max(), 400)
    assert first.a == pytest.approx(np.polyfit(np.log(span), local(params, span), 1)[0], abs=0.01)
    assert first.a == pytest.approx(published, abs=0.02)
    truth = params["beta"] / (params["alpha"] + params["beta"])
    assert total.a == pytest.approx(truth, abs=0.005)
    assert total.moved["a"]["by"] == pytest.approx(truth - published, abs=0.025)
    assert "N_total and 6 N_total D moves it furthest" in said(found)


def shaped(seed=0, noise=0.004) -> pd.DataFrame:
    """A ladder true in N_total whose small models are mostly embeddings, one row a run."""
    width = np.array([64, 96, 128, 192, 256, 384, 512])
    N = np.repeat(12.0 * (width / 32) * width**2, 6)
    table = pd.DataFrame({"N": N, "width": np.repeat(width, 6), "vocab_size": 32_000})
    table["D"] = N * np.tile(np.geomspace(5, 500, 6), 7)
    total = table.N + 32_000 * table.width
    table.index = pd.RangeIndex(1, len(table) + 1)
    scatter = np.random.default_rng(seed).normal(0, noise, len(table))
    return table.assign(loss=LAW.predict(SURFACES[0][0], {"N": total, "D": table.D}) * np.exp(scatter))


def test_the_difference_has_an_interval_of_its_own_from_the_same_resamples():
    table = shaped()
    found = conventions(table, LAW, method="approach3", bootstrap=200, **KNOBS)
    whole = "(N + vocab_size width)"
    assert [(c.N, c.C) for c in found] == [("N", "6 N D"), ("N", f"6 {whole} D"), (whole, f"6 {whole} D")]
    first, total = found[0], found[-1]
    truth = 0.3658 / (0.3478 + 0.3658)
    low, high = total.interval95["a"]
    assert low < truth < high
    assert first.a > truth + 0.1
    shift = total.moved["a"]
    assert shift["by"] == pytest.approx(total.a - first.a)
    assert shift["interval95"][0] < shift["by"] < shift["interval95"][1] < 0
    # Another C for the same N is read off the same fits: what they share cancels in the difference.
    priced = found[1]
    assert priced.moved["a"]["correlation"] > 0.9
    apart = np.hypot(np.ptp(first.interval95["a"]), np.ptp(priced.interval95["a"]))
    assert np.ptp(priced.moved["a"]["interval95"]) < 0.8 * apart
    assert "These runs tell the two apart" in said(found)
    for one in found:
        json.dumps(one.to_json(), allow_nan=False)


def test_approach_2_draws_the_same_noise_under_each_convention():
    C = np.repeat(np.geomspace(1e18, 1e20, 3), 7)
    total = np.tile(np.geomspace(1 / 4, 4, 7), 3) * 0.1 * (C / 6) ** 0.51
    table = pd.DataFrame({"N": total - 0.05 * total**0.95, "N_total": total, "C": C, "D": C / 6 / total})
    table.index = pd.RangeIndex(1, 22)
    noise = np.exp(np.random.default_rng(0).normal(0, 0.002, 21))
    table["loss"] = LAW.predict(SURFACES[0][0], {"N": total, "D": table.D}) * noise
    found = conventions(table, None, method="approach2", bootstrap=200, **KNOBS)
    own = [c for c in found if c.C == "6 N_total D"]
    assert [c.N for c in own] == ["N", "N_total"]
    assert own[1].moved["a"]["correlation"] > 0.999
    assert np.ptp(own[1].moved["a"]["interval95"]) < 0.05 * np.ptp(own[0].interval95["a"])


def test_counts_are_found_by_name_and_the_same_one_only_once():
    table = pd.DataFrame({"N": [1e6, 2e6], "D": [1e8, 1e8], "loss": [3.0, 2.9]}).assign(
        C=lambda t: 6 * t.N * t.D
    )
    assert list(sizes(table)) == ["N"]
    assert list(counted(table, 6)) == [("N", "6 N D")]
    assert list(sizes(table.assign(N_embedding=1e5))) == ["N", "(N + N_embedding)"]
    assert list(sizes(table.assign(vocab=32000, d_model=64))) == ["N", "(N + vocab d_model)"]
    total = table.assign(N_total=[2e6, 4e6], N_non_embedding=table.N, N_embedding=1e6)
    assert list(sizes(total)) == ["N", "N_total"]
    dear = total.assign(C=7 * total.N * total.D + 1e15)
    assert list(counted(dear, 6)) == [
        ("N", "C as counted"), ("N", "6 N D"), ("N", "6 N_total D"),
        ("N_total", "C as counted"), ("N_total", "6 N_total D"),
    ]  # fmt: skip
    assert counted(dear, 6)["N", "6 N_total D"][1].tolist() == [6 * 2e6 * 1e8, 6 * 4e6 * 1e8]


def test_what_one_convention_lacks_is_said_and_the_others_stand():
    table = shaped().drop(columns=["width", "vocab_size"])
    table["N_total"] = table.N * 2 + 1e6
    table.loc[5, "N_total"] = np.nan
    found = conventions(table, LAW, method="approach3", bootstrap=0, **KNOBS)
    broken = [c for c in found if c.N == "N_total"]
    assert broken
    for one in broken:
        assert one.status.startswith("not read: ")
        assert "is empty" in one.status
        assert one.to_json()["a"] is None
    assert np.isfinite(found[0].a)
    with pytest.raises(ValueError, match="no column loss"):
        conventions(table.drop(columns="loss"), LAW, method="approach3", bootstrap=0, **KNOBS)


def test_our_own_records_carry_eight_conventions():
    table = runs.load(DEMO)
    table = table[table.architecture == "causal_decoder"]
    found = conventions(table, LAW, method="approach3", bootstrap=0, **KNOBS)
    assert {c.N for c in found} == {"N", "N_with_embedding", "N_total"}  # head and embedding are of one size
    assert found[0].C == "C as counted"
    assert all(np.isfinite(c.a) for c in found)
    assert len({(c.N, c.C) for c in found}) == len(found) == 8
    # With embeddings counted the small models are larger, and N_opt grows more slowly.
    by = {(c.N, c.C): c.a for c in found}
    assert by["N_total", "6 N_total D"] < by["N_with_embedding", "6 N_with_embedding D"] < by["N", "6 N D"]
