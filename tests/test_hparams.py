"""Planted laws of the best learning rate and batch come back; what a study cannot tell is said."""

import json

import numpy as np
import pytest
from commands import call
from grids import (
    ARCHITECTURE,
    DELTA,
    OPTIMIZER,
    SCHEDULE,
    SIZES,
    A,
    B,
    G,
    best_batch,
    best_rate,
    record,
    study,
)

from analysis.tuning import grids, hparams
from analysis.tuning.powers import Power
from experiments.hparams import main as door

RULE = "width_and_depth"
RECIPE = {"architecture": ARCHITECTURE, "optimizer": OPTIMIZER, "schedule": SCHEDULE}


def tune(runs):
    return hparams.tune(runs, transfer=RULE)["causal_decoder"]


def test_the_best_rate_and_batch_of_every_cell_are_found():
    found = tune(study())
    assert len(found.cells) == 12
    assert found.undertuned == []
    for cell in found.cells:
        assert cell.batch.value == pytest.approx(best_batch(cell.D), rel=1e-6)
        assert cell.rate == pytest.approx(best_rate(cell.N, cell.D, cell.batch.value), rel=1e-6)
        for tried in cell.batches:
            assert tried.rate.value == pytest.approx(best_rate(cell.N, cell.D, tried.batch_tokens), rel=1e-6)


def test_planted_exponents_come_back():
    found = tune(study())
    assert found.refused == {}
    assert found.laws["lr"].exponents == pytest.approx({"N": A, "D": B, "batch_tokens": G})
    assert found.laws["batch_tokens"].exponents == pytest.approx({"D": DELTA})
    # Step Law's form: at the best batch, which moves with D.
    assert found.laws["lr at the best batch"].exponents == pytest.approx({"N": A, "D": B + G * DELTA})
    assert found.laws["lr"].predict({"N": 1e6, "D": 1e8, "batch_tokens": 512})[0] == pytest.approx(
        best_rate(1e6, 1e8, 512)
    )


def test_where_size_and_tokens_grow_together_the_law_in_C_is_the_one_that_stands():
    """DeepSeek's form: budgets proportional to N leave one direction."""
    of_size = dict(zip(SIZES.values(), (100_352, 802_816, 2_809_856), strict=True))
    runs = [run for run in study(budgets=of_size.values()) if of_size[run.N] == run.D]
    found = tune(runs)
    slope = np.polyfit(np.log([c.C for c in found.cells]), np.log([c.rate for c in found.cells]), 1)[0]
    assert found.laws["lr of C"].exponents["C"] == pytest.approx(slope)
    assert "lr of C" not in found.refused
    assert found.refused["lr at the best batch"] == "not determined: 3 of the 4 bracketed optima it needs"


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Nineteen of twenty, of 200 studies whose optima scatter by 10 %; and of a law's value in between."""
    rng, held = np.random.default_rng(0), []
    N, D = (grid.ravel() for grid in np.meshgrid(list(SIZES.values()), [1e5, 2e5, 4e5]))
    truth = 0.004 * (N / 5e4) ** A * (D / 3e5) ** B
    for _ in range(200):
        law = Power.fit({"N": N, "D": D}, truth * np.exp(0.1 * rng.standard_normal(9)), ("N", "D"))
        value, low, high = law.predict({"N": 2e4, "D": 3e5})
        inside = [low < 0.004 * (2e4 / 5e4) ** A < high]
        inside += [law.interval95[name][0] < e < law.interval95[name][1] for name, e in (("N", A), ("D", B))]
        held.append(inside)
        assert low < value < high
    assert np.mean(held, axis=0) == pytest.approx([0.95] * 3, abs=0.045)


def test_noise_of_runs_leaves_the_truth_within_the_intervals():
    found = tune(study(noise=0.002, seeds=(0, 1)))
    for name, e in {"N": A, "D": B, "batch_tokens": G}.items():
        low, high = found.laws["lr"].interval95[name]
        assert low < e < high
        assert high - low < 0.1
    assert found.cells[0].batches[0].rate.stderr == pytest.approx(0.05, abs=0.05)


def test_a_best_value_at_the_end_of_a_range_is_named_with_rung_and_range():
    low = tune(study(rates=(0.0005, 0.001, 0.002)))
    told = [said for said in low.undertuned if said.startswith("causal_decoder, width 48, D=100,352")]
    assert told[0].endswith(
        "is at the highest learning rate tried (range 0.0005 to 0.002): the rung is undertuned"
    )
    assert low.refused["lr"] == "not determined: no optimum is bracketed"
    large = tune(study(batches=(1024, 2048, 4096)))
    assert {cell.batch.status for cell in large.cells} == {"at the lowest batch tried"}
    assert "(range 1024 to 4096)" in large.undertuned[0]
    # The rate at a given batch is known all the same; D is off by what does not fill a batch.
    assert large.laws["lr"].exponents == pytest.approx({"N": A, "D": B, "batch_tokens": G}, abs=0.001)
    assert set(large.refused) == set(hparams.FORMS) - {"lr"}


