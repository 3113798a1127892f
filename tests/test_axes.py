"""Kinds of axes and the points they give."""

import pytest
from commands import book  # noqa: F401 (a fixture)
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.door import CONF
from experiments.planned import size
from hydra_plugins.scalelaw_ladder.axes import expand
from hydra_plugins.scalelaw_ladder.sweeper import plan


def runs(*axes, arguments=(), ratio=None):
    return [dict(o.split("=") for o in job) for job in plan(axes, parsed(*arguments), ratio)]


def parsed(*arguments):
    return OverridesParser.create().parse_overrides(list(arguments))


def test_isoflop_is_every_budget_with_every_rung():
    points = runs({"isoflop": {"budgets": [1e10, 3e10], "rungs": [2, 3, 4]}})
    assert [(p["budget.C"], p["shape.depth"]) for p in points] == [
        (C, depth) for C in ("10000000000.0", "30000000000.0") for depth in "234"
    ]
    assert {p["budget"] for p in points} == {"flops"}


def test_the_other_grids_name_their_own_budget():
    [ratio] = runs({"tokens_per_parameter": {"ratios": [20], "rungs": [4]}})
    assert ratio == {"shape.depth": "4", "budget": "tokens_per_parameter", "budget.ratio": "20.0"}
    [tokens] = runs({"tokens": {"amounts": [1e6], "rungs": [{"shape.width": 64, "shape.depth": 2}]}})
    assert tokens == {
        "shape.width": "64",
        "shape.depth": "2",
        "budget": "tokens",
        "budget.D": "1000000.0",
    }


def test_amounts_between_two_ends_are_in_equal_ratios():
    axis = {"isoflop": {"budgets": {"from": 1e10, "to": 1.6e11, "count": 5}, "rungs": [2]}}
    assert [float(p["budget.C"]) for p in runs(axis)] == [1e10, 2e10, 4e10, 8e10, 1.6e11]


def test_pairs_go_together_and_seeds_multiply():
    points = runs({"pairs": {"shape.depth": [2, 4], "budget.D": [1e5, 4e5]}}, {"seeds": 2})
    assert [(p["shape.depth"], p["budget.D"], p["seed"]) for p in points] == [
        ("2", "100000.0", "0"),
        ("2", "100000.0", "1"),
        ("4", "400000.0", "0"),
        ("4", "400000.0", "1"),
    ]
    assert [p["seed"] for p in runs({"seeds": [7, 9]})] == ["7", "9"]


def test_a_band_keeps_what_lies_in_it_under_the_overrides_of_the_command():
    asked = []

    def ratio(overrides):
        asked.append(overrides)
        its = dict(o.split("=") for o in overrides)
        return float(its["budget.C"]) / 10 ** int(its["shape.depth"])

    axis = {"isoflop": {"budgets": [1e3, 1e4], "rungs": [1, 2, 3, 4], "tokens_per_parameter": [5, 150]}}
    points = runs(axis, arguments=["window=32"], ratio=ratio)
    assert [(p["budget.C"], p["shape.depth"]) for p in points] == [
        ("1000.0", "1"),
        ("1000.0", "2"),
        ("10000.0", "2"),
        ("10000.0", "3"),
    ]
    assert all(overrides[0] == "window=32" for overrides in asked)
    with pytest.raises(ValueError, match=r"no point of the study has tokens_per_parameter in \[5\.0, 150"):
        runs(axis, arguments=["shape.depth=4", "budget.C=1e3"], ratio=ratio)


def test_a_band_counts_the_model_that_is_to_be_trained(tmp_path, book):  # noqa: F811
    """Tokens a parameter: 5.02 and 5.03 lie in the band, 1.5 and 17 do not."""
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def ratio(overrides):
            its = size(compose("train", overrides))
            return its["D"] / its["N"]

        common = ["data=text", book, f"output={tmp_path}", "window=16", "shape.width_per_layer=12"]
        points = runs(
            {"tokens": {"amounts": [7e4, 2.36e5], "rungs": [2, 3], "tokens_per_parameter": [4.9, 6]}},
            arguments=common,
            ratio=ratio,
        )
        cfg = compose("train", [*common, "shape.depth=2", "budget.D=7e4"])
        assert (size(cfg)["N"], size(cfg)["D"]) == (13_944, 70_016)
    assert [(p["shape.depth"], p["budget.D"]) for p in points] == [("2", "70000.0"), ("3", "236000.0")]


def test_replicates_are_spread_over_the_grid_and_the_rest_has_the_first_seed():
    axes = (
        {"isoflop": {"budgets": [1e10, 2e10, 3e10], "rungs": [2, 3, 4]}},
        {"replicates": {"points": 3, "seeds": 3}},
    )
    points = runs(*axes)
    assert len(points) == 9 + 3 * 2
    several = [(p["budget.C"], p["shape.depth"]) for p in points if p["seed"] == "2"]
    assert several == [("10000000000.0", "2"), ("20000000000.0", "3"), ("30000000000.0", "4")]
    assert sum(p["seed"] == "0" for p in points) == 9
    narrowed = runs(*axes, arguments=["budget.C=2e10"])
    assert [p["seed"] for p in narrowed] == ["0", "1", "2"] * 3


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ([{"isoflops": {}}], r"study\.axes\[0\]: is a list of points or one of isoflop, .*, not isoflops"),
        ([{"isoflop": {"rungs": [2]}}], r"study\.axes\[0\]\.isoflop\.budgets: is missing"),
        ([[], {"seeds": 0}], r"study\.axes\[0\]: takes a list, not \[\]"),
        ([{"seeds": 0}], r"study\.axes\[0\]\.seeds: takes whole numbers of at least 1, not 0"),
        ([{"isoflop": {"budgets": [-1], "rungs": [2]}}], r"isoflop\.budgets: takes positive numbers, not -1"),
        ([{"isoflop": {"budgets": ["x"], "rungs": [2]}}], r"budgets: takes positive numbers, not 'x'"),
        ([{"isoflop": {"budgets": [1], "rungs": [2.5]}}], r"isoflop\.rungs: takes whole numbers"),
        ([{"isoflop": {"budgets": [1], "rungs": [2], "band": 1}}], r"isoflop\.band: is unknown"),
        (
            [{"isoflop": {"budgets": [1], "rungs": [2], "tokens_per_parameter": [9, 3]}}],
            r"isoflop\.tokens_per_parameter: a band is \[lowest, highest\], not \[9, 3\]",
        ),
        ([{"pairs": {"a": [1, 2], "b": [1]}}], r"pairs: pairs take lists of one length; a has 2, b has 1"),
        ([{"replicates": {"points": 1, "seeds": 2}}] * 2, r"study\.axes\[1\]\.replicates: a study has one"),
        ([[3]], r"study\.axes\[0\]: a point is a mapping of keys to values, not 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_names_its_key(axes, told):
    with pytest.raises(ValueError, match=told):
        expand(axes)


def test_replicates_that_do_not_fit_are_told():
    seeds = {"replicates": {"points": 2, "seeds": 2}}
    assert len(runs([{"a": 1}], seeds)) == 2
    with pytest.raises(ValueError, match="seed: set by the replicates"):
        runs([{"a": [1, 2]}], {"seeds": 2}, seeds)
    with pytest.raises(ValueError, match="nothing here that counts them"):
        runs({"isoflop": {"budgets": [1e9], "rungs": [2], "tokens_per_parameter": [1, 2]}})
