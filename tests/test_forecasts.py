"""Forecasts of runs that were not made, and the audit of forecasts against runs that were."""

import numpy as np
import pandas as pd
import pytest
from planted import TRUE, as_table
from test_chinchilla import points  # noqa: F401  a fixture

from analysis.fits import aicc, fit
from analysis.forecasts import audit, choose, forecast
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import Kaplan, KaplanC, KaplanN
from analysis.laws.overtraining import Overtraining

LAW = Chinchilla()
KNOBS = {"delta": 1e-3, "bootstrap": 300, "seed": 42}
AXES = ("C", "N", "D")


def runs(rows: int, noise: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    C = 10 ** rng.uniform(14, 17, rows)
    N = 0.1 * C**0.5 * 10 ** rng.uniform(-0.6, 0.6, rows)
    table = as_table(N=N, D=C / (6 * N), C=C)
    return table.assign(loss=LAW.predict(TRUE, table) * np.exp(noise * rng.standard_normal(rows)))


def test_a_forecast_is_the_law_with_two_intervals():
    fitted = fit(runs(60, 0.01), LAW, **KNOBS)
    there = pd.DataFrame({"N": [1e7, 1e12], "D": [1e8, 2e13]})
    out = forecast(fitted, there)
    assert list(out) == [
        *("N", "D", "loss", "mean_lo95", "mean_hi95", "run_lo95", "run_hi95", "extrapolates"),
    ]
    np.testing.assert_allclose(out.loss, LAW.predict(fitted.params, there), rtol=1e-12)
    assert (out.run_lo95 < out.mean_lo95).all()
    assert (out.mean_lo95 < out.loss).all()
    assert (out.loss < out.mean_hi95).all()
    assert (out.mean_hi95 < out.run_hi95).all()
    assert out.extrapolates.tolist() == [False, True]
    with pytest.raises(ValueError, match="fit with bootstrap > 0"):
        forecast(fit(runs(60, 0.01), LAW, **KNOBS | {"bootstrap": 0}), there)
    with pytest.raises(ValueError, match="column D: missing"):
        forecast(fitted, there[["N"]])
    with pytest.raises(ValueError, match="column N, row 2: is 0, not a positive number"):
        forecast(fitted, there.assign(N=[1.0, 0.0]))


def test_intervals_for_a_new_run_hold_new_runs():
    """30 tables of 40 runs, ten new ones each: 95 % with a binomial standard error of about 1.5 %."""
    inside, means = [], []
    for seed in range(30):
        fitted = fit(runs(40, 0.01, seed), LAW, **KNOBS)
        new = runs(10, 0.01, 1000 + seed)
        out = forecast(fitted, new.drop(columns="loss"))
        inside.append(((out.run_lo95 <= new.loss) & (new.loss <= out.run_hi95)).mean())
        truth = LAW.predict(TRUE, new)
        means.append(((out.mean_lo95 <= truth) & (truth <= out.mean_hi95)).mean())
    assert 0.92 < np.mean(inside) < 0.99
    assert 0.88 < np.mean(means) < 0.995


def test_the_audit_of_the_true_law_finds_its_scatter_and_its_coverage():
    found = audit(runs(80, 0.01, seed=3), LAW, axes=AXES, **KNOBS)
    assert {cut.axis for cut in found.cuts} == set(AXES)
    assert all(cut.reach > 1 and cut.fitted + cut.held_out == 80 for cut in found.cuts)
    # Mean |error| of 1 % normal scatter is 0.8 %; extrapolation adds to it.
    assert 0.007 < found.score < 0.014
    assert 0.88 < found.inside <= 1.0
    assert sum(cut.held_out for cut in found.cuts) == len(found.errors)


def test_the_audit_never_sees_what_it_forecasts():
    table = runs(40, 0.01)
    spoilt = table.copy()
    largest = table.index[table.C.argmax()]
    spoilt.loc[largest, "loss"] *= 1.01
    one, two = (audit(t, LAW, axes=("C",), **KNOBS) for t in (table, spoilt))
    # The largest run is in no fit of any cut: the other forecasts are the same to the digit.
    for a, b in zip(one.cuts, two.cuts, strict=True):
        assert (a.cut, a.fitted, a.status) == (b.cut, b.fitted, b.status)
    changed = ~np.isclose(one.errors, two.errors, rtol=1e-12)
    assert changed.sum() == len(one.cuts)  # once a cut, as a forecast


@pytest.mark.parametrize(("true", "law"), [("chinchilla", LAW), ("kaplan", Kaplan())])
def test_the_planted_law_is_chosen_and_the_losers_are_listed(true, law):
    rng = np.random.default_rng(7)
    table = runs(60, 0.0)
    params = TRUE if true == "chinchilla" else (8.8e9, 0.076, 5.4e10, 0.095)
    table["loss"] = law.predict(params, table) * np.exp(0.002 * rng.standard_normal(60))
    laws = {"chinchilla": LAW, "kaplan": Kaplan(), "kaplan_C": KaplanC(), "speed": _Speed()}
    best, audits, refused = choose(table, laws, axes=AXES, **KNOBS)
    assert best == true
    assert audits[true].score < min(a.score for name, a in audits.items() if name != true)
    assert audits[true].aicc < min(a.aicc for name, a in audits.items() if name != true)
    assert "no column speed" in refused["speed"]


class _Speed(KaplanN):
    inputs = ("speed",)
    along = None


def test_aicc_is_the_textbooks_for_least_squares():
    N = np.geomspace(1e6, 1e9, 20)
    y = 4.0 - 0.08 * np.log(N) + 0.01 * np.random.default_rng(0).standard_normal(20)
    fitted = fit(as_table(N=N, loss=np.exp(y)), _All(), criterion="mse", **KNOBS | {"bootstrap": 0})
    rss = ((y - np.polyval(np.polyfit(np.log(N), y, 1), np.log(N))) ** 2).sum()
    assert aicc(fitted) == pytest.approx(20 * np.log(rss / 20) + 6 + 24 / 16, rel=1e-9)


class _All(KaplanN):
    along = None


@pytest.mark.parametrize(("above", "error"), [(1e20, 0.00890), (3e20, 0.0100), (1e21, 0.0105)])
def test_the_240_points_forecast_their_larger_runs(points, above, error):  # noqa: F811
    """Mean error as the optimum's to three digits; 90 to 99 % of the runs inside their interval."""
    small, large = points[points.C < above], points[points.C >= above]
    out = forecast(fit(small, LAW, **KNOBS | {"bootstrap": 1000}), large.drop(columns="loss"))
    y = large.loss.to_numpy()
    assert np.abs(out.loss / y - 1).mean() < error * 1.005
    assert 0.90 <= ((out.run_lo95 <= y) & (y <= out.run_hi95)).mean() <= 0.99


@pytest.mark.parametrize(("above", "error"), [(1e20, 0.00891), (3e20, 0.0085), (1e21, 0.0090)])
def test_the_law_chosen_on_smaller_runs_forecasts_the_240_points_better(points, above, error):  # noqa: F811
    small, large = points[points.C < above], points[points.C >= above]
    laws = {"chinchilla": LAW, "overtraining": Overtraining(), "kaplan": Kaplan()}
    best, _, _ = choose(small, laws, axes=AXES, **KNOBS)
    out = fit(small, laws[best], **KNOBS | {"bootstrap": 0}).predict(large)
    assert np.abs(out / large.loss - 1).mean() < error
