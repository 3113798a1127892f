"""The drawing helpers: labels as they are spoken, SVG that can share a page, figures that need no fit."""

import dataclasses
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from study import write_study

from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanC, KaplanN
from analysis.plots import plates
from analysis.plots.side_by_side import _forest
from analysis.plots.style import counts, flops, look, losses, power, short, sizes, svg, titles
from analysis.report.study import collect

KNOBS = {"held_out": 1, "bootstrap": 0, "delta": 1e-3, "seed": 0, "isoflop_width": 1.3}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = write_study(tmp_path_factory.mktemp("plots"), architectures=("causal_decoder",), design="budgets")
    return collect(
        root, laws={"chinchilla": Chinchilla(), "kaplan_C": KaplanC(), "kaplan_N": KaplanN()}, **KNOBS
    )


def test_counts_and_budgets_are_written_as_they_are_spoken():
    assert [short(v) for v in (13824, 999_999, 1.2e6, 3e9, 512)] == ["13.8k", "1M", "1.2M", "3B", "512"]
    assert power(2.5e11) == r"$2.5\times10^{11}$"


def test_tick_labels_are_round_counts_and_even_losses():
    with look():
        axes = Figure().subplots()
        counts(axes, "x", [13_824, 592_704])
        losses(axes, "y", [1.4, 4.1])
        low, high = axes.get_xlim()
        labels = [axes.xaxis.get_major_formatter()(v) for v in axes.get_xticks() if low <= v <= high]
        assert labels == ["20k", "50k", "100k", "200k", "500k"]
        ticks = [v for v in axes.get_yticks() if 1.4 <= v <= 4.1]
        narrow = Figure().subplots()
        flops(narrow, "x", [1.8e11, 1.62e12])
        narrow.xaxis.get_minor_formatter().set_locs(narrow.get_xticks(minor=True))
        assert r"{2\times10^{11}}" in narrow.xaxis.get_minor_formatter()(2e11)  # not 10^{11.30}
    assert len(ticks) >= 4
    assert np.allclose(np.diff(ticks), 0.5)


def test_every_size_has_its_own_colour():
    N = [13_824, 46_656, 110_592, 592_704]
    colours, rank = sizes(N)
    assert len({colours(rank(n)) for n in N}) == 4


def test_svg_ids_are_unique_to_their_figure_and_all_resolve():
    with look():
        figure = Figure()
        figure.subplots().plot([1, 2], [3, 4])
        text = svg(figure, "one")
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert {a or b for a, b in used} <= ids
    assert "<metadata" not in text


def test_all_figures_are_drawn_for_one_architecture_and_no_bootstrap(study):
    names = [plate.name for plate in plates(study)]
    assert names == ["curves", "compute", "isoflop", "surface", "held-out", "side-by-side", "kaplan"]


def test_equal_budgets_make_parabolas_and_captions_say_what_they_found(study):
    found = study.isoflop["causal_decoder"]["profiles"]
    assert [p["sizes"] for p in found] == [5, 5, 5]  # of six: the held-out rung is in no parabola
    assert all(p["spread"] < 1.001 for p in found)
    caption = next(p.caption for p in plates(study) if p.name == "isoflop")
    bracketed = sum(p["N_opt"] is not None for p in found)
    assert bracketed >= 2
    assert f"by {bracketed} parabolas" in caption


def test_a_doubt_in_a_title_has_its_own_line():
    axes = Figure().subplots()
    titles([axes], ["causal decoder (undetermined: A)"])
    assert [line.strip() for line in axes.get_title().split("\n")] == [
        "a   causal decoder",
        "(undetermined: A)",
    ]


def test_a_prefactor_over_decades_has_few_tick_labels():
    with look():
        axes = Figure(figsize=(2, 1)).subplots()
        _forest(axes, [(7e3, (2e-6, 5e20)), (12.0, (4.0, 40.0))], "A")
        low, high = axes.get_xlim()
        shown = [v for v in axes.get_xticks() if low <= v <= high]
        assert 2 <= len(shown) <= 3
        assert len(axes.get_xticks(minor=True)) == 0
        assert all("10^{" in axes.xaxis.get_major_formatter()(v) for v in shown)


def test_without_a_surface_the_figures_that_need_one_are_left_out(study):
    bare = dataclasses.replace(
        study, fits={}, refused={}, predictions=study.predictions.iloc[:0], isoflop=study.isoflop
    )
    assert [plate.name for plate in plates(bare)] == ["curves", "compute"]


def test_a_law_along_compute_takes_the_best_run_of_each_budget(study):
    fitted = study.of("causal_decoder", "fitted")
    used = study.runs.loc[study.fits["kaplan_C"]["causal_decoder"].rows]
    assert len(used) == 3  # three budgets, five sizes each
    for C, its in fitted.groupby(fitted.C.round(-9)):
        assert used.loc[(used.C / C - 1).abs() < 0.01, "loss"].tolist() == [its.loss.min()]
