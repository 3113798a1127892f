"""What a stage learns by: responses alone, preferences, rewards, and what holds it to where it started."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training import Chain, job, run

from scalelaw.budget import Tokens
from scalelaw.checkpoint import Checkpoints
from scalelaw.contracts import ANSWER, IGNORE, SEPARATOR, BadInput
from scalelaw.data.shift import Shift
from scalelaw.data.tokens import Bytes
from scalelaw.meeting import varies
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.anchored import Anchored, fisher
from scalelaw.objectives.answers import Answers
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.objectives.dpo import DPO
from scalelaw.objectives.items import items, laid
from scalelaw.objectives.mixture import Moded
from scalelaw.objectives.policy_gradient import PolicyGradient, advantages, compared, repeated, sampled
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.run import read_metrics
from scalelaw.start import Parent
from scalelaw.tasks.addition import Addition
from scalelaw.tasks.modular_addition import ModularAddition
from scalelaw.tasks.source import Mixture, TaskSource
from scalelaw.trainee import Trainee

Q, A, B, C = 2, 3, 4, 5  # tokens of the tiny language; 0 ends an item, 1 asks
V = 6
# Two items: "Q?A" and "QQ?BC".
WINDOW = torch.tensor([[Q, ANSWER, A, SEPARATOR, Q, Q, ANSWER, B, C, SEPARATOR, SEPARATOR]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Bigram(nn.Module):
    """log p of a token given the last one, from a table: everything about it can be worked out by hand."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(V, V, generator=seeded(seed)))

    def forward(self, batch):
        return self.table[batch.tokens[:, batch.start :]]

    def nll(self, batch):
        labels = batch.labels[:, batch.start :]
        return nn.functional.cross_entropy(self(batch).flatten(0, 1), labels.flatten(), reduction="sum")

    def log_p(self, *pairs: tuple[int, int]) -> float:
        p = self.table.detach().double().log_softmax(-1)
        return sum(float(p[before, after]) for before, after in pairs)


# --- instruction tuning


def test_only_responses_are_learnt():
    """The gradient by the logits is zero wherever the next token is not of an answer."""
    batch = Answers(prefix=False)(WINDOW, seeded())
    logits = torch.randn(1, 10, V, requires_grad=True)
    nll = nn.functional.cross_entropy(logits[0], batch.labels[0], reduction="sum")
    nll.backward()
    learnt = logits.grad[0].ne(0).any(dim=1).nonzero().flatten().tolist()
    assert learnt == [1, 6, 7]
    p = logits.detach()[0].log_softmax(-1)
    assert nll.item() == pytest.approx(-float(p[1, A] + p[6, B] + p[7, C]), rel=1e-6)


class Text(Chain):
    """Text in bytes that tasks are not written in, and another such text."""

    vocab_size, tokenizer = 256, Bytes()
    token_bytes = Bytes().token_bytes

    def __init__(self, first: int = 128) -> None:
        self.first, self.manifest = first, {"name": f"from {first}", "tokenizer": "bytes"}

    def windows(self, position, rows, *, window, seed):
        return self.first + super().windows(position, rows, window=window, seed=seed)

    def validation(self, rows, *, window):
        return self.first + super().validation(rows, window=window)


def test_a_stage_may_learn_tasks_alone_and_still_tell_the_text_s_loss():
    tuned = Mixture(
        corpus=Text(),
        tasks={"addition": Addition(digits=1, reverse=False, held_out=0.2, seed=0)},
        shares={"addition": 1.0},
        items=10,
    )
    assert (tuned.windows(0, 50, window=20, seed=0) < 128).all()
    assert (tuned.validation(3, window=20) >= 128).all()


# --- items and preferences


def test_items_worked_by_hand():
    found = items(WINDOW)
    assert found == [([Q, ANSWER], [A]), ([Q, Q, ANSWER], [B, C])]
    batch = laid(found, prefix=True)
    assert batch.tokens.tolist() == [[Q, ANSWER, SEPARATOR, SEPARATOR], [Q, Q, ANSWER, B]]
    assert batch.labels.tolist() == [[IGNORE, A, IGNORE, IGNORE], [IGNORE, IGNORE, B, C]]
    assert batch.prefix.tolist() == [2, 3]
    assert laid(found, prefix=False).longest == 0
    with pytest.raises(BadInput, match="data=mixture"):
        items(torch.tensor([[Q, Q, SEPARATOR, Q, A]]))


