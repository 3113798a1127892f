"""A run that starts from another's weights: whose, that it is another run, and what is refused."""

import pytest
import torch
from commands import TINY, book, call  # noqa: F401 (a fixture)
from hydra import compose, initialize_config_dir
from training import Chain, job, run

from experiments.door import CONF
from experiments.identity import identity, run_id
from experiments.train import main as train
from scalelaw.budget import Tokens
from scalelaw.checkpoint import Checkpoints
from scalelaw.job import Labels
from scalelaw.optim import WarmupStableDecay
from scalelaw.run import Run, read_metrics, records
from scalelaw.start import Parent
from scalelaw.trainee import Trainee

KEPT = Checkpoints(seconds=1e9, keep=2, weights=True)
CHILD = Labels(
    run="child",
    name="child",
    study="tests",
    architecture="causal_decoder",
    objective="causal_lm",
    data="chain",
    command="pytest",
)


def test_the_first_step_begins_with_the_parent_s_weights_and_no_moments(tmp_path):
    parent = run(tmp_path / "parent", checkpoints=KEPT)
    started = Trainee(job(tmp_path / "child", labels=CHILD, start=Parent(run=str(tmp_path / "parent"))))
    evaluation = started.job.evaluation
    found = evaluation.final(started.model, Chain(), started.job.window, started.job.objective)
    assert found["loss"] == parent.loss
    assert not started.optim.state_dict()["state"]
    drawn = Trainee(job(tmp_path / "other", labels=CHILD))
    assert not torch.equal(started.model.embedding.weight, drawn.model.embedding.weight)
    child = run(tmp_path / "child", labels=CHILD, start=Parent(run=str(tmp_path / "parent")))
    assert child.parent == parent.run
    assert child.loss < parent.loss  # it learns on from there
    assert run(tmp_path / "alone", labels=CHILD).parent is None


def test_a_trunk_of_a_stage_does_not_hide_its_parent(tmp_path):
    from dataclasses import replace

    from scalelaw.train import train as together

    parent = run(tmp_path / "parent", checkpoints=KEPT)
    schedule = WarmupStableDecay(warmup=2, decay=0.3, final=0.0)
    jobs = [
        job(
            tmp_path / name,
            labels=replace(CHILD, run=name),
            start=Parent(run=str(tmp_path / "parent")),
            budget=Tokens(D=48 * steps),
            schedule=schedule,
        )
        for name, steps in (("long", 20), ("short", 10))
    ]
    long, short = together(jobs)
    assert short.timing["shared_steps"] > 0
    assert (long.parent, short.parent) == (parent.run, parent.run)


def test_a_killed_stage_resumes_to_the_bit(tmp_path):
    class Stopped(Exception):
        pass

    class Stopping(Chain):
        def windows(self, position, rows, *, window, seed):
            if position:
                raise Stopped
            return super().windows(position, rows, window=window, seed=seed)

    run(tmp_path / "parent", checkpoints=KEPT)
    start, budget = Parent(run=str(tmp_path / "parent")), Tokens(D=24 * 48)  # more steps than are read ahead
    whole = run(tmp_path / "whole", labels=CHILD, start=start, budget=budget)
    often = Checkpoints(seconds=0, keep=2, weights=False)
    parts = {"labels": CHILD, "start": start, "budget": budget, "checkpoints": often}
    with pytest.raises(Stopped):
        run(tmp_path / "part", source=Stopping(), **parts)
    assert Run.load(tmp_path / "part").status == "failed"
    resumed = run(tmp_path / "part", **parts)
    assert resumed.row() == whole.row()
    assert read_metrics(tmp_path / "part") == read_metrics(tmp_path / "whole")


def test_another_parent_is_another_run_and_none_is_the_run_it_was(tmp_path, monkeypatch, book):  # noqa: F811
    options = [*TINY, "data=text", book, f"output={tmp_path}", "checkpoints.weights=true"]
    for seed in (0, 1):
        assert call(train, monkeypatch, *options, f"seed={seed}") == 0
    (first, parent), (second, _) = records(tmp_path)
    assert "start" not in parent.config
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def of(*overrides: str) -> str:
            return run_id(identity(compose("train", [*options, *overrides])))

        ids = [of(), of("start=run", f"start.run={first}"), of("start=run", f"start.run={second}")]
        assert ids[0] == parent.run
        assert len(set(ids)) == 3
        first.rename(tmp_path / "moved")  # where the parent lies is not who it is
        assert of("start=run", f"start.run={tmp_path / 'moved'}") == ids[1]
    assert call(train, monkeypatch, *options, "start=run", f"start.run={tmp_path / 'moved'}") == 0
    (child,) = (run for _, run in records(tmp_path) if run.run == ids[1])
    assert child.parent == parent.run
    assert child.config["start"] == {"parent": parent.run}


def test_what_cannot_be_started_from_is_told_in_a_line(tmp_path, monkeypatch, book, capsys):  # noqa: F811
    options = [*TINY, "data=text", book, f"output={tmp_path}"]
    assert call(train, monkeypatch, *options) == 0
    ((bare, _),) = records(tmp_path)
    stage = [*options, "start=run"]
    symbols = [word for word in stage if not word.startswith("data")] + ["data=task", "window=40"]

    def told(*arguments: str) -> str:
        assert call(train, monkeypatch, *arguments) == 1
        return capsys.readouterr().err

    assert "checkpoints.weights=true" in told(*stage, f"start.run={bare}")
    assert "start.run=nowhere: no run record" in told(*stage, "start.run=nowhere")
    assert "depth 2 and width 24, and this run has depth 3" in told(
        *stage, f"start.run={bare}", "shape.depth=3"
    )
    assert "only what is written in bytes" in told(*symbols, f"start.run={bare}")
    assert "start.run" in told(*stage)
