"""Abilities: nothing held out is trained on, answers follow from questions, chance and scores are right."""

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from asked import ROOT, SOLVERS, Answering, parities, source, texts
from commands import TINY, call
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from training import Chain, job
from training import run as tiny

from analysis.tables.scores import matrix, table
from experiments.scores import main as scores
from experiments.train import main as train
from scalelaw.contracts import ANSWER, IGNORE, SEPARATOR, BadInput, Exam
from scalelaw.data.tokens import Bytes
from scalelaw.evaluate import score
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.answers import Answers
from scalelaw.run import read_metrics, records
from scalelaw.shape import Shape
from scalelaw.tasks.source import FIRST, Mixture, TaskSource
from scalelaw.tasks.task import below

TASKS = sorted(path.stem for path in Path(f"{ROOT}/conf/data/task").glob("*.yaml"))
NOT_SOLVED = {"bigram", "fact_recall", "sparse_parity"}  # by a process, a memory and a search


def items(task, side: str, n: int, seed: int = 0):
    return texts(task, getattr(task, side)(np.random.default_rng(seed), n))


# --- the items


@pytest.mark.parametrize("name", TASKS)
def test_nothing_held_out_is_trained_on(name):
    task = source(name).task
    learnt = {question for question, _ in items(task, "training", 10_000)}
    tested = {question for question, _ in items(task, "testing", 1_000)}
    assert len(learnt) > 300
    assert len(tested) > 60
    assert not learnt & tested


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("side", ["training", "testing"])
def test_answers_follow_from_questions(name, side):
    asked = items(source(name).task, side, 1_000)
    assert [answer for _, answer in asked] == [SOLVERS[name](question) for question, _ in asked]


def test_every_task_is_solved_here():
    assert set(SOLVERS) | NOT_SOLVED == set(TASKS)


@pytest.mark.parametrize("many", [1, 3, 4])
def test_more_hops_and_distractors_are_solved_too(many):
    task = source("hops", f"data.task.hops={many}", "data.task.nodes=7").task
    asked = items(task, "testing", 300)
    assert [SOLVERS["hops"](question) for question, _ in asked] == [answer for _, answer in asked]
    family = source("kinship", f"data.task.distractors={many}").task
    assert all(SOLVERS["kinship"](question) == answer for question, answer in items(family, "testing", 300))


def test_parts_have_exams_of_their_own():
    walks = source("hops", "data.task.hops=3").task
    for name, part in walks.exams(np.random.default_rng(0), 200).items():
        assert len(part.questions) == 200
        assert {question.split()[-2] for question, _ in texts(walks, part)} == {name.removeprefix("hops_")}
    parity = source("sparse_parity").task
    learnt = {question for question, _ in items(parity, "training", 10_000)}
    for name, part in parity.exams(np.random.default_rng(0), 200).items():
        asked = {question for question, _ in texts(parity, part)}
        assert {question.split()[0] for question in asked} == {f"t{name[-1]}"}
        assert len(asked) > 60  # of a tenth of 1,024
        assert not asked & learnt


def test_kinship_has_every_composition():
    assert len({answer for _, answer in items(source("kinship").task, "testing", 2_000)}) == 16


def test_parity_is_of_exactly_one_set_of_bits():
    task = source("sparse_parity").task
    found = parities(items(task, "training", 2_000) + items(task, "testing", 300), 3)
    assert len(found) == 4
    assert all(len(sets) == 1 for sets in found.values())


def test_facts_tested_were_told_in_another_form():
    task = source("fact_recall").task
    told = dict(items(task, "training", 60_000))
    tested = items(task, "testing", 10_000)
    assert 180 < len(tested) < 330  # a quarter of 1,024; binomial standard error 14
    for question, answer in tested:
        relation, subject = question[:3], question[3:]
        assert told[f"{subject}{relation}"] == answer
    others = sum(question.startswith("r") for question in told)
    assert others == 1024 - len(tested)  # all other facts are asked in training too


def test_zipf_subjects_are_told_by_rank():
    task = source("fact_recall", "data.task.exponent=1").task
    told = Counter(
        next(part for part in question.split() if part.startswith("s"))
        for question, _ in items(task, "training", 40_000)
    )
    assert told["s0.0"] / told["s0.9"] == pytest.approx(10, rel=0.2)


