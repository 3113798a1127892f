"""Every option in conf/ composes, builds and trains, tiny: knobs in yaml alone would fail late otherwise."""

import itertools
from typing import Any

import pytest
import training
from commands import ROOT, TINY, book, call  # noqa: F401 (a fixture)
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.identity import identity, run_id
from experiments.planned import study
from experiments.train import main as train
from hydra_plugins.scalelaw_ladder.sweeper import plan
from scalelaw.budget import Tokens
from scalelaw.contracts import BadInput
from scalelaw.counting import count
from scalelaw.run import records

CONF = ROOT / "conf"
GROUPS = ["architecture", "objective", "shape", "budget", "optimizer", "schedule"]
GROUPS += ["data/tokenizer", "data/task"]
# What an option needs beside itself: a corpus of some size, another objective, a value of its own kind.
NEEDS = {
    "architecture=encoder": ["objective=masked_lm"],
    "architecture=encoder_decoder": ["objective=prefix_lm"],
    "architecture=encoder_decoder_moe": ["objective=prefix_lm"],
    "architecture=hybrid_encoder_decoder": ["objective=prefix_lm"],
    "objective=masked_lm": ["architecture=prefix_decoder"],
    "objective=unilm": ["architecture=prefix_decoder"],
    "budget=tokens": ["budget.D=320"],
    "budget=flops": ["budget.C=1e7"],
    "budget=tokens_per_parameter": ["budget.ratio=0.05"],
    "shape=explicit": ["shape.depth=2", "shape.width=16", "shape.heads=2", "shape.ffn_width=32"],
    "data/tokenizer=bpe": ["data.tokenizer.vocab_size=270"],
}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


# Those refer to the run that a stage starts from, and are trained in test_study_stages.
STAGED = [f"objective={name}" for name in ("dpo", "ewc", "l2_start", "policy_gradient")]
OPTIONS = [f"{group}={name}" for group in GROUPS for name in options(group)]


@pytest.mark.parametrize("option", sorted({*OPTIONS} - {*STAGED}))
def test_every_option_trains(tmp_path, monkeypatch, book, option):  # noqa: F811
    own = [option, *NEEDS.get(option, [])]
    taken = {override.split("=")[0] for override in own}
    taken |= {"budget.D"} if option.startswith("budget") else set()
    tiny = [override for override in TINY if override.split("=")[0] not in taken]
    data = ["data=task", "window=32"] if option.startswith("data/task") else ["data=text", book]
    assert call(train, monkeypatch, *tiny, *data, *own, f"output={tmp_path}") == 0
    ((_, run),) = records(tmp_path)
    assert run.finished


PROBED = {
    "brackets": ["data/task=bracket_depth", "data.task.length=6"],
    "facts": ["data/task=fact_recall", "data.task.subjects=16"],
}


@pytest.mark.parametrize("measure", options("measures"))
def test_every_measure_is_taken_by_name(tmp_path, monkeypatch, book, measure):  # noqa: F811
    data = ["data=text", book, "objective=causal_lm"]
    own = TINY
    if measure in PROBED:
        data = ["data=task", "objective=answers", "window=16", *PROBED[measure]]
        own = [override for override in TINY if not override.startswith("window")]
    assert call(train, monkeypatch, *own, *data, f"measures=[{measure}]", f"output={tmp_path}") == 0
    ((_, run),) = records(tmp_path)
    assert {name.split(".")[0] for name in run.measures} == {measure}
    assert any(value is not None for value in run.measures.values())


def test_no_option_was_forgotten():
    tested = {option.split("=")[0] for option in OPTIONS} | {"data", "tracker", "study", "law", "parallel"}
    tested |= {"hardware", "site", "published"}  # test_costs, test_afford
    tested |= {"model", "doubt"}  # test_published_models
    tested |= {"start", "measures"}  # test_start, above
    assert {str(p.relative_to(CONF).parent) for p in CONF.rglob("*.yaml")} - tested == {
        ".",
        "hydra/launcher",
        "hydra/sweeper",
    }


