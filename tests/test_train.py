import copy
import json
import math
import os
import signal
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from training import LABELS, ROWS, SHAPE, STEPS, VOCAB, WINDOW, CausalDecoder, CausalLM, Chain, job, run

from scalelaw.budget import Flops, Tokens
from scalelaw.checkpoint import Checkpoints
from scalelaw.claim import claim
from scalelaw.contracts import BadInput
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.run import METRICS, RECORD, Run, read_metrics
from scalelaw.train import train
from scalelaw.trainee import AHEAD

ARCHITECTURES = {
    "causal": {},
    "prefix": {
        "architecture": partial(PrefixDecoder, tie_embeddings=False),
        "objective": PrefixLM(prefix=None, per_row=False),
    },
    "encoder-decoder": {
        "architecture": partial(EncoderDecoder, tie_embeddings=True),
        "objective": PrefixLM(prefix=None, per_row=True),
    },
}


class Interrupting:
    """An objective that sends this process a signal while the given step's batch is being made."""

    def __init__(self, objective, step: int, number: int) -> None:
        self.objective, self.left, self.number = objective, step, number
        self.check, self.splits = objective.check, objective.splits

    def __call__(self, windows, generator):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return self.objective(windows, generator)


@pytest.mark.parametrize("parts", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_run_learns_and_records_what_it_cost(tmp_path, parts):
    record = run(tmp_path, budget=Tokens(D=150 * ROWS * WINDOW), **parts)
    assert record.finished
    assert record == Run.load(tmp_path)
    entropy = -(
        0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    )  # of the chain: no model can be below it for long
    assert 0.9 * entropy < record.loss < 0.6 * math.log(VOCAB)
    assert record.loss / math.log(2) / 2 == pytest.approx(record.bits_per_byte)  # two bytes a token
    assert record.D == record.steps * ROWS * WINDOW == 150 * ROWS * WINDOW


def test_cost_and_target_tokens_are_those_of_the_batches_that_ran(tmp_path):
    model = CausalDecoder(SHAPE, VOCAB, tie_embeddings=False)
    record = run(tmp_path / "causal")
    assert record.C == 3 * STEPS * ROWS * model.flops(window=WINDOW, prefix=0, start=0)
    assert record.D_target == record.D
    assert record.C_6ND == 6 * record.N * record.D
    fixed = run(tmp_path / "prefix", objective=PrefixLM(prefix=5, per_row=False))
    assert fixed.D_target == STEPS * ROWS * (WINDOW - 4)
    assert fixed.C == 3 * STEPS * ROWS * model.flops(window=WINDOW, prefix=5, start=4)


def test_a_flop_budget_is_met_by_the_cost_that_was_counted(tmp_path):
    for name, parts in ARCHITECTURES.items():
        record = run(tmp_path / name, budget=Flops(C=1e8), **parts)
        slack = 0.5 / record.steps if name == "causal" else 0.15  # drawn splits cost what they cost
        assert record.C == pytest.approx(1e8, rel=slack)


def test_same_seed_same_bits_another_seed_other_losses(tmp_path):
    first, again, other = (run(tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert first.row() == again.row()
    assert read_metrics(tmp_path / "a") == read_metrics(tmp_path / "b")
    assert first.loss != other.loss


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
@pytest.mark.parametrize("parts", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, parts, number):
    undisturbed = run(tmp_path / "whole", **parts)
    objective = parts.get("objective", CausalLM())
    stopped = run(tmp_path / "cut", **(parts | {"objective": Interrupting(objective, 5, number)}))
    assert (stopped.status, stopped.step, stopped.loss) == ("interrupted", 5, None)
    assert signal.Signals(number).name in stopped.reason
    resumed = run(tmp_path / "cut", **parts)
    assert resumed.row() == undisturbed.row()
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    assert not list((tmp_path / "cut").glob("checkpoint-*"))


@pytest.fixture
def handler():
    """Puts a handler of SIGUSR2 in place, as a cluster's engine does, for the time of a test."""
    before = signal.getsignal(signal.SIGUSR2)
    yield lambda function: signal.signal(signal.SIGUSR2, function)
    signal.signal(signal.SIGUSR2, before)


def test_an_engine_that_queues_a_job_again_finds_its_checkpoint(tmp_path, handler):
    undisturbed = run(tmp_path / "whole")
    found = []

    def requeue(number, frame):
        found.extend(path.name for path in (tmp_path / "cut").glob("checkpoint-*"))
        raise SystemExit(-1)

    handler(requeue)
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", objective=Interrupting(CausalLM(), 5, signal.SIGUSR2))
    assert found == ["checkpoint-000000005.safetensors"]
    stopped = Run.load(tmp_path / "cut")
    assert (stopped.status, stopped.reason) == ("interrupted", f"SIGUSR2 after step 5 of {STEPS}")
    assert signal.getsignal(signal.SIGUSR2) is requeue
    assert run(tmp_path / "cut").row() == undisturbed.row()
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


def test_a_signal_that_an_engine_passes_over_costs_a_checkpoint_and_nothing_else(tmp_path, handler):
    undisturbed = run(tmp_path / "whole")
    found = []
    handler(lambda number, frame: found.extend((tmp_path / "cut").glob("checkpoint-*")))
    gone_on = run(tmp_path / "cut", objective=Interrupting(CausalLM(), 5, signal.SIGUSR2))
    assert len(found) == 1
    assert gone_on.row() == undisturbed.row()


def test_an_engine_that_gives_up_is_a_failed_run(tmp_path, handler):
    def give_up(number, frame):
        raise RuntimeError("timed out too many times")

    handler(give_up)
    with pytest.raises(RuntimeError):
        run(tmp_path, objective=Interrupting(CausalLM(), 5, signal.SIGUSR2))
    record = Run.load(tmp_path)
    assert (record.status, record.step) == ("failed", 5)
    assert record.reason == "RuntimeError: timed out too many times"


def test_a_run_killed_between_checkpoints_loses_only_time(tmp_path):
    """Rows written after the checkpoint come again, once."""
    undisturbed = run(tmp_path / "whole")

    class Killed(BaseException):
        pass

    class Killing(CausalLM):
        left = 10

        def __call__(self, windows, generator):
            self.left -= 1
            if self.left == 0:
                raise Killed
            return super().__call__(windows, generator)

    class EveryFourth(Checkpoints):
        calls = 0

        def due(self):
            self.calls += 1
            return self.calls % 4 == 0

    with pytest.raises(Killed):
        run(tmp_path / "cut", objective=Killing(), checkpoints=EveryFourth(seconds=0, keep=2, weights=False))
    with (tmp_path / "cut" / METRICS).open("a") as metrics:
        metrics.write('{"step": 10, "tok')  # a torn line
    assert Run.load(tmp_path / "cut").status == "interrupted"
    resumed = run(tmp_path / "cut")
    assert resumed.row() == undisturbed.row()
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(tmp_path)

    class Untouchable(Chain):
        def windows(self, *args, **kwargs):
            raise AssertionError("trained again")

    assert run(tmp_path, source=Untouchable()) == first


def test_a_loss_that_is_not_finite_is_a_status_not_a_row(tmp_path):
    def broken(shape, vocab_size):
        model = CausalDecoder(shape, vocab_size, tie_embeddings=False)
        torch.nn.init.constant_(model.head.weight, float("nan"))
        return model

    record = run(tmp_path, architecture=broken)
    assert (record.status, record.loss, record.step) == ("diverged", None, 0)
    assert "step 1" in record.reason
    json.loads((tmp_path / RECORD).read_text(), parse_constant=pytest.fail)  # no NaN in the file


def test_an_error_is_recorded_and_raised_on(tmp_path):
    class Torn(Chain):
        def windows(self, position, rows, **kwargs):
            if position == AHEAD * ROWS:
                raise OSError("input/output error")
            return super().windows(position, rows, **kwargs)

    with pytest.raises(OSError, match="input/output"):
        run(tmp_path, source=Torn(), budget=Tokens(D=2 * AHEAD * ROWS * WINDOW))
    record = Run.load(tmp_path)
    assert (record.status, record.step, record.reason) == ("failed", AHEAD, "OSError: input/output error")


def test_a_full_disk_is_a_record_and_an_error(tmp_path, monkeypatch):
    def full(self, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scalelaw.metrics.Metrics.write", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path)
    assert Run.load(tmp_path).status == "failed"


def test_a_torn_record_is_trained_over(tmp_path):
    first = run(tmp_path)
    text = (tmp_path / RECORD).read_text()
    (tmp_path / RECORD).write_text(text[: len(text) // 2])
    assert run(tmp_path).row() == first.row()


def test_a_checkpoint_of_another_config_is_not_gone_on_from(tmp_path):
    clean = run(tmp_path / "clean", seed=7, labels=replace(LABELS, run="other"))
    stopped = run(tmp_path / "used", objective=Interrupting(CausalLM(), 5, signal.SIGTERM))
    assert stopped.status == "interrupted"
    assert run(tmp_path / "used", seed=7, labels=replace(LABELS, run="other")).row() == clean.row()


def test_every_target_token_weighs_the_same_whatever_the_split(tmp_path):
    """A step of gradient descent moves the weights by the summed NLL's gradient over the batch's tokens."""
    for prefix in (2, 11):
        kept = []

        def architecture(shape, vocab_size, kept=kept):
            kept.append(CausalDecoder(shape, vocab_size, tie_embeddings=False))
            torch.nn.init.normal_(kept[0].head.weight)
            kept.append(copy.deepcopy(kept[0]))
            return kept[0]

        def descent(model, shape):
            group = {"params": list(model.parameters()), "name": "read", "peak": 1.0}
            return torch.optim.SGD([group], lr=1.0)

        objective = PrefixLM(prefix=prefix, per_row=False)
        parts = {"architecture": architecture, "optimizer": descent, "objective": objective, "clip": 1e9}
        run(tmp_path / str(prefix), budget=Tokens(D=1), **parts)
        moved, before = kept
        batch = objective(Chain().windows(0, ROWS, window=WINDOW, seed=0), torch.Generator())
        (before.nll(batch) / (ROWS * WINDOW)).backward()
        for now, then in zip(moved.parameters(), before.parameters(), strict=True):
            assert torch.allclose(now, then - then.grad, atol=1e-6)


def test_two_processes_do_not_train_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr("scalelaw.claim.PATIENCE", 0.0)
    with claim(tmp_path), pytest.raises(BadInput, match="another process"):
        run(tmp_path)


def test_a_run_that_another_process_has_does_not_keep_its_companions(tmp_path, monkeypatch):
    monkeypatch.setattr("scalelaw.claim.PATIENCE", 0.0)
    jobs = [
        job(tmp_path / name, seed=seed, labels=replace(LABELS, run=name)) for seed, name in enumerate("ab")
    ]
    with claim(tmp_path / "a"), pytest.raises(BadInput, match="another process"):
        train(jobs)
    assert not (tmp_path / "a" / RECORD).exists()
    assert Run.load(tmp_path / "b").finished
    assert [done.finished for done in train(jobs)] == [True, True]


def test_it_trains_outside_the_main_thread_too(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path)))
    thread.start()
    thread.join()
    assert results[0].finished


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "int8"}, "precision"),
        ({"window": 1}, "window must be a whole number of at least 2, not 1"),
        ({"rows": "many"}, "rows must be a whole number"),
        ({"clip": 0}, "clip must be positive"),
        ({"device": "cuda:9"}, "device=cuda:9"),
        ({"objective": PrefixLM(prefix=99, per_row=False)}, r"objective\.prefix=99 with a window of 12"),
        ({"architecture": partial(EncoderDecoder, tie_embeddings=False)}, "prefix 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_any_work(tmp_path, changes, said):
    with pytest.raises(BadInput, match=said):
        run(tmp_path, **changes)
    assert not (tmp_path / RECORD).exists()