def test_the_control_is_the_chain_it_says():
    task = source("bigram").task
    drawn = task.training(np.random.default_rng(0), 50_000)
    pairs = np.stack((drawn.questions[:, -1], drawn.answers[:, 0]))
    counts = np.zeros((64, 64))
    np.add.at(counts, tuple(pairs), 1)
    seen = counts / counts.sum(axis=1, keepdims=True)
    assert np.abs(seen - task.transitions).max() < 0.1
    assert np.abs(seen - task.transitions).mean() < 0.002


def test_the_share_held_out_is_met():
    rows = np.random.default_rng(0).integers(50, size=(40_000, 3))
    assert below(rows, 0.3, 0).mean() == pytest.approx(0.3, abs=0.012)  # five standard errors
    both = below(rows, 0.3, 0) & below(rows, 0.3, 1)
    assert both.mean() == pytest.approx(0.09, abs=0.008)  # another seed is another split


# --- chance


@pytest.mark.parametrize("name", TASKS)
def test_chance_is_that_of_the_best_guess(name):
    made = source(name)
    title, exam = next(iter(made.exams.items()))
    asked = texts(made.task, made.task.exams(np.random.default_rng(1 << 32), 500)[title])
    commonest = Counter(answer for _, answer in asked).most_common(1)[0][1] / len(asked)
    assert exam.chance >= commonest
    symbols = [tuple(int(t) - FIRST for t in row[q:]) for paper, q in exam.papers for row in paper]
    assert Counter("".join(made.task.symbols[s] for s in row) for row in symbols) == Counter(
        answer for _, answer in asked
    )
    nll, brier, tokens = 0.0, 0.0, 0
    for column in zip(*symbols, strict=True):
        counts = Counter(column)
        p = [counts[symbol] / len(column) for symbol in column]
        nll, brier = nll - sum(map(math.log, p)), brier + sum((1 - q) ** 2 for q in p)
        tokens += len(column)
    assert exam.chance_nll == pytest.approx(nll / tokens)
    assert exam.chance_brier == pytest.approx(brier / tokens)


def test_two_hops_over_six_letters_are_guessed_one_time_in_three():
    """The start, what follows it and what it follows cannot be two hops away; a sixth is not chance."""
    exams = source("hops", "data.items=5000").exams
    assert exams["hops_2"].chance == pytest.approx(1 / 3, abs=0.03)
    assert exams["hops_1"].chance == pytest.approx(1 / 6, abs=0.03)


# --- scores

TRUTH = torch.tensor([[7, 9, ANSWER, 3, 4], [7, 8, ANSWER, 3, 2]])
TWO = Exam(papers=((TRUTH, 3),), chance=0.5, chance_nll=0.3, chance_brier=0.1, memory=(10, 4))


def says(*rows: list[float]):
    """The same probabilities at each place for all items."""
    return Answering(lambda place, label: torch.tensor(rows[place]).log().expand(len(label), -1))


def test_scores_by_hand():
    """3 is given 0.5 at the first place; 4 and 2 at the second 0.6 and 0.3: 4 wins, so one item is right."""
    found = score(says([0.1, 0.2, 0.2, 0.5, 0.0], [0.0, 0.1, 0.3, 0.0, 0.6]), TWO)
    assert found["nll"] == pytest.approx(-(2 * math.log(0.5) + math.log(0.6) + math.log(0.3)) / 4)
    assert found["brier"] == pytest.approx((2 * 0.25 + 0.16 + 0.49) / 4)
    assert (found["exact"], found["items"], found["tokens"]) == (0.5, 2, 2.0)
    bits = 2 - (-(2 * math.log2(0.5) + math.log2(0.6) + math.log2(0.3)) / 2)
    assert found["bits"] == pytest.approx(10 * bits)


