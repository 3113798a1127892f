"""Runs trained together: each has the losses it would have by itself."""

from dataclasses import replace
from functools import partial
from itertools import groupby

import pytest
import torch
from training import LABELS, ROWS, SHAPE, VOCAB, WINDOW, CausalDecoder, CausalLM, Stopping, compiler, job

from scalelaw.budget import Tokens
from scalelaw.contracts import BadInput
from scalelaw.metrics import Metrics
from scalelaw.models.base import LanguageModel
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.optim import WarmupStableDecay
from scalelaw.run import Run, read_metrics
from scalelaw.stack import join, stack
from scalelaw.train import train

SPLIT = PrefixLM(prefix=None, per_row=False)
ARCHITECTURES = {
    "causal": {},
    "prefix": {"architecture": partial(PrefixDecoder, tie_embeddings=False), "objective": SPLIT},
    "encoder-decoder": {"architecture": partial(EncoderDecoder, tie_embeddings=True), "objective": SPLIT},
}


def named(root, name, **changes):
    """The tiny run under a name of its own; what it is made of decides its config, as a door does it."""
    config = {key: str(changes[key]) for key in ("seed", "budget") if key in changes}
    return job(root / name, labels=replace(LABELS, run=name, name=name), config=config, **changes)


def steps(count: int) -> Tokens:
    return Tokens(D=count * ROWS * WINDOW)


def same(one: Run, other: Run) -> bool:
    return one.row() | {"parent": None} == other.row() | {"parent": None}


