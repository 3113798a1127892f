"""A study of several stages in one command: whose children are trained, and in which order."""

import pytest
from commands import TINY, start
from hydra.core.override_parser.overrides_parser import OverridesParser
from training import run

from hydra_plugins.scalelaw_ladder.sweeper import after, plan
from scalelaw.checkpoint import Checkpoints
from scalelaw.run import Run, records

STUDY = """# @package _global_
study:
  name: tiny
  stages:
    pretrain:
      - - { shape.depth: [2, 3], data: sotu_years, data.first: 1790, data.last: 1793 }
    instruct:
      - parents: pretrain
      - - { data: instructions, data.corpus.first: 1790, data.corpus.last: 1793, objective: answers }
    choices:
      - parents: instruct
      - - { data: instructions, data.corpus.first: 1790, data.corpus.last: 1793 }
      - - { objective: dpo }
        - { objective: policy_gradient }
    continual:
      - parents: pretrain
      - - { data: shift, data.before.last: 1793, data.after.first: 1794, data.after.last: 1797 }
      - - { objective: ewc, objective.windows: 2 }
        - { objective: l2_start }
        - { objective: causal_lm, data.replay: 0.5 }
window: 32
budget: { D: 640 }
checkpoints: { weights: true }
"""


def planned(axes, *arguments):
    return [
        dict(o.split("=", 1) for o in job)
        for job in plan(axes, OverridesParser.create().parse_overrides(list(arguments)))
    ]


def test_a_study_of_stages_runs_in_one_command(tmp_path):
    (tmp_path / "conf/study").mkdir(parents=True)
    (tmp_path / "conf/study/tiny.yaml").write_text(STUDY)
    tiny = [word for word in TINY if word.split("=")[0] not in ("shape.depth", "window", "budget.D")]
    words = ["--config-dir=conf", "-m", "study=tiny", "shape.depth=2", *tiny]
    process = start("experiments.train", *words, cwd=tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    runs: dict[str, list[Run]] = {}
    for directory, found in records(tmp_path / "outputs"):
        runs.setdefault(found.study, []).append(found)
        assert directory.parent == tmp_path / "outputs" / found.study
    assert {name: len(found) for name, found in runs.items()} == {
        "tiny/pretrain": 1,
        "tiny/instruct": 1,
        "tiny/choices": 2,
        "tiny/continual": 3,
    }
    ((text,), (tuned,)) = runs["tiny/pretrain"], runs["tiny/instruct"]
    assert text.parent is None
    assert tuned.parent == text.run
    assert {found.parent for found in runs["tiny/choices"]} == {tuned.run}
    assert {found.objective for found in runs["tiny/choices"]} == {"dpo", "policy_gradient"}
    assert {found.parent for found in runs["tiny/continual"]} == {text.run}
    assert all("loss" in found.scores["before"] for found in runs["tiny/continual"])
    assert all(
        found.depth == 2 for parts in runs.values() for found in parts
    )  # the parents' ladder, narrowed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two finished runs, one of which kept its weights."""
    made = tmp_path_factory.mktemp("runs")
    config = {"shape": {"_target_": "x", "depth": 2, "ffn_multiple": "8/3"}}
    kept = Checkpoints(seconds=1e9, keep=1, weights=True)
    run(made / "kept", checkpoints=kept, config=config)
    run(made / "bare", config=config)
    return made


def test_parents_are_an_axis_of_their_own_shapes(folder):
    axes = [{"parents": str(folder)}, [{"budget.D": [1e3, 2e3]}]]
    one, two = planned(axes)
    assert one == {
        "start": "run",
        "start.run": str(folder / "kept"),
        "architecture": "causal_decoder",
        "shape.depth": "2",
        "shape.ffn_multiple": "8/3",
        "budget.D": "1000.0",
    }
    assert two["budget.D"] == "2000.0"
    assert len(planned(axes, "shape.depth=2", "budget.D=1000.0")) == 1
    with pytest.raises(
        ValueError, match=r"study\.axes\[0\]\.parents: .* holds no finished run with its weights"
    ):
        planned([{"parents": str(folder / "bare")}])


def test_a_stage_s_name_stands_for_its_runs(folder):
    axes = after([{"parents": "first"}, [{"seed": 0}]], {"first": [str(folder / "kept")]})
    assert [point["start.run"] for point in planned(axes)] == [str(folder / "kept")]
    with pytest.raises(ValueError, match="holds no finished run"):
        planned(after([{"parents": "first"}], {"first": []}))
