"""The page of a fit: its numbers are the fit's, its verdict is in words, and any table makes one."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from planted import TRUE, as_table, grid

from analysis.account import account
from analysis.forecasts import forecast
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanN
from analysis.laws.width_depth import WidthDepthData
from analysis.plots import audit, fitted, optimum, profiles, residuals
from analysis.plots.rows import MOST, Rows
from analysis.plots.style import look
from analysis.report.fit_page import page
from analysis.report.symbols import mathtext, sentence

APPROACH = {"method": None, "budgets": None, "flops": 6.0, "curve": "parabola", "isoflop_width": 1.3}
ASKED = {"audited": False, "approaches": False, "conventions": False}
KNOBS = APPROACH | ASKED | {"delta": 1e-3, "bootstrap": 60, "seed": 0, "profile": True}
BROKEN = 12  # the row that is far off


@pytest.fixture(scope="module")
def planted():
    table = as_table(**grid(6, 5, noise=0.004))
    table["C"] = 6 * table.N * table.D
    table.loc[BROKEN, "loss"] *= 1.05
    table.attrs = {"source": "runs.csv", "sha256": "0123abcd", "filled": "C = 6 N D"}
    return account(table, Chinchilla(), **KNOBS | {"audited": True})


@pytest.fixture(scope="module")
def told(planted):
    points = forecast(planted.fit, pd.DataFrame({"N": [1e6, 1e8], "D": [1e7, 1e9]}))
    return page(
        {None: planted}, title="Runs & laws", forecasts=points, made={"command": "fit table=runs.csv"}
    )


@pytest.fixture(scope="module")
def alone(planted):
    """The law of one input: it holds for the best run of each size."""
    return account(planted.table, KaplanN(), **KNOBS)


@pytest.fixture(scope="module")
def valley():
    """D = 20 N in every row: the two terms cannot be told apart."""
    N = np.geomspace(1e6, 1e9, 12)
    loss = Chinchilla().predict(TRUE, {"N": N, "D": 20 * N})
    loss *= np.exp(np.random.default_rng(3).normal(0, 0.003, 12))
    return account(as_table(N=N, D=20 * N, C=120 * N * N, loss=loss), Chinchilla(), **KNOBS)


@pytest.fixture(scope="module")
def isoflop():
    C = np.repeat([1e18, 1e19, 1e20], 5)
    N = 0.1 * np.sqrt(C / 6) * np.tile(np.geomspace(0.25, 4, 5), 3)
    table = as_table(N=N, D=C / 6 / N, C=C, loss=Chinchilla().predict(TRUE, {"N": N, "D": C / 6 / N}))
    table["loss"] *= np.exp(np.random.default_rng(0).normal(0, 0.002, 15))
    return table


NO_NUMBER = re.compile(r'(?<!data-v=")\b(nan|inf)\b', flags=re.I)


def part(text: str, title: str) -> str:
    """What stands under a heading."""
    return text.split(f"<h3>{title}</h3>")[1].split("<h3>")[0]


def values(text: str) -> list[float]:
    """The numbers behind a table's cells, row by row."""
    return [float(v) for v in re.findall(r'data-v="([^"]+)"', text)]


def words(text: str) -> str:
    """The page without figures, style and tags."""
    text = re.sub(r"<(svg|style|script)\b.*?</\1>", " ", text, flags=re.S)
    return re.sub(r"<[^>]+>", "", text)


def figure(module, one):
    with look():
        drawn = module.draw(one)
    assert drawn is not None
    return drawn[0].axes, drawn[1]


def test_the_parameters_on_the_page_are_those_of_the_fit(planted, told):
    fit = planted.fit
    shown = np.array(values(part(told, "Parameters"))).reshape(5, 4)
    for row, name in zip(shown, fit.law.names, strict=True):
        low, profile_low = fit.interval95[name][0], fit.certificate["profile"][name]["interval95"][0]
        assert row == pytest.approx([fit.params[name], fit.stderr[name], low, profile_low], rel=1e-9)
    assert "α" in part(told, "Parameters")


def test_verdict_certificate_and_origin_are_in_words(planted, told):
    text = words(told)
    assert planted.fit.status == "converged"
    assert "Converged." in text or "Optimum found; not determined by these runs" in text
    checks = words(part(told, "Certificate"))
    assert f"0 from {planted.fit.certificate['starts']} starts" in checks
    assert "all closed" in checks
    assert "no" not in re.findall(r"<span class=\"bad\">(\w+)</span>", part(told, "Certificate"))
    assert f"{planted.fit.objective:.7g}"[:8] in text
    assert not NO_NUMBER.search(told)
    assert "0123abcd" in text
    assert "fit table=runs.csv" in text
    assert "Runs &amp; laws" in told