@pytest.mark.parametrize("name", TASKS)
def test_the_truth_scores_one_and_guesses_score_chance(name):
    made = source(name)
    exam = next(iter(made.exams.values()))
    V = made.vocab_size
    oracle = score(Answering(lambda place, label: 60.0 * torch.nn.functional.one_hot(label, V)), exam)
    assert (oracle["exact"], oracle["nll"], oracle["brier"]) == pytest.approx((1, 0, 0), abs=1e-12)
    ((paper, question),) = exam.papers
    places = [torch.bincount(column, minlength=V) / len(paper) for column in paper[:, question:].T]
    guess = score(Answering(lambda place, label: places[place].log().expand(len(label), -1)), exam)
    assert guess["nll"] == pytest.approx(exam.chance_nll)
    assert guess["brier"] == pytest.approx(exam.chance_brier)
    assert guess["exact"] <= exam.chance


@pytest.mark.parametrize("kind", [CausalDecoder, PrefixDecoder, EncoderDecoder])
def test_every_architecture_is_asked_for_the_answers_alone(kind):
    """A head that is zero gives each token 1 / V; and what is said depends on no answer but those before."""
    shape, made = Shape(depth=2, width=16, heads=2, ffn_width=32), source("addition", "data.items=50")
    (exam,) = made.exams.values()
    torch.manual_seed(0)
    model = kind(shape, made.vocab_size, tie_embeddings=False)
    found = score(model, exam)
    assert found["nll"] == pytest.approx(math.log(made.vocab_size))
    assert found["brier"] == pytest.approx((1 - 1 / made.vocab_size) ** 2)
    torch.nn.init.normal_(model.head.weight)
    ((paper, question),) = exam.papers
    other = paper.clone()
    other[:, -1] = FIRST + (other[:, -1] - FIRST + 1) % 10
    first = [score(model, Exam(((p[:, :-1], question),), 0, 0, 0))["nll"] for p in (paper, other)]
    assert first[0] == first[1]
    whole = [score(model, Exam(((p, question),), 0, 0, 0))["nll"] for p in (paper, other)]
    assert whole[0] != whole[1]


# --- the objective


def test_answers_are_labelled_and_nothing_else():
    a, b, c, d, e = range(10, 15)
    window = torch.tensor([[a, b, ANSWER, c, SEPARATOR, d, e, ANSWER, c]])
    batch = Answers(prefix=False)(window, torch.Generator())
    assert batch.labels.tolist() == [[IGNORE, IGNORE, c, IGNORE, IGNORE, IGNORE, IGNORE, c]]
    assert (batch.start, batch.longest) == (2, 0)
    drawn = {int(Answers(prefix=True)(window, torch.Generator().manual_seed(i)).longest) for i in range(9)}
    assert drawn == {3, 8}
    late = Answers(prefix=True)(window.repeat(2, 1), torch.Generator().manual_seed(0))
    asked = (late.labels != IGNORE).sum(dim=1).tolist()
    assert asked == ([2, 2] if late.longest == 3 else [1, 1])


def test_text_without_answers_is_learnt_as_text():
    window = torch.arange(10, 19)[None]
    assert Answers(prefix=False)(window, torch.Generator()).labels.tolist() == [list(range(11, 19))]
    halves = Answers(prefix=True)(window, torch.Generator())
    assert halves.longest == 4
    assert halves.labels.tolist() == [[IGNORE] * 3 + list(range(14, 19))]


@pytest.mark.parametrize("name", ["kinship", "addition"])
def test_the_objective_asks_exactly_the_answers(name):
    made = source(name)
    windows = made.windows(0, 3, window=made.longest - 2, seed=0)
    answer = made.longest - 2 - int((windows[0] == ANSWER).nonzero()[0])
    for prefix in (False, True):
        batch = Answers(prefix=prefix)(windows, torch.Generator())
        assert torch.equal(batch.labels[:, -answer:], windows[:, -answer:])
        assert bool((batch.labels[:, :-answer] == IGNORE).all())


# --- the text


def test_windows_are_whole_items_in_a_stream_without_state():
    made = source("addition")
    together = made.windows(1020, 10, window=50, seed=3)
    apart = [made.windows(1020 + i, 1, window=50, seed=3) for i in range(10)]
    assert torch.equal(together, torch.cat(apart))
    assert not torch.equal(together, made.windows(1020, 10, window=50, seed=4))
    assert torch.equal((together == ANSWER).sum(dim=1), torch.full((10,), 4))  # items of 11 in 52 tokens
    for row in together.tolist():
        words = "".join("|?0123456789+="[token] for token in row)
        for item in words.rstrip("|").split("|"):
            question, answer = item.split("?")
            assert SOLVERS["addition"](question) == answer


