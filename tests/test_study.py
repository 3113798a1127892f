"""A small real study on the embedded corpus, with the W&B mirror on: minutes, so slow."""

import os
import signal

import numpy as np
import pytest
from commands import start

from analysis.tables.runs import load
from scalelaw.data.corpora import sotu
from scalelaw.data.tokens import Bytes
from scalelaw.run import records

SMALL = [
    "architecture=causal_decoder,prefix_decoder,encoder_decoder",
    "shape.depth=2",
    "budget.C=5.7e10,1.9e10",
]


@pytest.mark.slow
def test_three_architectures_learn_prose_and_survive_a_kill(tmp_path):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    cache = f"data.cache={tmp_path / 'data'}"
    process = start("experiments.train", "-m", "study=demo", *SMALL, cache, cwd=tmp_path / "whole")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output

    process = start("experiments.train", "-m", "study=demo", *SMALL, cache, cwd=tmp_path / "cut")
    finished = 0
    for line in process.stdout:
        finished += line.startswith("finished")
        if finished == 2:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = start("experiments.train", "-m", "study=demo", *SMALL, cache, cwd=tmp_path / "cut")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "2 of them finished before" in output or "3 of them finished before" in output

    whole, cut = (load(tmp_path / name / "outputs" / "demo") for name in ("whole", "cut"))
    assert whole.to_csv() == cut.to_csv()
    source = sotu(tokenizer=Bytes(), validation=0.05, salt="scalelaw", cache=str(tmp_path / "data"))
    bigrams = np.zeros((256, 256))
    tokens = np.asarray(source._train)
    np.add.at(bigrams, (tokens[:-1], tokens[1:]), 1)
    share = bigrams / bigrams.sum()
    given = share / share.sum(axis=1, keepdims=True).clip(1e-300)
    entropy = -(share[share > 0] * np.log(given[share > 0])).sum()
    best = whole.groupby("architecture")["loss"].min()
    assert (best < entropy).all(), (best, entropy)  # more than letter pairs was learned
    assert len(list((tmp_path / "whole").rglob("offline-run-*"))) == len(list(records(tmp_path / "whole")))
