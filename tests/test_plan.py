"""The dry run says what the sweep then does."""

import pytest
from commands import TINY, book, call  # noqa: F401 (a fixture)
from hydra import initialize_config_dir

from experiments import plan
from experiments.door import CONF
from experiments.train import main as train
from scalelaw.run import records

STUDY = ["data=text", *TINY, "budget.D=320,640", "seed=0,1", "schedule.warmup=2"]


def planned(arguments):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plan.study(arguments)


def test_what_is_planned_is_what_runs(tmp_path, monkeypatch, book):  # noqa: F811
    """N, D, steps, C and the steps of common trunks, against the records of the runs."""
    arguments = [*STUDY, book, f"output={tmp_path}", "hydra.launcher.together=2"]
    runs, processes = planned(arguments)
    assert call(train, monkeypatch, "-m", *arguments) == 0
    done = {run.name: run for _, run in records(tmp_path)}
    assert {run.name for run in runs} == set(done)
    assert processes == 2
    for run in runs:
        record = done[run.name]
        assert (run.N, run.D, run.steps) == (record.N, record.D, record.steps)
        assert run.C == record.C
        assert run.shared == record.timing["shared_steps"]
    assert sorted(run.shared for run in runs) == [0, 0, 8, 8]


def test_one_process_a_run_shares_nothing(tmp_path, book):  # noqa: F811
    runs, processes = planned([*STUDY, book, f"output={tmp_path}"])
    assert processes == 4
    assert not any(run.shared for run in runs)


def test_the_demo_costs_a_quarter_less_than_its_runs_apart():
    runs, processes = planned(["study=demo"])
    assert (len(runs), processes) == (54, 18)
    spent = sum(run.C * (1 - run.shared / run.steps) for run in runs)
    assert spent / sum(run.C for run in runs) == pytest.approx(0.76, abs=0.01)


def test_a_mistyped_key_is_told_in_one_line(monkeypatch, capsys):
    assert call(plan.main, monkeypatch, "budgt.D=1") == 1
    assert "unknown key 'budgt': did you mean 'budget'?" in capsys.readouterr().err
