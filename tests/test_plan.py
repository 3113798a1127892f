"""The dry run says what the sweep then does."""

import csv
import json

import pytest
import torch
from commands import TINY, book, call  # noqa: F401 (a fixture)
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from analysis.costs import Hardware
from analysis.designing.recovery import Recovery
from experiments import plan, predicted, shown
from experiments.door import CONF
from experiments.forecast import half
from experiments.job import prepare
from experiments.measured import Process, activations
from experiments.planned import Planned, computing, planned, study
from experiments.train import main as train
from scalelaw.models.base import LanguageModel
from scalelaw.run import records
from scalelaw.trainee import Trainee

STUDY = ["data=text", *TINY, "budget.D=320,640", "seed=0,1", "schedule.warmup=2"]


@pytest.fixture
def conf():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.fixture
def studied(conf):
    return study


def run(steps, shared=0, windows=0, C=1.0):
    return Planned("a run", N=1, D=1, steps=steps, C=C, N_total=1, windows=windows, shared=shared)


def test_what_is_planned_is_what_runs(tmp_path, monkeypatch, book):  # noqa: F811
    """N, D, steps, C and the steps of common trunks, against the records of the runs."""
    arguments = [*STUDY, book, f"output={tmp_path}", "hydra.launcher.together=2"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = study(arguments)
    assert call(train, monkeypatch, "-m", *arguments) == 0
    done = {run.name: run for _, run in records(tmp_path)}
    assert {run.name for run in made.runs.values()} == set(done)
    assert len(made.bundles) == 2
    for run in made.runs.values():
        record = done[run.name]
        assert (run.N, run.D, run.steps) == (record.N, record.D, record.steps)
        assert (run.C, run.N_total) == (record.C, record.N_total)
        assert run.shared == record.timing["shared_steps"]
    assert sorted(run.shared for run in made.runs.values()) == [0, 0, 8, 8]


def test_one_process_a_run_shares_nothing(studied, tmp_path, book):  # noqa: F811
    made = studied([*STUDY, book, f"output={tmp_path}", "hydra.launcher.together=1"])
    assert len(made.bundles) == 4
    assert not any(run.shared for run in made.runs.values())


def test_the_demo_costs_a_quarter_less_than_its_runs_apart(studied):
    made = studied(["study=demo"])
    runs = made.runs.values()
    assert (len(runs), len(made.bundles)) == (54, 18)
    assert sum(run.spent for run in runs) / sum(run.C for run in runs) == pytest.approx(0.76, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "bundles"),
    [
        ({}, [3, 3]),  # on two workers
        ({"shape.width_per_layer": 600}, [1] * 6),  # nothing is won at this width
        ({"hydra.launcher.together": 4}, [4, 2]),
        ({"seed": ",".join(map(str, range(20)))}, [8, 8, 4]),
        ({"precision": "bfloat16"}, [1] * 6),
        ({"architecture": "causal_decoder_moe"}, [1] * 6),  # which are not stacked
    ],
)
def test_small_runs_of_one_shape_share_workers_and_all_workers_have_work(
    studied,
    tmp_path,
    book,  # noqa: F811
    changes,
    bundles,
):
    said = {"hydra.launcher.slots": 2, "seed": "0,1,2,3,4,5", "output": tmp_path} | changes
    made = studied(["data=text", *TINY, book, *(f"{key}={value}" for key, value in said.items())])
    assert [len(bundle) for bundle in made.bundles] == bundles


def test_runs_compute_from_where_they_branch_off_to_their_last_step():
    """The longest from the first step on; one with 40 of its 50 steps in common; one with 10 of 20."""
    assert computing([run(100), run(50, shared=40), run(20, shared=10)]) == [
        (10, 1),
        (10, 2),
        (20, 1),
        (10, 2),
        (50, 1),
    ]
    assert computing([run(30), run(30)]) == [(30, 2)]


