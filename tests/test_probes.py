"""Linear probes: depths counted by hand, a regression by other means, a model that writes what is asked."""

import numpy as np
import pytest
import torch
from test_measures import subject
from tiny import model

from scalelaw.contracts import BadInput, Batch
from scalelaw.measures.probes import BracketProbe, FactProbe, open_brackets, r_squared, ridge
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.objectives.answers import Answers
from scalelaw.tasks.bracket_depth import BracketDepth
from scalelaw.tasks.fact_recall import FactRecall
from scalelaw.tasks.source import TaskSource

KNOBS = {"along": False, "rows": 200, "layers": ["last"], "penalty": 1e-3}


def test_depths_by_hand():
    written = "( ( ) ( ? 2 | ( ( ( ? 3 |"
    tokens = np.array([[{"(": 2, ")": 3, "?": 1, "|": 0, "3": 7, "2": 6}[one] for one in written.split()]])
    assert open_brackets(tokens).tolist() == [[1, 2, 1, 2, 2, 2, 0, 1, 2, 3, 3, 3, 0]]


def test_a_ridge_is_least_squares_on_added_rows():
    rng = np.random.default_rng(0)
    X, y, at = rng.standard_normal((50, 4)) + 3, rng.standard_normal((50, 2)), rng.standard_normal((7, 4))
    Z = X - X.mean(axis=0)
    strength = np.sqrt(0.1 * np.trace(Z.T @ Z) / 4)
    rows = np.vstack([Z, strength * np.eye(4)])
    w = np.linalg.lstsq(rows, np.vstack([y - y.mean(axis=0), np.zeros((4, 2))]), rcond=None)[0]
    assert np.allclose(ridge(X, y, at, 0.1), (at - X.mean(axis=0)) @ w + y.mean(axis=0))


def test_r_squared_of_a_known_noise():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((4000, 3))
    y = X @ [1.0, 2.0, -1.0] + 2 * rng.standard_normal(4000)
    assert r_squared(ridge(X[:2000], y[:2000], X[2000:], 1e-6), y[2000:]) == pytest.approx(0.6, abs=0.04)
    assert r_squared(np.full(4000, y.mean()), y) == pytest.approx(0)


def brackets() -> TaskSource:
    return TaskSource(task=BracketDepth(length=12, held_out=0.3, seed=0), items=50)


def test_a_model_that_was_taught_depth_shows_it_and_one_that_was_not_does_not():
    source = brackets()
    built, fresh = (model(CausalDecoder, depth=2) for _ in range(2))
    given = subject(
        model=built, fresh=lambda: fresh, source=source, objective=Answers(prefix=False), window=28
    )
    probe = BracketProbe(**KNOBS)
    probe.check(given)
    optimiser = torch.optim.Adam(built.parameters(), lr=5e-3)
    for step in range(150):
        tokens = source.windows(64 * step, 64, window=28, seed=0)[:, :-1]
        labels = torch.from_numpy(open_brackets(tokens.numpy())).long()  # depth is asked at every place
        optimiser.zero_grad()
        (built.nll(Batch.of(tokens, labels, torch.zeros(64, dtype=torch.int64))) / 1792).backward()
        optimiser.step()
    found = probe(given)
    assert found["last"] > 0.9
    assert 1 - found["last_untrained"] > 2 * (1 - found["last"]), found


def test_other_text_is_refused():
    with pytest.raises(BadInput, match="data/task=bracket_depth"):
        BracketProbe(**KNOBS).check(subject())
    with pytest.raises(BadInput, match="window=27: takes 28"):
        BracketProbe(**KNOBS).check(subject(source=brackets(), window=27))
    with pytest.raises(BadInput, match="penalty"):
        BracketProbe(**KNOBS | {"penalty": 0})


FACTS = {"along": False, "layers": ["first", "last"], "penalty": 1e-3, "folds": 4}


def facts() -> TaskSource:
    task = FactRecall(subjects=64, relations=2, values=4, exponent=0, held_out=0.2, seed=0)
    return TaskSource(task=task, items=50)


@pytest.mark.parametrize("kind", [CausalDecoder, EncoderDecoder])
def test_facts_that_were_learnt_are_read_off_and_those_that_were_not_are_guessed(kind):
    source, objective = facts(), Answers(prefix=kind is EncoderDecoder)
    built, fresh = (model(kind, depth=4) for _ in range(2))
    given = subject(model=built, fresh=lambda: fresh, source=source, objective=objective, window=4)
    optimiser = torch.optim.Adam(built.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(300):
        batch = objective(source.windows(64 * step, 64, window=4, seed=0), generator)
        optimiser.zero_grad()
        (built.nll(batch) / 64).backward()
        optimiser.step()
    probe = FactProbe(**FACTS)
    probe.check(given)
    found = probe(given)
    assert 0.25 < found["chance"] < 0.4
    assert found["last"] > 0.9
    # Which value a pair has was drawn: from other pairs nothing follows, 128 guesses of one in four.
    subject_alone = ("first_subject", "last_subject") if kind is CausalDecoder else ()
    for name in ("first", "last", *subject_alone):
        assert found[f"{name}_untrained"] < 0.42
    assert len(found) == 1 + 2 * (2 + len(subject_alone))


def test_the_value_of_a_fact_may_be_read_off_its_subject_where_a_model_wrote_it_there():
    source, objective = facts(), Answers(prefix=False)
    built = model(CausalDecoder, depth=2)
    table = torch.from_numpy(source.task.table)
    optimiser = torch.optim.Adam(built.parameters(), lr=5e-3)
    windows = torch.from_numpy(source.writing.items(source.task.told())[::2, :-1])
    both = 4 * table[:, 0] + table[:, 1]  # a label for each pair of values
    labels = torch.full_like(windows[:, :-1], -100)
    labels[:, 1] = both
    for _ in range(300):
        optimiser.zero_grad()
        (built.nll(Batch.of(windows[:, :-1], labels, torch.zeros(64, dtype=torch.int64))) / 64).backward()
        optimiser.step()
    given = subject(model=built, fresh=lambda: built, source=source, objective=objective, window=4)
    assert FactProbe(**FACTS)(given)["last_subject"] > 0.9


def test_facts_that_are_not_known_are_refused():
    with pytest.raises(BadInput, match="data/task=fact_recall"):
        FactProbe(**FACTS).check(subject())
    with pytest.raises(BadInput, match="folds=100: of 64 subjects"):
        FactProbe(**FACTS | {"folds": 100}).check(subject(source=facts()))
    with pytest.raises(BadInput, match="folds=1"):
        FactProbe(**FACTS | {"folds": 1})