@pytest.mark.parametrize("parts", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_run_of_a_stack_has_its_solo_losses(tmp_path, parts):
    """Other seeds, rates and budgets side by side, the stack shrinking as runs end: the same losses as alone,
    at every evaluation, to 1e-5; on a CPU to the bit."""
    changes = {
        "a": {"seed": 0, "budget": steps(20)},
        "b": {"seed": 1, "budget": steps(12)},
        "c": {
            "seed": 0,
            "budget": steps(31),
            "clip": 1.0,
            "schedule": WarmupStableDecay(warmup=0.2, decay=0.1, final=0.1),
        },
    }
    solo = {name: train([named(tmp_path / "solo", name, **parts, **c)])[0] for name, c in changes.items()}
    together = train([named(tmp_path / "stack", name, **parts, **c) for name, c in changes.items()])
    assert [run.run for run in together] == ["a", "b", "c"]
    for run in together:
        assert run.loss == pytest.approx(solo[run.run].loss, rel=1e-5)
        rows = [read_metrics(tmp_path / kind / run.run) for kind in ("solo", "stack")]
        assert [row["train_loss"] for row in rows[1]] == pytest.approx(
            [row["train_loss"] for row in rows[0]], rel=1e-5
        )
        assert same(run, solo[run.run])
        assert rows[0] == rows[1]


@pytest.mark.parametrize("architecture", [CausalDecoder, PrefixDecoder, EncoderDecoder])
@pytest.mark.parametrize("tied", [False, True])
def test_a_stack_takes_each_models_gradient(architecture, tied):
    """Loss and every gradient of three models at once, against each alone by plain cross-entropy."""
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(architecture(SHAPE, VOCAB, tie_embeddings=tied))
        for parameter in models[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    windows = torch.randint(VOCAB, (3, ROWS, WINDOW + 1))
    batches = [PrefixLM(prefix=5, per_row=False)(w, torch.Generator()) for w in windows]
    expected, slopes = [], []
    for model, batch in zip(models, batches, strict=True):
        logits, labels = model(batch), batch.labels[:, batch.start :]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        slopes.append(torch.autograd.grad(loss, list(model.parameters())))
        expected.append(loss.item())
    whole, batch = stack(models), join(batches)
    assert batch is not None
    losses = whole.nll(batch)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)
    for model, wanted in zip(models, slopes, strict=True):
        for parameter, slope in zip(model.parameters(), wanted, strict=True):
            assert torch.allclose(parameter.grad, slope, rtol=1e-4, atol=1e-4)


def test_batches_that_are_cut_differently_are_not_joined():
    windows = torch.randint(VOCAB, (ROWS, WINDOW + 1))
    short, long = (PrefixLM(prefix=p, per_row=False)(windows, torch.Generator()) for p in (3, 4))
    assert join([short, long]) is None
    assert join([short, short]).tokens.shape == (2 * ROWS, WINDOW)


def test_runs_that_are_not_alike_are_refused(tmp_path):
    with pytest.raises(BadInput, match="must be alike but for seed"):
        train([named(tmp_path, "a"), named(tmp_path, "b", rows=ROWS + 1)])


STABLE = WarmupStableDecay(warmup=4, decay=0.3, final=0.0)


@pytest.mark.parametrize("parts", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_budgets_branch_off_one_trunk_to_the_bits_of_separate_runs(tmp_path, parts):
    """Three budgets of one seed, and the shortest of another: the trunk is trained once, up to where each
    rate decays."""
    changes = {f"d{n}": {"budget": steps(n), "seed": 0} for n in (10, 20, 40)} | {
        "e10": {"budget": steps(10), "seed": 1}
    }
    parts = parts | {"schedule": STABLE}
    solo = {name: train([named(tmp_path / "solo", name, **parts, **c)])[0] for name, c in changes.items()}
    branched = train([named(tmp_path / "tree", name, **parts, **c) for name, c in changes.items()])
    shared = {run.run: run.timing["shared_steps"] for run in branched}
    assert shared == {"d10": 8, "d20": 15, "d40": 0, "e10": 0}
    assert {run.run: run.parent for run in branched} == {"d10": "d40", "d20": "d40", "d40": None, "e10": None}
    for run in branched:
        assert same(run, solo[run.run])
        assert read_metrics(tmp_path / "tree" / run.run) == read_metrics(tmp_path / "solo" / run.run)


def test_the_shared_part_of_a_schedule_is_that_of_every_longer_run():
    for steps_ in (1, 7, 10, 100):
        shared = STABLE.shared(steps_)
        for longer in (steps_ + 1, 3 * steps_, 1000):
            assert [STABLE(s, steps_) for s in range(shared)] == [STABLE(s, longer) for s in range(shared)]
        assert STABLE(shared, steps_) != STABLE(shared, 1000)


@pytest.mark.parametrize("decay", [0.07, 0.14, 0.2, 0.28, 0.3, 1.0])
def test_the_last_shared_rate_is_the_same_to_the_bit(decay):
    """0.07 * 100 is 7.000000000000001: what is shared must not end by a share that has been rounded."""
    schedule = WarmupStableDecay(warmup=1, decay=decay, final=0.1)
    for steps_ in range(2, 3000):
        shared = schedule.shared(steps_)
        assert shared == 0 or schedule(shared - 1, steps_) == schedule(shared - 1, 10 * steps_)
        assert schedule(shared, steps_) < schedule(shared, 10 * steps_)


@pytest.mark.parametrize("at", [3, 9, 12, 18])
def test_stacked_and_branching_runs_resume_to_the_same_bits(tmp_path, at):
    """Stopped on the trunk, between two branchings, and with runs that have ended already."""
    resumed_to_the_same_bits(tmp_path, at)


def test_other_company_is_compiled_from_a_clean_slate(tmp_path, monkeypatch):
    """As it would be after a kill: once for each company, before its first kernel."""
    told = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: told.append("reset"))
    monkeypatch.setattr(LanguageModel, "compile_parts", lambda self, *, varied: told.append("compiled"))
    short, long = (
        named(tmp_path, f"d{n}", schedule=STABLE, budget=steps(n), seed=n, compile=True) for n in (8, 20)
    )
    train([short, long])
    assert [name for name, _ in groupby(told)] == ["reset", "compiled"] * 2


@pytest.mark.slow
@compiler
@pytest.mark.parametrize("at", [9, 12])
def test_compiled_ones_do_so_too(tmp_path, monkeypatch, at):
    """Whose kernels were made for other company, before the stop, than any that the second start has seen."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    resumed_to_the_same_bits(tmp_path, at, compile=True)


def resumed_to_the_same_bits(tmp_path, at, **knobs):
    changes = {f"d{n}": {"budget": steps(n), "seed": 0} for n in (10, 20)} | {
        "e8": {"budget": steps(8), "seed": 1}
    }

    def jobs(root, **more):
        parts = {"schedule": STABLE} | knobs | more
        return [named(tmp_path / root, name, **parts, **c) for name, c in changes.items()]

    undisturbed = train(jobs("whole"))
    stopped = train(jobs("cut", objective=Stopping(CausalLM(), at)))
    assert "interrupted" in {run.status for run in stopped}
    resumed = train(jobs("cut"))
    assert [run.row() for run in resumed] == [run.row() for run in undisturbed]
    for name in changes:
        assert read_metrics(tmp_path / "cut" / name) == read_metrics(tmp_path / "whole" / name)
        assert not list((tmp_path / "cut" / name).glob("checkpoint-*"))


def test_a_run_that_fails_or_diverges_leaves_the_others_alone(tmp_path):
    def broken(shape, vocab_size):
        model = CausalDecoder(shape, vocab_size, tie_embeddings=False)
        torch.nn.init.constant_(model.head.weight, float("nan"))
        return model

    class Torn(CausalLM):
        def __call__(self, windows, generator):
            raise OSError("input/output error")

    alone = train([named(tmp_path / "alone", "good", seed=3)])[0]
    jobs = [
        named(tmp_path, "bad", seed=1, architecture=broken),
        named(tmp_path, "torn", seed=2, objective=Torn()),
        named(tmp_path, "good", seed=3),
    ]
    with pytest.raises(OSError, match="input/output"):
        train(jobs)
    found = {name: Run.load(tmp_path / name) for name in ("bad", "torn", "good")}
    assert {name: run.status for name, run in found.items()} == {
        "bad": "diverged",
        "torn": "failed",
        "good": "finished",
    }
    assert same(found["good"], alone)


def test_followers_of_a_run_that_fails_go_on_by_themselves(tmp_path, monkeypatch):
    write = Metrics.write

    def full(self, row):
        if self.directory.name == "d40" and row["step"] == 4:
            raise OSError(28, "No space left on device")
        write(self, row)

    alone = train([named(tmp_path / "alone", "d20", seed=0, budget=steps(20), schedule=STABLE)])[0]
    monkeypatch.setattr(Metrics, "write", full)
    jobs = [named(tmp_path, f"d{n}", seed=0, budget=steps(n), schedule=STABLE) for n in (20, 40)]
    with pytest.raises(OSError, match="No space"):
        train(jobs)
    assert Run.load(tmp_path / "d40").status == "failed"
    assert same(Run.load(tmp_path / "d20"), alone)