def test_every_cut_of_the_audit_is_in_table_and_figure(planted, told):
    cuts = planted.audit.cuts
    assert len(cuts) >= 6
    text = part(told, "Forecasts of the table's own larger runs".replace("'", "&#x27;"))
    shown = np.array(values(text)).reshape(len(cuts), -1)
    expected = [[c.cut, c.reach, c.fitted, c.held_out, c.error, c.bias, c.inside] for c in cuts]
    assert shown == pytest.approx(np.array(expected), rel=1e-9, abs=1e-12)
    assert f"a mean error of {planted.audit.score:.2%}" in words(told)
    axes, _ = figure(audit, planted)
    first = [c for c in cuts if c.axis == "C"]
    points = next(line for line in axes[0].lines if line.get_label() == "mean |error|")
    assert sorted(points.get_ydata()) == pytest.approx(sorted(100 * c.error for c in first))


def test_optimum_and_forecasts_are_those_of_the_fit(planted, told):
    text, best = part(told, "The compute optimum"), planted.optimum
    shown = np.array(values(text)).reshape(3, -1)
    assert shown[:, 0] == pytest.approx(best["C"])
    assert shown[:, 1] == pytest.approx(best["N_opt"])
    assert shown[:, 3] == pytest.approx(best["D_opt"])
    assert f"a = {best['a']:.4f}" in words(text)
    ahead = part(told, "Forecasts of runs not made")
    assert ahead.count("extrapolated") == 1
    assert planted.fit.predict({"N": [1e8], "D": [1e9]})[0] == pytest.approx(values(ahead)[-3], rel=1e-9)


def test_residuals_are_drawn_and_the_broken_row_is_called_by_its_number(planted):
    axes, caption = figure(residuals, planted)
    assert len(axes) == 3
    points = axes[0].collections[1].get_offsets()
    drawn = np.sort(np.asarray(points)[:, 1])
    inside = np.abs(planted.fit.residuals) < 0.02
    assert np.isin(np.round(100 * planted.fit.residuals[inside], 9), np.round(drawn, 9)).all()
    assert [text.get_text() for text in axes[0].texts] == [f"row {BROKEN}"]
    assert "1 row lies further off than scatter explains" in caption
    assert Rows.of(planted).outlying.sum() == 1


def test_every_size_has_the_line_of_the_law(planted):
    axes, caption = figure(fitted, planted)
    lines = axes[1].lines
    assert len(lines) == 6
    N = np.unique(planted.table.N)
    for line, n in zip(lines, N, strict=True):
        C, loss = line.get_xdata(), line.get_ydata()
        assert loss == pytest.approx(planted.fit.predict({"N": np.full(len(C), n), "D": C / 6 / n}))
    assert "for each N" in caption


def test_profiles_pass_through_the_ends_of_their_intervals(planted):
    axes, _ = figure(profiles, planted)
    for axis, name in zip(axes, planted.fit.law.names, strict=True):
        assert axis.get_title(loc="left") == mathtext(name)
        curve = next(line for line in axis.lines if line.get_label() == "profile")
        x, y = curve.get_xdata(), curve.get_ydata()
        for end in planted.fit.certificate["profile"][name]["interval95"]:
            assert np.interp(end, x, y) == pytest.approx(1, abs=0.1)  # 1: all of the rise that is allowed


def test_open_ends_are_marked_in_figure_table_and_verdict(valley):
    open_ = {
        k: v["interval95"] for k, v in valley.fit.certificate["profile"].items() if None in v["interval95"]
    }
    assert open_
    axes, caption = figure(profiles, valley)
    sides = {(True, False): "open below", (False, True): "open above", (True, True): "open on both sides"}
    titles = {axis.get_title(loc="left") for axis in axes}
    for name, (low, high) in open_.items():
        assert f"{mathtext(name)}   {sides[low is None, high is None]}" in titles
        assert name in caption
    text = page({None: valley}, title="valley")
    assert "open" in words(part(text, "Parameters"))
    assert '<b class="bad">' in text
    assert "The runs set no" in words(text)
    assert "may be quoted" not in words(text)


