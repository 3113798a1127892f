import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from hydra_plugins.scalelaw_ladder.sweeper import plan

AXES = [
    [
        {"architecture": "causal_decoder", "objective": "causal_lm"},
        {"architecture": "prefix_decoder", "objective": "prefix_lm"},
    ],
    [{"shape.depth": 2, "budget.D": [3e5, 1e6]}, {"shape.depth": 4, "budget.D": 3e6}],
]


def runs(*arguments, axes=AXES):
    return [tuple(job) for job in plan(axes, OverridesParser.create().parse_overrides(list(arguments)))]


def test_points_stay_paired_and_axes_multiply():
    expected = {
        (f"architecture={a}", f"objective={o}", f"shape.depth={depth}", f"budget.D={D}")
        for a, o in (("causal_decoder", "causal_lm"), ("prefix_decoder", "prefix_lm"))
        for depth, D in ((2, 300000.0), (2, 1000000.0), (4, 3000000.0))
    }
    assert set(runs()) == expected
    assert len(runs()) == 6


def test_a_key_of_the_study_narrows_it():
    assert all("architecture=prefix_decoder" in job for job in runs("architecture=prefix_decoder"))
    assert len(runs("architecture=prefix_decoder", "shape.depth=2")) == 2
    assert len(runs("architecture=prefix_decoder,causal_decoder")) == 6


def test_any_other_key_is_fixed_or_adds_an_axis():
    assert all(job[0] == "rows=8" for job in runs("rows=8"))
    seeded = runs("seed=0,1,2")
    assert len(set(seeded)) == 18


def test_without_a_study_it_is_the_plain_product():
    assert runs("seed=0,1", "rows=4,8", axes=[]) == [
        (f"seed={s}", f"rows={r}") for s in (0, 1) for r in (4, 8)
    ]


def test_a_value_the_study_lacks_and_a_key_on_two_axes_are_errors():
    with pytest.raises(HydraException, match=r"no point with shape\.depth=3"):
        runs("shape.depth=3")
    with pytest.raises(ValueError, match=r"sets seed on two axes"):
        runs(axes=[[{"seed": 0}], [{"seed": 1}]])


def test_yaml_values_are_written_as_the_command_line_wants_them():
    assert runs(axes=[[{"a": None, "b": True, "c": 1e-3}]]) == [("a=null", "b=true", "c=0.001")]