def test_dpo_is_equation_7():
    start, model = Bigram(0), Bigram(1)
    batch = DPO(beta=0.3, prefix=False)(WINDOW, seeded())
    assert batch.labels.tolist() == [
        [IGNORE, A, IGNORE, IGNORE],
        [IGNORE, IGNORE, B, C],
        [IGNORE, B, C, IGNORE],  # the other's answer to each
        [IGNORE, IGNORE, A, IGNORE],
    ]
    short, long = [(ANSWER, A)], [(ANSWER, B), (B, C)]

    def ratio(answer) -> float:
        return model.log_p(*answer) - start.log_p(*answer)

    by_hand = [-math.log(1 / (1 + math.exp(-0.3 * d))) for d in (ratio(short) - ratio(long),)]
    by_hand.append(-math.log(1 / (1 + math.exp(-0.3 * (ratio(long) - ratio(short))))))
    loss = DPO(beta=0.3, prefix=False).against(start.requires_grad_(False), Chain(), 10)
    assert loss(model, batch).item() == pytest.approx(sum(by_hand), rel=1e-5)
    assert batch.asked == 2
    # At the start nothing is preferred yet: ln 2 a pair, and the slope of log sigmoid at 0, beta / 2.
    first = copy.deepcopy(start).requires_grad_(True)
    one = DPO(beta=0.3, prefix=False)(WINDOW, seeded())
    right = laid(items(WINDOW)[:1], prefix=False)
    loss(first, one).backward()
    assert loss(first, one).item() == pytest.approx(2 * math.log(2))
    # Of the two questions each answer is once right and once wrong, so all cancels; of one alone it does not.
    assert first.table.grad.abs().max() < 1e-6
    wrong = laid([([Q, ANSWER], [B, C])], prefix=False)
    slope = {}
    for name, part in (("right", right), ("wrong", wrong)):
        (slope[name],) = torch.autograd.grad(first.nll(part), first.table)
    alone = type(one)(**vars(laid([([Q, ANSWER], [A]), ([Q, ANSWER], [B, C])], prefix=False)))
    (found,) = torch.autograd.grad(loss(first, alone), first.table)
    assert torch.allclose(found, 0.3 / 2 * (slope["right"] - slope["wrong"]), atol=1e-6)


def test_wrong_answers_are_wrong_and_drawn_from_the_generator():
    made = TaskSource(task=Addition(digits=1, reverse=False, held_out=0.2, seed=0), items=20)
    made = made.windows(0, 40, window=11, seed=3)
    batch = DPO(beta=0.1, prefix=False)(made, seeded(1))
    right, wrong = batch.labels.chunk(2)
    assert (right != wrong).any(dim=1).all()
    assert torch.equal(batch.labels, DPO(beta=0.1, prefix=False)(made, seeded(1)).labels)
    assert not torch.equal(batch.labels, DPO(beta=0.1, prefix=False)(made, seeded(2)).labels)
    alone = DPO(beta=0.1, prefix=False)(WINDOW[:, :4], seeded())
    assert alone.labels.tolist() == [[IGNORE, A], [IGNORE, SEPARATOR]]


# --- policy gradient


def test_advantages_by_hand():
    found = advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))
    assert found[0].tolist() == pytest.approx([3**0.5, -1 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5])
    assert found[1].tolist() == [0, 0, 0, 0]


def test_the_policy_gradient_worked_by_hand():
    start, model = Bigram(0).requires_grad_(False), Bigram(1)
    objective = PolicyGradient(group=6, beta=0.7, prefix=False)
    window = torch.tensor([[Q, ANSWER, A, SEPARATOR, Q, Q, ANSWER, B, SEPARATOR]])
    batch = objective(window, seeded())
    said = sampled(model, repeated(batch), seeded(batch.seed))
    answers = torch.stack([said.labels[:6, 1], said.labels[6:, 2]])  # (2, 6)
    reward = (answers == torch.tensor([[A], [B]])).float()
    assert 0 < reward.sum() < 12  # both kinds came up
    p, p0 = (m.table.double().log_softmax(-1)[ANSWER] for m in (model, start))
    kl = (p.exp() * (p - p0)).sum().item()
    total, score = 0.0, 0.0
    for row, got in zip(answers, reward, strict=True):
        mean = float(got.mean())
        deviation = math.sqrt(mean * (1 - mean)) or 1.0
        for token, r in zip(row.tolist(), got.tolist(), strict=True):
            total += (-r + 0.7 * kl) / 6
            score = score - (r - mean) / deviation * p[token] / 6
    loss = objective.against(start, Chain(), 8)
    found = loss(model, batch)
    assert batch.asked == 2
    assert found.item() == pytest.approx(total, rel=1e-5)
    (slope,) = torch.autograd.grad(found, model.table)
    by_hand = score + 2 * 0.7 * (p.exp() * (p - p0)).sum()
    (wanted,) = torch.autograd.grad(by_hand, model.table)
    assert torch.allclose(slope, wanted.float(), atol=1e-6)