def test_a_window_too_small_is_named():
    made = source("kinship")
    with pytest.raises(BadInput, match=r"window=16 cannot hold an item of kinship_0: it takes 17"):
        made.windows(0, 1, window=16, seed=0)
    assert made.windows(0, 1, window=17, seed=0).shape == (1, 18)


class Corpus(Chain):
    vocab_size, tokenizer = 256, Bytes()
    token_bytes = Bytes().token_bytes

    @staticmethod
    def _row(window: int, *key: int) -> torch.Tensor:
        return 128 + Chain._row(window, *key)  # no byte that tasks are written in


def mixture(**shares: float) -> Mixture:
    tasks = {name: source(name).task for name in shares}
    return Mixture(corpus=Corpus(), tasks=tasks, shares=shares, items=40)


def test_a_mixture_has_its_shares_and_loses_no_text():
    mixed = mixture(kinship=0.2, addition=0.05)
    rows = mixed.windows(0, 2000, window=80, seed=1)
    tasks = (rows == ANSWER).any(dim=1)
    texts = [Bytes().decode(row) for row in rows[tasks].numpy()]
    assert sum(" is " in text for text in texts) == 400
    assert sum("+" in text for text in texts) == 100
    corpus = [row for row in rows[~tasks] if int(row.min()) >= 128]
    assert torch.equal(torch.stack(corpus), Corpus().windows(0, 1500, window=80, seed=1))
    assert torch.equal(mixed.windows(700, 600, window=80, seed=1), rows[700:1300])
    assert torch.equal(mixed.validation(5, window=80), Corpus().validation(5, window=80))


def test_items_in_bytes_are_the_same_items():
    (exam,) = mixture(kinship=0.1).exams.values()
    asked = 0
    for paper, question in exam.papers:
        for row in paper.tolist():
            assert SOLVERS["kinship"](bytes(row[: question - 1]).decode()) == bytes(row[question:]).decode()
            asked += 1
    assert asked == 40


@pytest.mark.parametrize("shares", [{"kinship": 1.1}, {"kinship": 0.5, "addition": 0.6}, {"kinship": 0}])
def test_shares_that_cannot_be_are_named(shares):
    with pytest.raises(BadInput, match=r"data\.shares"):
        mixture(**shares)


# --- runs


def test_scores_reach_record_metrics_and_table(tmp_path, monkeypatch):
    for seed in (0, 1):
        for lr in (0.01, 1e-7):
            own = ["data=task", "data/task=fact_recall", "objective=answers", "budget.D=4000", "rows=8"]
            own += [f"seed={seed}", f"optimizer.lr={lr}", f"output={tmp_path}"]
            assert call(train, monkeypatch, *TINY, *own) == 0
    runs = dict(records(tmp_path))
    for directory, run in runs.items():
        said = run.scores["fact_recall_1024"]
        last = read_metrics(directory)[-1]
        assert last["fact_recall_1024.nll"] == said["nll"]
        assert said["bits"] == pytest.approx(1024 * (5 - said["nll"] / math.log(2)))
    assert call(scores, monkeypatch, f"runs={tmp_path}", "tuned=false") == 0
    assert "| fact_recall_1024" in (tmp_path / "scores.md").read_text()
    every = pd.read_csv(tmp_path / "scores.csv")
    assert len(every) == 4 * 3
    assert {"task", "N", "C", "D", "depth", "score", "n", "chance", "metric", "model", "loss"} <= set(every)
    by_id = {run.run: run for run in runs.values()}
    for row in every[every.metric == "nll"].itertuples():
        assert row.score == by_id[row.run].scores["fact_recall_1024"]["nll"]
        bits = by_id[row.run].scores["fact_recall_1024"]["bits"]
        assert row.bits_per_parameter == pytest.approx(bits / by_id[row.run].N_total)
    assert call(scores, monkeypatch, f"runs={tmp_path}") == 0
    tuned = pd.read_csv(tmp_path / "scores.csv")
    assert len(tuned) == 2 * 3
    means = every[every.metric == "nll"].groupby("learning_rate").score.mean()
    assert set(tuned.learning_rate) == {means.idxmin()}
    one = next(iter(runs.values()))
    several = table([one, dataclasses.replace(one, architecture="prefix_decoder")], tuned=False)
    assert set(several.task) == {f"fact_recall_1024, {name}" for name in ("causal_decoder", "prefix_decoder")}


