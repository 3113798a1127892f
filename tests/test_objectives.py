"""Objectives: which labels are asked, how splits are distributed, which prefixes are refused."""

import pytest
import torch
from scipy.stats import chisquare

from scalelaw.contracts import IGNORE, BadInput
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.objectives.prefix_lm import PrefixLM

WINDOWS = torch.arange(1, 19).view(2, 9)  # two windows of T = 8 inputs and a successor each


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(objective: PrefixLM, batches: int, rows: int, window: int) -> torch.Tensor:
    generator, windows = seeded(5), torch.zeros(rows, window + 1, dtype=torch.int64)
    return torch.stack([objective(windows, generator).prefix for _ in range(batches)])


def test_causal_lm_asks_for_every_successor():
    batch = CausalLM()(WINDOWS, seeded())
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [10, 11, 12, 13, 14, 15, 16, 17]]
    assert batch.labels.tolist() == [[2, 3, 4, 5, 6, 7, 8, 9], [11, 12, 13, 14, 15, 16, 17, 18]]
    assert batch.prefix.tolist() == [0, 0]
    assert (batch.start, batch.shortest, batch.longest) == (0, 0, 0)
    assert CausalLM().splits(8, rows=2) == [(0, 0, 1.0)]


def test_prefix_lm_worked_by_hand():
    """A prefix of 3: its last token, at position 2, says the first target, the window's fourth token."""
    batch = PrefixLM(prefix=3, per_row=False)(WINDOWS, seeded())
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [10, 11, 12, 13, 14, 15, 16, 17]]
    assert batch.labels.tolist() == [
        [IGNORE, IGNORE, 4, 5, 6, 7, 8, 9],
        [IGNORE, IGNORE, 13, 14, 15, 16, 17, 18],
    ]
    assert batch.prefix.tolist() == [3, 3]
    assert (batch.start, batch.shortest, batch.longest) == (2, 3, 3)


def test_rows_of_one_batch_may_split_at_different_points():
    windows = torch.arange(1, 28).view(3, 9)
    batch = PrefixLM(prefix=None, per_row=True)(windows, seeded(1))
    prefixes = batch.prefix.tolist()
    assert len(set(prefixes)) > 1
    for row, prefix in enumerate(prefixes):
        asked = (batch.labels[row] != IGNORE).nonzero().flatten().tolist()
        assert asked == list(range(prefix - 1, 8))
        assert batch.labels[row, prefix - 1] == windows[row, prefix]
    assert (batch.start, batch.shortest, batch.longest) == (min(prefixes) - 1, min(prefixes), max(prefixes))


def test_the_shortest_and_the_longest_prefix():
    whole = PrefixLM(prefix=1, per_row=False)(WINDOWS, seeded())
    assert torch.equal(whole.labels, WINDOWS[:, 1:])
    last = PrefixLM(prefix=8, per_row=False)(WINDOWS, seeded())
    assert last.labels[:, :-1].eq(IGNORE).all()
    assert last.labels[:, -1].tolist() == [9, 18]


@pytest.mark.parametrize(("prefix", "low", "high"), [(None, 1, 15), ([4, 9], 4, 9)])
@pytest.mark.parametrize("per_row", [False, True])
def test_splits_are_uniform_and_announced(prefix, low, high, per_row):
    objective = PrefixLM(prefix=prefix, per_row=per_row)
    prefixes = drawn(objective, batches=6000 if not per_row else 750, rows=8, window=16)
    independent = prefixes.flatten() if per_row else prefixes[:, 0]
    counts = torch.bincount(independent, minlength=17)
    assert counts[:low].sum() == counts[high + 1 :].sum() == 0
    assert chisquare(counts[low : high + 1].numpy()).pvalue > 0.001
    announced = objective.splits(16, rows=8)
    if per_row:  # what a batch of 8 rows really spans
        assert sum(share for _, _, share in announced) == pytest.approx(1)
        longest = sum(p * share for p, _, share in announced)
        start = sum(s * share for _, s, share in announced)
        assert longest == pytest.approx(float(prefixes.amax(1).double().mean()), abs=0.1)
        assert start == pytest.approx(float(prefixes.amin(1).double().mean()) - 1, abs=0.1)
    else:
        assert [(p, start) for p, start, _ in announced] == [(p, p - 1) for p in range(low, high + 1)]
        assert {probability for _, _, probability in announced} == {1 / (high - low + 1)}


def test_one_draw_serves_the_batch_unless_rows_draw_for_themselves():
    shared = drawn(PrefixLM(prefix=None, per_row=False), batches=200, rows=8, window=16)
    assert (shared == shared[:, :1]).all()
    single = drawn(PrefixLM(prefix=None, per_row=True), batches=200, rows=8, window=16)
    correlation = torch.corrcoef(single.T.float())[0, 1:].abs().max()
    assert correlation < 0.25  # 200 independent draws: standard error 0.07


@pytest.mark.parametrize("per_row", [False, True])
def test_the_generator_decides_the_split(per_row):
    objective = PrefixLM(prefix=None, per_row=per_row)
    windows = torch.zeros(8, 65, dtype=torch.int64)
    first, again = (objective(windows, seeded(3)).prefix for _ in range(2))
    assert torch.equal(first, again)
    others = {tuple(objective(windows, seeded(seed)).prefix.tolist()) for seed in range(20)}
    assert len(others) > 10


@pytest.mark.parametrize("prefix", [9, 0, -1, [0, 4], [5, 3], [4, 9], [1.5, 3], [1, 2, 3], "half", 2.5])
def test_a_prefix_that_does_not_fit_is_named_with_the_window(prefix):
    objective = PrefixLM(prefix=prefix, per_row=False)
    for refused in (lambda: objective.check(8), lambda: objective(WINDOWS, seeded())):
        with pytest.raises(BadInput) as error:
            refused()
        message = str(error.value)
        assert f"objective.prefix={prefix}" in message
        assert "window of 8 tokens" in message
        assert "\n" not in message


def test_windows_that_fit_pass_the_check():
    PrefixLM(prefix=[1, 8], per_row=False).check(8)
    PrefixLM(prefix=None, per_row=False).check(2)
    CausalLM().check(1)
    with pytest.raises(BadInput, match="window of 1 tokens"):
        PrefixLM(prefix=None, per_row=False).check(1)