def test_answers_are_sampled_from_the_model_token_by_token():
    model = Bigram(2)
    batch = PolicyGradient(group=4000, beta=0.0, prefix=False)(WINDOW[:, 4:], seeded())
    said = sampled(model, repeated(batch), seeded(5))
    p = model.table.detach().double().softmax(-1)
    first, second = said.labels[:, 2], said.labels[:, 3]
    assert torch.equal(said.tokens[:, 3], first)  # what was said is read on
    joint = torch.bincount(first * V + second, minlength=V * V) / 4000
    wanted = (p[ANSWER][:, None] * p).flatten()
    assert (joint - wanted).abs().max() < 4 * (0.25 / 4000) ** 0.5
    log_p, kl = compared(model, model, said)
    assert log_p[0].item() == pytest.approx(
        model.log_p((ANSWER, int(first[0])), (int(first[0]), int(second[0]))), rel=1e-5
    )
    assert kl.abs().max() < 1e-6


# --- what holds a stage to its start


def test_the_fisher_information_and_the_penalty_by_hand():
    model = Bigram(0)
    windows = torch.tensor([[Q, A, Q], [A, B, B]])
    p = model.table.detach().softmax(-1)
    squares = torch.zeros(V, V)
    for pairs in ([(Q, A), (A, Q)], [(A, B), (B, B)]):
        slope = torch.zeros(V, V)
        for before, after in pairs:
            slope[before] += p[before]
            slope[before, after] -= 1
        squares += slope**2
    F = fisher(model, CausalLM(), windows)["table"]
    assert torch.allclose(F, squares / 4, atol=1e-6)

    class Older(Chain):
        older = "before"

        def __init__(self) -> None:
            self.others = {"before": self}

        def windows(self, position, rows, *, window, seed):
            return windows

    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.table += 0.1 * torch.arange(V * V).view(V, V)
    batch = CausalLM()(torch.tensor([[Q, B, C, A]]), seeded())
    for windows_asked, weight in ((2, F), (None, torch.ones(V, V))):
        anchored = Anchored(objective=CausalLM(), strength=0.5, windows=windows_asked)
        loss = anchored.against(copy.deepcopy(model).requires_grad_(False), Older(), 2)
        penalty = 3 * 0.5 / 2 * (weight * (moved.table - model.table) ** 2).sum().item()
        assert loss(moved, batch).item() == pytest.approx(moved.nll(batch).item() + penalty, rel=1e-5)
    with pytest.raises(BadInput, match="data=shift"):
        Anchored(objective=CausalLM(), strength=1, windows=2).against(model, Chain(), 2)


def test_a_shift_replays_its_share_and_loses_no_text():
    shifted = Shift(before=Text(128), after=Text(160), replay=0.25)
    rows = shifted.windows(0, 1000, window=8, seed=1)
    old = (rows < 160).all(dim=1)
    assert int(old.sum()) == 250
    assert torch.equal(rows[old], Text(128).windows(0, 250, window=8, seed=1))
    assert torch.equal(rows[~old], Text(160).windows(0, 750, window=8, seed=1))
    assert torch.equal(shifted.windows(990, 20, window=8, seed=1)[:10], rows[990:])
    assert (shifted.validation(4, window=8) >= 160).all()
    with pytest.raises(BadInput, match=r"data\.replay"):
        Shift(before=Text(), after=Text(), replay=1.0)
    with pytest.raises(BadInput, match=r"data\.before\.tokenizer"):
        Shift(before=Chain(), after=Text(), replay=0.0)


# --- whole runs


def source() -> TaskSource:
    return TaskSource(task=ModularAddition(modulus=4, held_out=0.2, seed=0), items=2)


class Interrupted(Exception):
    pass


