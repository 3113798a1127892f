"""Seen and unseen text: what limits the data, the bound by hand, planted gaps, and memorising found."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from commands import TINY, book, call  # noqa: F401 (a fixture)

from analysis import generalisation
from experiments.generalisation import main as door
from experiments.train import main as train
from scalelaw.contracts import BadInput
from scalelaw.data.stream import PIECE, TokenSource
from scalelaw.data.tokens import Bytes
from scalelaw.run import records


def source(tokens: int) -> TokenSource:
    text = np.arange(tokens, dtype=np.uint32)
    return TokenSource(train=text, validation=text[:100], tokenizer=Bytes(), manifest={"name": "count"})


def test_a_limited_source_holds_as_many_distinct_tokens_from_the_whole_text():
    whole = source(100 * PIECE)
    part = whole.limited(10 * PIECE)
    assert part.train_tokens == 10 * PIECE
    windows = part.windows(0, 10 * PIECE // 16 - 1, window=16, seed=0)[:, :-1]
    read = np.unique(windows)
    assert len(read) > 0.99 * 10 * PIECE
    assert read.min() < PIECE
    assert read.max() >= 99 * PIECE
    assert np.array_equal(part.validation(4, window=16), whole.validation(4, window=16))
    assert whole.limited(whole.train_tokens).train_tokens == whole.train_tokens
    for wrong in (PIECE - 1, 101 * PIECE, 2048.0):
        with pytest.raises(BadInput, match=r"data\.train_tokens"):
            whole.limited(wrong)


def test_the_bound_by_hand():
    """h = 10, n = 1,000, delta = 0.05: sqrt((10 (ln 200 + 1) + ln 80) / 1000)."""
    assert generalisation.bound(10, 1000, 0.05) == pytest.approx(
        math.sqrt((10 * 6.2983174 + 4.3820266) / 1000)
    )
    assert generalisation.bound(1e6, 1e5, 0.05) == 1.0
    few, many = (generalisation.bound(h, 1e9, 0.05) for h in (1e4, 1e6))
    assert math.log(many / few) / math.log(100) == pytest.approx(0.5, abs=0.1)


def planted(exponent, noise=0.02, seeds=4):
    rng = np.random.default_rng(0)
    rows = []
    for N in (1e4, 1e5, 1e6):
        for seed in range(seeds):
            gap = 1e-3 * N**exponent * math.exp(rng.normal(0, noise))
            row = {"architecture": "causal_decoder", "N": N, "D": 8e5, "unique_tokens": 1e5, "seed": seed}
            rows.append(
                row | {"seen_loss": 2.0, "unseen_loss": 2 + gap, "seen_error": 0.5, "unseen_error": 0.52}
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("exponent", "said"), [(0.2, "excluded"), (0.5, "not excluded")])
def test_a_planted_growth_of_the_gap_is_found(exponent, said):
    runs = planted(exponent)
    grown = generalisation.growth(runs)
    found = grown["causal_decoder", 8]
    assert found is not None
    assert found.exponent == pytest.approx(exponent, abs=0.02)
    assert found.low < exponent < found.high
    table = generalisation.gaps(runs, 0.05)
    assert table.gap_error.tolist() == pytest.approx([0.02] * 3)
    assert (table.n == 1e5).all()
    assert table.bound.tolist()[1:] == [1.0, 1.0]
    [line] = generalisation.verdict(table, grown)
    assert f"1/2 is {said};" in line
    assert "says nothing at 2 of 3 sizes" in line


def test_a_gap_that_is_not_positive_has_no_exponent():
    runs = planted(0.2).assign(unseen_loss=1.9)
    assert generalisation.growth(runs) == {("causal_decoder", 8): None}
    [line] = generalisation.verdict(generalisation.gaps(runs, 0.05), generalisation.growth(runs))
    assert "no exponent of N" in line


def test_an_interval_takes_two_seeds():
    assert generalisation.gaps(planted(0.2, seeds=1), 0.05).loss_lo95.isna().all()


def test_a_model_that_repeats_its_text_knows_it_better_than_text_it_never_saw(tmp_path, monkeypatch, book):  # noqa: F811
    words = [word for word in TINY if not word.startswith(("budget", "evaluation.rows"))]
    words += ["data=limited", "data@data.corpus=text", book.replace("data.", "data.corpus."), "seed=0"]
    words += ["data.train_tokens=1024", "budget.D=65536", "evaluation.rows=64", "checkpoints.weights=true"]
    words += ["rows=8", "optimizer.lr=0.02"]
    assert call(train, monkeypatch, *words, f"output={tmp_path}") == 0
    ((_, run),) = records(tmp_path)
    assert (run.unique_tokens, run.D, run.data) == (1024, 65536, "limited")
    assert call(door, monkeypatch, f"runs={tmp_path}", "rows=64", f"cache={tmp_path / 'data'}") == 0
    [found] = json.loads((tmp_path / "generalisation.json").read_text())["runs"]
    assert found["unseen_loss"] == pytest.approx(run.loss, rel=1e-5)  # the common measure itself
    assert found["seen_loss"] < found["unseen_loss"] - 0.05
    assert found["seen_error"] < found["unseen_error"]


def test_a_folder_without_runs_is_told(tmp_path, monkeypatch, capsys):
    assert call(door, monkeypatch, f"runs={tmp_path}") == 1
    assert "holds no finished run" in capsys.readouterr().err