def test_a_process_takes_its_steps_its_evaluations_and_its_overhead():
    process = Process(overhead=3.0, first=0.0, window=0.5, step={1: 1.0, 4: 1.6}, activations=0, resident=0)
    # Alone for 40 steps and from 50 to 100; together from 40 to 50 at 1.2 s, a third of the way from 1 to 4.
    long, short = predicted.shares([run(100, windows=4), run(50, shared=40, windows=2)], process)
    assert long == pytest.approx(1.5 + 2 + 40 + 50 + 10 * 1.2 / 2)
    assert short == pytest.approx(1.5 + 1 + 10 * 1.2 / 2)


def test_the_queue_takes_the_longest_first():
    assert predicted.queue([1, 2, 3, 4], [1, 2, 3, 4], slots=2) == 5  # 4 + 1 beside 3 + 2
    assert predicted.queue([1, 2, 3, 4], [4, 3, 2, 1], slots=2) == 6  # 1 + 3 beside 2 + 4
    assert predicted.queue([1, 2], [1, 1], slots=8) == 2


def test_assumed_times_are_those_of_the_hardware(studied, tmp_path, book):  # noqa: F811
    """Two slots: 4 runs of FLOPs 2, 2, 1, 1 end after 3 of them."""
    one_each = ["hydra.launcher.slots=2", "hydra.launcher.together=1"]
    made = studied([*STUDY, book, f"output={tmp_path}", *one_each])
    slow = Hardware(name="slow", kind="cuda", peak=1e6, utilisation=0.5, watts=1, price=None)
    found = predicted.times(made, kind="assumed", hardware=slow, seconds=1.0)
    assert found is not None
    C = sorted(run.C for run in made.runs.values())
    assert C[3] == 2 * C[0]
    assert found.seconds == pytest.approx(3 * C[0] / 5e5)
    assert found.busy == pytest.approx(6 * C[0] / 5e5)


def job(tmp_path, *arguments):
    cfg = compose("train", ["data=text", *TINY, *arguments, f"output={tmp_path}"], return_hydra_config=True)
    OmegaConf.set_readonly(cfg.hydra, False)
    cfg.hydra.runtime.output_dir = str(tmp_path)
    HydraConfig.instance().set_config(cfg)
    return cfg, Trainee(prepare(cfg))


@pytest.mark.parametrize("architecture", [[], ["architecture=encoder_decoder", "objective=prefix_lm"]])
def test_states_are_the_bytes_that_a_trained_model_has(conf, tmp_path, book, architecture):  # noqa: F811
    cfg, trainee = job(tmp_path, book, *architecture)
    trainee.model.nll(trainee.batch()).backward()
    trainee.optim.step()
    held = [t for p in trainee.model.parameters() for t in (p, p.grad) if t is not None]
    held += [t for slots in trainee.optim.state.values() for name, t in slots.items() if name != "step"]
    assert planned(cfg, "").states == sum(t.numel() * t.element_size() for t in held)


def test_activations_grow_by_the_row_and_parameters_are_none(conf, tmp_path, book):  # noqa: F811
    two, four, eight = (activations(job(tmp_path, book, f"rows={rows}")[1]) for rows in (2, 4, 8))
    assert eight - four == 2 * (four - two) > 0
    # At least what the projections of two blocks read, and less than the logits of a long window would add.
    window, width, depth = 16, job(tmp_path, book)[1].job.shape.width, 2
    assert four - two > 2 * window * width * depth * 4


