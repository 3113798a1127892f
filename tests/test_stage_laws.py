"""Laws of stages: planted exponents come back, and what cannot be told is said."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import call

from analysis.stages import laws, table
from experiments.stages import main
from scalelaw.run import Run

TEXT = {"_target_": "text", "first": 1790}
SIZES, BUDGETS = (7e3, 2e4, 5e4, 1e5, 2e5), (5e4, 1e5, 2e5)


def record(run, *, N, D, loss, data="text", parent=None, **changes):
    config = {"data": TEXT, "window": 64, "evaluation": {"rows": 256}, "optimizer": {"lr": 0.004}}
    own = {"objective": "causal_lm", "data": data} | changes
    config |= {"start": {"parent": parent}} if parent else {}
    config |= own.pop("config", {})
    return Run(
        run=run,
        name=run,
        status="finished",
        architecture="causal_decoder",
        study="stages",
        seed=0,
        depth=2,
        width=16,
        N=int(N),
        N_total=int(N),
        D=int(D),
        D_target=int(D),
        unique_tokens=1,
        window=64,
        batch_tokens=64,
        steps=1,
        step=1,
        learning_rate=0.004,
        C=6.0 * N * D,
        C_6ND=6.0 * N * D,
        loss=loss,
        loss_objective=loss,
        bits_per_byte=loss,
        parent=parent,
        config=config,
        **own,
    )


def study():
    """Parents with a loss of 3 (N / 1e4)^-0.1; forgetting 0.2 (N / 1e4)^-0.3 (D / 1e5)^0.5, a
    tenth of it with replay."""
    rng, runs = np.random.default_rng(0), []
    for N in SIZES:
        parent = record(f"p{N:g}", N=N, D=4e5, loss=3 * (N / 1e4) ** -0.1)
        runs.append(parent)
        for D in BUDGETS:
            lost = 0.2 * (N / 1e4) ** -0.3 * (D / 1e5) ** 0.5 * np.exp(rng.normal(0, 0.02))
            for replay, share in ((0.0, 1.0), (0.1, 0.1)):
                runs.append(
                    record(
                        f"c{N:g}-{D:g}-{replay}",
                        N=N,
                        D=D,
                        loss=2.0,
                        parent=parent.run,
                        data="shift",
                        scores={"before": {"loss": parent.loss + share * lost}},
                        config={"data": {"before": TEXT, "after": {"first": 1946}, "replay": replay}},
                    )
                )
            score = {"exact": 0.0, "nll": 2.0 * (D / 1e5) ** -0.4, "items": 100}
            runs.append(
                record(
                    f"i{N:g}-{D:g}",
                    N=N,
                    D=D,
                    loss=parent.loss - 0.1,
                    parent=parent.run,
                    objective="answers",
                    data="instructions",
                    scores={"addition": score},
                    config={"data": {"corpus": TEXT, "shares": {"addition": 0.8}}},
                )
            )
    return runs


def test_planted_exponents_come_back():
    found = {(law.stage, law.measure): law for law in laws(table(study()))}
    plain = found["causal_lm on shift, replay 0", "forgotten"].law
    low, high = plain.interval95["N"]
    assert low < -0.3 < high
    assert high - low < 0.1
    low, high = plain.interval95["D"]
    assert low < 0.5 < high
    replayed = found["causal_lm on shift, replay 0.1", "forgotten"].law
    point = {"N": 2e4, "D": 1e5}
    assert replayed.predict(point)[0] == pytest.approx(0.1 * plain.predict(point)[0])
    answers = found["answers on instructions", "answer_nll"]
    assert answers.law.exponents["D"] == pytest.approx(-0.4)
    pretrained = found["causal_lm on text", "loss"].law
    assert pretrained.exponents == {"N": pytest.approx(-0.1)}
    assert pretrained.held == {"D": pytest.approx(4e5)}


def test_what_is_not_identified_is_said():
    rows = table(study())
    found = {(law.stage, law.measure): law for law in laws(rows)}
    assert "not positive in 15 of them" in found["answers on instructions", "forgotten"].told()
    assert "all have 1" in found["answers on instructions", "wrong"].told()
    few = laws(rows[(rows.stage == "causal_lm on text") & (rows.N < 3e4)])
    assert "2 of the 3 runs it needs" in few[0].told()
    noisy = rows[rows.stage == "causal_lm on shift, replay 0"].copy()
    noisy["forgotten"] = np.exp(np.random.default_rng(0).normal(0, 1, len(noisy)))
    (law,) = (law for law in laws(noisy) if law.measure == "forgotten")
    assert law.unsure == ["N", "D"]
    assert "not told from 0" in law.told()


def test_forgetting_is_told_of_the_same_windows_of_the_same_text_only():
    runs = study()
    rows = table(runs).set_index("run")
    assert rows.forgotten["i7000-50000"] == pytest.approx(-0.1)
    assert rows.forgotten[rows.parent.isna()].isna().all()
    (child,) = (run for run in runs if run.run == "i7000-50000")
    for other in (
        {"window": 32},
        {"evaluation": {"rows": 8}},
        {"data": {"corpus": {"first": 1900}, "shares": {"addition": 0.8}}},
    ):
        child.config.update(other)
        assert pd.isna(table(runs).set_index("run").forgotten["i7000-50000"])
        child.config.update({"window": 64, "evaluation": {"rows": 256}})
    with pytest.raises(ValueError, match="start=run"):
        table([run for run in runs if run.parent is None])


def test_the_command_writes_rows_and_laws(tmp_path, monkeypatch, capsys):
    for run in study():
        run.save(tmp_path / run.run)
    assert call(main, monkeypatch, f"runs={tmp_path}") == 0
    assert "forgotten, 15 runs: 0." in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "stages.csv")) == 50
    told = json.loads((tmp_path / "stages.json").read_text())
    assert (tmp_path / "stages.md").read_text().count("\n- ") == len(told["laws"])
    assert {law["stage"] for law in told["laws"]} == {
        "answers on instructions",
        "causal_lm on shift, replay 0",
        "causal_lm on shift, replay 0.1",
        "causal_lm on text",
    }