def test_what_the_table_cannot_tell_is_said_to_be_so():
    table = as_table(**grid(4, 2, noise=0.002))
    one = account(table, Chinchilla(), **KNOBS)
    text = page({None: one}, title="two values of D")
    assert one.fit.certificate["unidentified"] == ["E", "B", "beta"]
    assert "Not identified: E, B, β (only two values of D)." in words(text)
    assert "can be traded against one another" in words(text)
    assert words(part(text, "Parameters")).count("not identified") == 3
    assert "not computed" in words(part(text, "Certificate"))
    assert not NO_NUMBER.search(text)


def test_approach_two_shows_its_minima_and_its_bias(isoflop):
    asked = {"method": "approach2", "profile": False, "approaches": True, "conventions": True}
    one = account(isoflop, Chinchilla(), **KNOBS | asked)
    axes, caption = figure(optimum, one)
    assert "3 of 3 groups bracket a minimum" in caption
    minima = next(line for line in axes[1].lines if line.get_label() == "minima")
    assert minima.get_ydata() == pytest.approx(one.optimum.points["N"])
    curve = next(line for line in axes[1].lines if line.get_label() == "optimum")
    slope = np.diff(np.log(curve.get_ydata()[[0, -1]])) / np.diff(np.log(curve.get_xdata()[[0, -1]]))
    assert slope == pytest.approx(one.optimum.a)
    text = page({None: one}, title="IsoFLOP")
    assert f"a = {one.optimum.a:.4f}" in words(text)
    assert f"gets a wrong by {one.optimum.bias['with_noise']['a']:+.4f}" in words(text)
    three = part(text, "The same optimum by all approaches")
    shown = np.array(values(three.split("</table>")[0])).reshape(3, 4)
    assert shown[:, 0] == pytest.approx([one.approaches[f"approach{k}"]["a"] for k in (1, 2, 3)])
    assert one.approaches["disagreement"]["verdict"][1:] in words(three)
    assert one.conventions["said"] in words(part(text, "However N and C are counted"))


def test_a_table_that_carries_no_law_still_has_its_optimum(isoflop):
    one = account(isoflop, WidthDepthData(), **KNOBS | {"method": "approach2"})
    assert one.fit is None
    text = page({None: one}, title="IsoFLOP")
    assert "Not fitted:" in words(text)
    assert f"a = {one.optimum.a:.4f}" in words(text)
    assert "<h3>Parameters</h3>" not in text


def test_a_law_of_one_input_shows_the_rows_it_does_not_describe(alone):
    axes, caption = figure(fitted, alone)
    others = len(alone.table) - alone.fit.n
    assert others > 0
    assert f"pale, {others} rows that are not in the fit" in caption
    assert any(len(points.get_offsets()) == others for points in axes[1].collections)
    assert "no profile, as its meaning depends on another parameter" in figure(profiles, alone)[1]
    assert "was not looked at" in words(page({None: alone}, title="N alone"))


def test_one_page_for_several_parts_and_what_could_not_be_fitted(alone):
    bare = account(alone.table, KaplanN(), **KNOBS | {"bootstrap": 0, "profile": False})
    accounts, refused = {"a<b": bare, "alone": alone}, {"few": "3 rows for 5 parameters"}
    text = page(accounts, title="parts", refused=refused)
    assert text == page(accounts, title="parts", refused=refused)
    assert "not fitted: 3 rows for 5 parameters" in words(text)
    assert "a&lt;b" in text
    assert "No resamples were drawn" in words(text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    # Nothing is fetched: what looks like an address is the name of a namespace.
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.S):
        ET.fromstring(svg)
    assert not NO_NUMBER.search(text)


def test_a_large_table_is_thinned_and_says_so():
    rng = np.random.default_rng(2)
    N, D = (np.exp(rng.uniform(np.log(low), np.log(1e4 * low), 5000)) for low in (1e5, 1e7))
    loss = Chinchilla().predict(TRUE, {"N": N, "D": D}) * np.exp(rng.normal(0, 0.01, 5000))
    one = account(as_table(N=N, D=D, C=6 * N * D, loss=loss), Chinchilla(), **KNOBS)
    text = page({None: one}, title="large")
    assert len(text.encode()) < 1_000_000
    assert f"{MOST} of the 5,000 rows, by lot" in words(text)
    shown = Rows.of(one).shown
    assert len(shown) == MOST
    assert np.isin(np.flatnonzero(Rows.of(one).outlying), shown).all()


def test_names_are_set_as_symbols():
    assert sentence("R_D_star of x^-c_0 is <1", ["c_0", "R_D_star"]) == (
        "R<sub>D</sub><sup>*</sup> of x<sup>-c<sub>0</sub></sup> is &lt;1"
    )
    assert mathtext("alpha_N") == "$α_{N}$"