def test_a_batch_between_untuned_neighbours_is_not_bracketed():
    wrong = [run for run in study() if run.batch_tokens < 1024 or run.config["optimizer"]["lr"] < 0.008]
    assert {cell.batch.status for cell in tune(wrong).cells} == {
        "the best learning rate at a batch of 1024 tokens is not bracketed"
    }


def test_what_did_not_vary_is_held_and_asked_for_elsewhere_refused():
    law = tune(study(batches=(256,))).laws["lr"]
    assert law.held == pytest.approx({"batch_tokens": 256})
    assert "at batch_tokens=256 alone" in law.formula()
    with pytest.raises(ValueError, match="the law holds for batch_tokens=256 alone, not 128"):
        law.predict({"N": 1e5, "D": 1e5, "batch_tokens": 128})
    with pytest.raises(ValueError, match="D must be a positive number"):
        law.predict({"N": 1e5, "batch_tokens": 256})


def test_exponents_that_nothing_tells_apart_are_not_determined():
    N = np.geomspace(1e4, 1e6, 8)
    with pytest.raises(ValueError, match="N and D moved together"):
        Power.fit({"N": N, "D": 20 * N * (1 + 0.001 * np.sin(N))}, N**-0.1, ("N", "D"))
    with pytest.raises(ValueError, match="2 of the 3 bracketed optima it needs"):
        Power.fit({"D": [1e5, 1e6]}, [1, 2], ("D",))


def test_runs_of_several_recipes_have_no_one_law():
    runs = list(study(budgets=(100_352,)))
    other = record(width=16, rate=0.1, loss=2.0, schedule={"warmup": 0.5})
    with pytest.raises(ValueError, match="causal_decoder: the runs differ in schedule"):
        tune([*runs, other])
    with pytest.raises(ValueError, match=r"the record's config has no optimizer\.lr"):
        tune([*runs, record(width=16, rate=0.1, loss=2.0, optimizer={"transfer": RULE})])
    with pytest.raises(ValueError, match=r"no finished run with optimizer\.transfer=none"):
        hparams.tune(runs, transfer="none")


def test_the_file_gives_back_what_was_fitted(tmp_path, monkeypatch, capsys):
    runs = list(study(noise=0.002))
    for run in runs:
        run.save(tmp_path / run.name)
    assert call(door, monkeypatch, f"runs={tmp_path}") == 0
    printed = capsys.readouterr().out
    assert "causal_decoder, batch_tokens = " in printed
    assert "<svg" in (tmp_path / "hparams.svg").read_text()
    said = json.loads((tmp_path / "hparams.json").read_text())
    assert said["provenance"]["command"].startswith("python -m experiments.hparams runs=")
    [advice] = hparams.load(tmp_path / "hparams.json")
    found = tune(runs)
    assert advice.laws == found.laws
    assert hparams.choose([advice], RECIPE) is advice
    lr, beyond = advice.lr(N=5e4, D=3e5, batch_tokens=256)
    assert lr == pytest.approx(0.004, rel=0.1)
    assert beyond == []
    rows, beyond = advice.rows(D=3e6, window=64)
    assert rows == round(found.laws["batch_tokens"].predict({"D": 3e6})[0] / 64)
    assert beyond == ["D=3e+06 (fitted 1.004e+05 to 8.028e+05)"]
    assert advice.rows(D=10, window=64)[0] == 1


def test_a_file_or_a_recipe_that_does_not_fit_is_refused_in_one_line(tmp_path):
    found = tune(study(budgets=(100_352,), batches=(256,)))
    entry = found.to_json()
    file = tmp_path / "hparams.json"
    file.write_text(json.dumps({"schema": 1, "architectures": {"causal_decoder": entry}}))
    [advice] = hparams.load(file)
    with pytest.raises(ValueError, match="no law of batch_tokens: not determined: no optimum is bracketed"):
        advice.batch_tokens(D=1e5)
    with pytest.raises(ValueError, match=r"measured with schedule \{'warmup': 0\.1\}, not"):
        hparams.choose([advice], RECIPE | {"schedule": {"warmup": 0.5}})
    with pytest.raises(ValueError, match="no law for architecture"):
        hparams.choose([advice], RECIPE | {"architecture": {}})
    for text in (
        "[]",
        "{",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "architectures": {"a": {"laws": {"lr": {}}}}}',
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"hparams\.json is no hparams\.json of experiments\.hparams"):
            hparams.load(file)


def test_a_diverged_run_brackets_nothing_and_counts_as_tried():
    runs = [run for run in study(budgets=(100_352,)) if run.batch_tokens == 256]
    top = max(run.config["optimizer"]["lr"] for run in runs)
    runs += [record(width=16, N=SIZES[16], D=100_352, batch=256, rate=2 * top, loss=None)]
    [cell] = [cell for cell in grids.cells(grids.table(runs, transfer=RULE)) if cell.width == 16]
    assert cell.batches[0].rate.bracketed
    assert cell.batches[0].rate.tried[1] == 2 * top
    assert cell.batch.status == "1 batch tried"