def test_a_matrix_has_the_mean_and_the_ends_of_a_cell():
    rows = pd.DataFrame(
        {
            "task": ["t", "t", "t", "u", "t"],
            "metric": ["exact", "exact", "exact", "exact", "nll"],
            "depth": [1, 1, 2, 2, 2],
            "width": 8,
            "D": 1e6,
            "score": [0.5, 1.0, 0.25, 0.125, 9.0],
            "chance": 0.1,
        }
    )
    head, lines = matrix(rows)
    assert head == ["exact match", "depth 1", "depth 2", "chance"]
    assert lines == [["t", "0.75 (0.50 to 1.00)", "0.25", "0.10"], ["u", "–", "0.12", "0.10"]]
    assert matrix(rows.assign(depth=1))[0] == ["exact match", "width 8", "chance"]
    apart = rows.assign(width=[8, 16, 8, 8, 8], D=[1e6, 1e6, 2e6, 1e6, 1e6])
    head, lines = matrix(apart)
    assert head[1:-1] == ["depth 1, width 8", "depth 1, width 16", "depth 2, width 8"]
    assert lines[0] == ["t, D = 1,000,000", "0.50", "1.00", "–", "0.10"]
    assert lines[1] == ["t, D = 2,000,000", "–", "–", "0.25", "0.10"]


def test_runs_without_scores_are_no_table(tmp_path, monkeypatch, capsys):
    tiny(tmp_path)
    assert call(scores, monkeypatch, f"runs={tmp_path}") == 1
    assert "no finished run has scores" in capsys.readouterr().err


@pytest.mark.parametrize("architecture", ["causal_decoder", "prefix_decoder", "encoder_decoder"])
def test_a_mixture_trains_and_scores_every_architecture(tmp_path, architecture):
    from scalelaw.train import train as fit

    kind = {"causal_decoder": CausalDecoder, "prefix_decoder": PrefixDecoder}.get(
        architecture, EncoderDecoder
    )
    made = mixture(kinship=0.3, addition=0.3)
    parts = {"window": 80, "objective": Answers(prefix=architecture != "causal_decoder"), "source": made}
    build = lambda shape, vocab: kind(shape, vocab, tie_embeddings=False)  # noqa: E731
    (run,) = fit([job(tmp_path, architecture=build, **parts)])
    assert run.finished
    assert set(run.scores) == {"kinship_0", "addition_2"}
    assert all(0 < said["nll"] < 2 * math.log(256) for said in run.scores.values())


def test_an_ability_is_learnt_and_a_size_is_too_small_for_it(tmp_path):
    """Sums modulo 11 of pairs never seen: width 16 knows them after 400 steps of 128, width 2 does not."""
    from scalelaw.budget import Tokens
    from scalelaw.train import train as fit

    made = source("modular_addition", "data.task.modulus=11", "data.task.held_out=0.2")
    found = []
    for width in (2, 16):
        shape = Shape(depth=1, width=width, heads=1, ffn_width=2 * width)
        parts = {"shape": shape, "source": made, "objective": Answers(prefix=False), "window": 3, "rows": 128}
        (run,) = fit([job(tmp_path / str(width), budget=Tokens(D=400 * 128 * 3), **parts)])
        found.append(run.scores["modular_addition_11"]["exact"])
    assert found[0] < 0.5
    assert found[1] > 0.8


def test_the_conf_opens_planted_and_mixture():
    with initialize_config_dir(f"{ROOT}/conf", version_base="1.3"):
        assert isinstance(instantiate(compose("train", ["data=planted"]).data), TaskSource)
        data = compose(
            "train", ["data=mixture", "+data/task@data.tasks.hops=hops", "+data.shares.hops=0.1"]
        ).data
        assert set(data.tasks) == set(data.shares) == {"fact_recall", "induction", "hops"}