def test_the_windows_of_evaluations_are_those_seen(tmp_path, monkeypatch, book):  # noqa: F811
    seen = []
    nll = LanguageModel.nll

    def counted(self, batch):
        if not torch.is_grad_enabled():
            seen.append(len(batch.tokens))
        return nll(self, batch)

    monkeypatch.setattr(LanguageModel, "nll", counted)
    arguments = ["data=text", *TINY, book, "evaluation.points=4", f"output={tmp_path}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        (whole,) = study(arguments).runs.values()
    assert call(train, monkeypatch, *arguments) == 0
    assert whole.windows == sum(seen) > 0


def test_a_measured_plan_leaves_nothing_but_its_own_file(tmp_path, monkeypatch, capsys, book):  # noqa: F811
    """Two shapes by two budgets in two processes: measured, written, and no run of the study begun."""
    arguments = ["data=text", *TINY, book, "shape.depth=1,2", "budget.D=320,640", "schedule.warmup=2"]
    arguments += ["hydra.launcher.together=2", "hydra.launcher.slots=2", f"output={tmp_path / 'out'}"]
    out = tmp_path / "plan.json"
    own = ["seconds=0.05", "forecast.tables=0", "hardware.watts=100", "site.pue=1.5", f"out={out}"]
    assert call(plan.main, monkeypatch, *arguments, *own) == 0
    assert not list(tmp_path.rglob("run.json"))
    told = capsys.readouterr().out
    assert "4 runs in 2 processes" in told
    assert "measured on 2 distinct processes" in told
    written = json.loads(out.read_text())
    runs, took = written["runs"], written["time"]
    assert sum(run["seconds"] for run in runs) == pytest.approx(took["busy"])
    assert 0 < max(run["seconds"] for run in runs) <= took["seconds"] - took["start"] <= took["busy"]
    assert [set(process["step"]) for process in took["measured"]["processes"]] == [{"1", "2"}] * 2
    assert [run["activations"] > 0 for run in runs] == [True] * 4
    assert written["cost"]["kwh"] == pytest.approx(took["busy"] / 3600 * 0.1 * 1.5)
    deep = [run for run in runs if "-d2-" in run["name"]]
    assert deep[0]["activations"] > runs[0]["activations"]


def test_a_forecast_narrows_with_the_noise(studied):
    made = studied(["study=demo", "architecture=causal_decoder", "shape.depth=3,5,7"])
    widths = []
    for scale in (0.01, 0.001):
        cfg = compose("plan", ["published=besiroglu", f"forecast.scale={scale}", "forecast.tables=40"])
        found = shown.expected(made, cfg)
        assert found is not None
        (one,) = found.by_architecture.values()
        assert isinstance(one, Recovery)
        alpha = one.spread["alpha"]
        assert (one.n, alpha["truth"]) == (9, 0.3478)
        assert alpha["lo95"] < 0.3478 < alpha["hi95"]
        widths.append(half(alpha))
    assert widths[1] < widths[0] / 4


def test_too_few_runs_for_a_law_are_told(monkeypatch, capsys):
    assert call(plan.main, monkeypatch, "study=demo", "shape.depth=2", "budget.C=1.9e10", "time=none") == 0
    assert "causal_decoder: no forecast: " in capsys.readouterr().out


def test_a_table_of_runs_for_other_programs(tmp_path, monkeypatch):
    out = tmp_path / "plan.csv"
    arguments = [
        "study=demo",
        "shape.depth=2",
        "budget.C=1.9e10",
        "time=assumed",
        "forecast.tables=0",
        f"out={out}",
    ]
    assert call(plan.main, monkeypatch, *arguments) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [int(row["N"]) for row in rows] == [6736, 6736, 15552]
    for row in rows:  # conf/hardware/cpu.yaml
        assert float(row["seconds"]) == pytest.approx(float(row["C"]) / 2.14e11 / 0.34)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["budgt.D=1"], "unknown key 'budgt': did you mean 'budget'?"),
        (["forecast.tabels=1"], "unknown key 'forecast.tabels': did you mean 'forecast.tables'?"),
        (["time=soon"], "time=soon: is one of measured, assumed, none"),
        (["seconds=-1"], "seconds=-1: has to be a positive number"),
        (["hardware=h100"], "hardware: H100 SXM is a cuda, and the study's device=cpu"),
        (["hardware=h1000"], "Could not find 'hardware/h1000'"),
        (["out=plan.txt"], "out=plan.txt: has to be a .json or a .csv"),
        (["published=kaplan"], "forecast.scale: L(N, D) of Kaplan et al. 2020 has no scatter"),
        (["forecast.scale=0"], "forecast.scale=0: has to be a positive number"),
        (["fit=nowhere.json"], "nowhere.json"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(monkeypatch, capsys, arguments, told):
    assert call(plan.main, monkeypatch, *arguments) == 1
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