def cut(source):
    """The source, broken where more than the first batches are asked for."""

    def windows(position, rows, *, window, seed):
        if position:
            raise Interrupted
        return source.windows(position, rows, window=window, seed=seed)

    broken = copy.copy(source)
    broken.windows = windows
    return broken


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A model that has seen the task, and one that has seen text."""
    folder = tmp_path_factory.mktemp("parents")
    kept = Checkpoints(seconds=1e9, keep=1, weights=True)
    run(folder / "task", source=source(), objective=Answers(prefix=False), checkpoints=kept)
    run(folder / "text", source=Text(128), checkpoints=kept)
    return folder


SHIFT = {"source": Shift(before=Text(128), after=Text(160), replay=0.25)}
STAGES = {
    "dpo": ("task", {"objective": DPO(beta=0.1, prefix=False), "source": source()}),
    "policy gradient": (
        "task",
        {"objective": PolicyGradient(group=8, beta=0.1, prefix=False), "source": source()},
    ),
    "ewc": ("text", {"objective": Anchored(objective=CausalLM(), strength=10.0, windows=4), **SHIFT}),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_stage_resumes_to_the_bit(tmp_path, tuned, name):
    parent, parts = STAGES[name]
    start, budget = Parent(run=str(tuned / parent)), Tokens(D=20 * 48)  # more steps than are read ahead
    parts = parts | {"start": start, "budget": budget, "log_every": 1}
    whole = run(tmp_path / "whole", **parts)
    assert whole.loss_objective is None
    often = Checkpoints(seconds=0, keep=2, weights=False)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", **parts | {"source": cut(parts["source"])}, checkpoints=often)
    assert run(tmp_path / "cut", **parts, checkpoints=often).row() == whole.row()
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (CausalLM(), False),
        (PrefixLM(prefix=5, per_row=False), False),
        (PrefixLM(prefix=None, per_row=False), True),
        (Answers(prefix=False), True),
        (Answers(prefix=True), True),
        (Moded(Answers(prefix=True), mode=1), True),
        (Anchored(objective=Answers(prefix=True), strength=1.0, windows=None), True),
        (DPO(beta=0.1, prefix=False), True),
        (PolicyGradient(group=8, beta=0.1, prefix=False), True),
    ],
)
def test_what_is_cut_differently_from_batch_to_batch_is_told(objective, told):
    """To the compiler, which otherwise begins with kernels for the first lengths alone."""
    assert varies(objective, window=12, rows=4) == told


def test_an_objective_that_refers_to_a_start_needs_one(tmp_path):
    with pytest.raises(BadInput, match="start=run"):
        run(tmp_path, **STAGES["dpo"][1])


@pytest.mark.parametrize("name", ["dpo", "policy gradient"])
def test_preferences_and_rewards_rise(tmp_path, tuned, name):
    """From ln 2 a pair; from the share of answers that are right by chance, in a language of four."""
    parts = STAGES[name][1] | {"start": Parent(run=str(tuned / "task")), "budget": Tokens(D=100 * 48)}
    run(tmp_path / name, **parts, log_every=10)
    first, *_, last = [row["train_loss"] for row in read_metrics(tmp_path / name)]
    assert last < {"dpo": 0.5 * math.log(2), "policy gradient": first - 0.2}[name]


def test_what_is_forgotten_is_told_and_less_of_it_with_an_anchor(tmp_path, tuned):
    start, budget = Parent(run=str(tuned / "text")), Tokens(D=40 * 48)
    parent = start.record
    untouched = Trainee(job(tmp_path / "untouched", **SHIFT, start=start))
    scores = untouched.job.evaluation.scores(untouched.model, SHIFT["source"], 12, final=True)
    assert scores["before"]["loss"] == parent.loss
    plain = Shift(before=Text(128), after=Text(160), replay=0.0)
    lost = {
        name: run(tmp_path / name, source=plain, start=start, budget=budget, **parts).scores["before"]["loss"]
        for name, parts in {
            "plain": {},
            "l2": {"objective": Anchored(objective=CausalLM(), strength=1.0, windows=None)},
            "ewc": {"objective": Anchored(objective=CausalLM(), strength=1e4, windows=16)},
        }.items()
    }
    assert lost["plain"] > parent.loss
    assert lost["l2"] < lost["plain"]
    assert lost["ewc"] < lost["plain"]
    (row,) = [row for row in read_metrics(tmp_path / "plain") if row["step"] == 40]
    assert row["before.loss"] == lost["plain"]


@pytest.mark.parametrize("kind", [CausalDecoder, PrefixDecoder])
@pytest.mark.parametrize("objective", [DPO, PolicyGradient])
def test_the_flops_of_a_step_are_those_executed(tmp_path, tuned, kind, objective):
    own = {"beta": 0.1} if objective is DPO else {"beta": 0.1, "group": 3}
    made = objective(prefix=kind is PrefixDecoder, **own)
    parts = {"architecture": partial(kind, tie_embeddings=False), "objective": made, "source": source()}
    stage = Trainee(job(tmp_path, **parts, start=Parent(run=str(tuned / "task"))))
    loss, batch = made.against(copy.deepcopy(stage.model), source(), 12), stage.batch()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss(stage.model, batch).backward()
    assert sum(stage.flops(*passes) for passes in batch.forwards) == counter.get_total_flops()