@pytest.mark.parametrize("name", options("study"))
def test_every_study_composes_to_distinct_runs(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        jobs = study([f"study={name}"]).jobs
        assert len({run_id(identity(job.config)) for job in jobs}) == len(jobs)


def test_the_demo_is_what_it_says():
    """Every architecture on at least 5 sizes, 3 budgets each, N over 1.5 decades."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        axes: Any = OmegaConf.to_container(compose("train", ["study=demo"]).study.axes)
        cells: dict[str, dict[int, set]] = {}
        for job in plan(axes, []):
            cfg = compose("train", ["study=demo", *job])
            model = instantiate(cfg.architecture)(instantiate(cfg.shape), 256)
            sizes = cells.setdefault(type(model).__name__, {})
            sizes.setdefault(count(model)["non_embedding"], set()).add(cfg.budget.C)
    assert len(cells) == 3
    for sizes in cells.values():
        assert len(sizes) >= 6  # one of them held out
        assert all(len(budgets) == 3 for budgets in sizes.values())
        assert max(sizes) / min(sizes) > 10**1.5


def test_only_what_decides_the_losses_is_in_the_id():
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def of(*overrides: str) -> str:
            return run_id(identity(compose("train", list(overrides))))

        base = of()
        execution = [
            "tracker=disabled",
            "parallel=ddp",
            "threads=2",
            "output=elsewhere",
            "data.cache=x",
            "checkpoints.keep=9",
        ]
        assert {of(override) for override in execution} == {base}
        # What is not measured is no part of a run: ids are those of before there were measures.
        assert "measures" not in identity(compose("train", []))
        science = [
            "seed=1",
            "rows=3",
            "optimizer.lr=1",
            "data.salt=x",
            "shape.depth=5",
            "clip=2",
            "window=64",
            "+note=[a,b]",
            "measures=[gradient]",
        ]
        assert len({base, *(of(override) for override in science)}) == len(science) + 1


def test_other_text_under_the_same_name_is_another_run(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    overrides = ["data=text", f"data.path={tmp_path / 'a.txt'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        before = run_id(identity(compose("train", overrides)))
        (tmp_path / "a.txt").write_text("two")
        assert run_id(identity(compose("train", overrides))) != before
        (tmp_path / "a.txt").write_text("one")
        assert run_id(identity(compose("train", overrides))) == before


# What has no prefix in some batch, and so nothing for an encoder before a decoder.
UNPREFIXED = {"causal_lm", "answers", "fill_in_the_middle", "mixture"}


def makes_sense(architecture: str, objective: str) -> bool:
    if f"objective={objective}" in STAGED:  # which takes a start
        return False
    if objective == "unilm":  # hidden tokens and next ones
        return architecture.startswith("prefix_decoder")
    if architecture == "encoder" or objective == "masked_lm":
        reads_all = architecture == "encoder" or architecture.startswith("prefix_decoder")
        return objective == "masked_lm" and reads_all
    return "encoder_decoder" not in architecture or objective not in UNPREFIXED


def test_architectures_and_objectives_meet_where_they_can(tmp_path):
    """Every pair either trains, for two steps, or is refused in one line."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made: dict[str, Any] = {
            name: instantiate(compose("train", [f"{group}={name}"])[group])
            for group in ("architecture", "objective")
            for name in options(group)
        }
    for architecture, objective in itertools.product(options("architecture"), options("objective")):
        parts = {"architecture": made[architecture], "objective": made[objective]}
        directory = tmp_path / architecture / objective
        if makes_sense(architecture, objective):
            done = training.run(directory, budget=Tokens(D=2 * training.ROWS * training.WINDOW), **parts)
            assert done.finished
            assert (done.loss is None) == (objective == "masked_lm")
        else:
            with pytest.raises(BadInput) as error:
                training.run(directory, **parts)
            assert "\n" not in str(error.value)
            assert not directory.exists()


def test_a_pair_that_is_refused_is_told_in_one_line(tmp_path, monkeypatch, capsys, book):  # noqa: F811
    pair = ["architecture=encoder_decoder", "objective=masked_lm"]
    assert call(train, monkeypatch, "data=text", book, *TINY, *pair, f"output={tmp_path}") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: objective MaskedLM asks for hidden tokens where they stand")
    assert said.count("\n") == 1
