"""The language whose truth is known: its loss is exact, and nothing beats it."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from training import job

from scalelaw.budget import Tokens
from scalelaw.contracts import ANSWER, SEPARATOR, BadInput
from scalelaw.evaluate import Evaluation
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.shape import Shape
from scalelaw.tasks.planted import Planted
from scalelaw.tasks.source import FIRST, TaskSource
from scalelaw.train import train


def language(base: int = 2, values: int = 3, alpha: float = 0.5, noise: float = 0.2) -> Planted:
    return Planted(base=base, values=values, alpha=alpha, noise=noise, seed=0)


def spelt(task: Planted) -> dict[tuple[int, ...], float]:
    """Every item there can be, as its tokens, with its probability: from rank, fact and noise alone."""
    K = task.base**2
    whole = sum(k ** -(task.alpha + 1) for k in range(1, K + 1))
    found = {}
    for rank, value in product(range(K), range(task.values)):
        key = int(task.key[rank])
        right = value == int(task.value[key])
        said = 1 - task.noise if right else task.noise / (task.values - 1)
        high, low = divmod(key, task.base)
        tokens = (FIRST + high, FIRST + task.base + low, ANSWER, FIRST + 2 * task.base + value, SEPARATOR)
        found[tokens] = (rank + 1) ** -(task.alpha + 1) / whole * said
    return found


def test_the_loss_is_that_of_brute_force():
    """All texts of two items, and each token's probability as a quotient of sums over them."""
    task = language()
    made = TaskSource(task=task, items=10)
    joint = {a + b: p * q for a, p in spelt(task).items() for b, q in spelt(task).items()}
    assert sum(joint.values()) == pytest.approx(1)
    begins: Counter = Counter()
    for text, p in joint.items():
        for end in range(len(text) + 1):
            begins[text[:end]] += p
    rows, window = 40, 9
    nats = made.bayes(rows, window=window)
    for row, said in zip(made.validation(rows, window=window).tolist(), nats.tolist(), strict=True):
        for t in range(window + 1):
            assert said[t] == pytest.approx(-math.log(begins[tuple(row[: t + 1])] / begins[tuple(row[:t])]))


def test_what_fills_a_window_is_certain():
    made = TaskSource(task=language(), items=10)
    nats, text = made.bayes(7, window=12), made.validation(7, window=12)
    assert text.shape == nats.shape == (7, 13)
    assert bool((text[:, 10:] == SEPARATOR).all())
    assert bool((nats[:, 10:] == 0).all())


def test_on_much_text_the_loss_is_the_entropy():
    task = language(base=8, values=4)
    key, value = task.entropy()
    by_hand = -sum(p * math.log(p) for p in spelt(task).values())
    assert key + value == pytest.approx(by_hand)
    nats = TaskSource(task=task, items=10).bayes(20_000, window=3)
    assert float(nats[:, :2].sum(dim=1).mean()) == pytest.approx(key, abs=0.05)  # five standard errors
    assert float(nats[:, 3].mean()) == pytest.approx(value, abs=0.03)


def test_digits_and_pairs_come_as_often_as_said():
    task = language(base=4)
    drawn = task.training(np.random.default_rng(0), 100_000)
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (drawn.questions[:, 0], drawn.questions[:, 1] - 4), 1e-5)
    exact = np.zeros((4, 4))
    for (high, low, *_), p in spelt(task).items():
        exact[high - FIRST, low - FIRST - 4] += p
    assert np.abs(pairs - exact).max() < 5 * math.sqrt(0.25 / 100_000)
    assert np.abs(pairs.sum(axis=1) - exact.sum(axis=1)).max() < 5 * math.sqrt(0.25 / 100_000)


@pytest.mark.parametrize("known", [0, 1, 5, 16])
def test_excess_is_the_loss_of_knowing_the_commonest_facts(known):
    """Against the sum over all items of p log(p / q), q guessing evenly where the fact is not known."""
    task = language(base=4)
    rank = {int(key): r for r, key in enumerate(task.key)}
    lost = 0.0
    for (high, low, _, value, _), p in spelt(task).items():
        key = (high - FIRST) * 4 + low - FIRST - 4
        right = value - FIRST - 8 == int(task.value[key])
        said = 1 - task.noise if right else task.noise / 2
        lost += p * math.log(said / (1 / 3)) if rank[key] >= known else 0.0
    assert task.excess(known) == pytest.approx(lost)


def test_the_excess_falls_as_its_exponent_says():
    """n ** -alpha, once K is far beyond n: alpha 0.5 within 2 % for n from 100 to 1,000 of 4 million."""
    task = language(base=2000)
    slope = math.log(task.excess(1000) / task.excess(100)) / math.log(10)
    assert slope == pytest.approx(-0.5, rel=0.03)


def test_no_model_beats_the_truth_and_a_trained_one_comes_close(tmp_path):
    made = TaskSource(task=language(base=3, values=4, alpha=0.5, noise=0.1), items=500)
    parts = {
        "shape": Shape(depth=1, width=24, heads=1, ffn_width=64),
        "source": made,
        "objective": CausalLM(),
        "window": 23,
        "rows": 32,
        "evaluation": Evaluation(points=3, curve_rows=8, rows=400, prefix=None),
    }
    (run,) = train([job(tmp_path, budget=Tokens(D=500 * 32 * 23), **parts)])
    nats = made.bayes(400, window=23)[:, 11:]
    assert run.bayes_loss == pytest.approx(float(nats.mean()))
    assert 0 < run.loss - run.bayes_loss < 0.015
    assert run.row()["bayes_loss"] == run.bayes_loss


def test_untrained_models_are_above_it(tmp_path):
    made = TaskSource(task=language(base=3), items=20)
    torch.manual_seed(0)
    model = CausalDecoder(
        Shape(depth=1, width=8, heads=1, ffn_width=16), made.vocab_size, tie_embeddings=False
    )
    found = Evaluation(points=1, curve_rows=8, rows=64, prefix=None).final(model, made, 18, CausalLM())
    assert found["loss"] == pytest.approx(math.log(made.vocab_size))
    assert found["bayes_loss"] < 0.5 * found["loss"]


@pytest.mark.parametrize(("knob", "value"), [("alpha", 0.0), ("noise", 1.0), ("noise", -0.1)])
def test_a_language_that_cannot_be_is_named(knob, value):
    with pytest.raises(BadInput, match=f"{knob}={value}"):
        language(**{knob: value})
