"""The stream: every token once an epoch, in an order the seed decides, from any position."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.contracts import BadInput
from scalelaw.data.stream import TokenSource
from scalelaw.data.tokens import Bytes


def source(tokens: int, validation: int = 100) -> TokenSource:
    """A source whose token at place i is the number i, so that a window tells where it came from."""
    return TokenSource(
        train=np.arange(tokens, dtype=np.uint32),
        validation=np.arange(validation, dtype=np.uint32),
        tokenizer=Bytes(),
        manifest={"name": "numbers"},
    )


def test_windows_are_runs_of_consecutive_tokens():
    windows = source(1000).windows(0, 50, window=16, seed=1)
    assert windows.shape == (50, 17)
    assert windows.dtype == torch.int64
    assert ((windows[:, 1:] - windows[:, :-1]) % 1000 == 1).all()


@pytest.mark.parametrize("tokens", [997, 1000, 1601])
def test_every_epoch_reads_every_token_once_but_for_less_than_a_window(tokens):
    numbers = source(tokens)
    count = numbers.epoch_windows(16)
    assert count == (tokens - 1) // 16
    for epoch in range(4):
        inputs = numbers.windows(epoch * count, count, window=16, seed=2)[:, :-1].flatten()
        labels = numbers.windows(epoch * count, count, window=16, seed=2)[:, 1:].flatten()
        assert len(set(inputs.tolist())) == len(inputs) == count * 16 > tokens - 17
        assert len(set(labels.tolist())) == len(labels)


def test_boundaries_move_and_order_changes_from_epoch_to_epoch():
    numbers = source(1601)
    starts = [numbers.windows(epoch * 100, 100, window=16, seed=0)[:, 0].numpy() for epoch in range(8)]
    phases = {int(start[0] % 16) for start in starts}
    assert len(phases) > 1
    ranks = [np.argsort(np.argsort((start - start[0]) % 1601)) for start in starts]
    correlation = np.corrcoef(ranks)[np.triu_indices(8, 1)]
    assert np.abs(correlation).max() < 0.4  # 100 windows: standard error 0.1, 28 pairs


def test_order_is_shuffled_and_differs_by_seed():
    numbers = source(16001)
    first, second = (numbers.windows(0, 1000, window=16, seed=seed)[:, 0].numpy() for seed in (0, 1))
    assert abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.15  # standard error 0.03
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


@settings(deadline=None, max_examples=60)
@given(
    tokens=st.integers(18, 400),
    position=st.integers(0, 300),
    rows=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_the_stream_from_any_position_is_the_uninterrupted_one(tokens, position, rows, seed):
    one_by_one = source(tokens)
    uninterrupted = torch.cat(
        [one_by_one.windows(i, 1, window=16, seed=seed) for i in range(position + rows)]
    )
    resumed = source(tokens).windows(position, rows, window=16, seed=seed)
    assert torch.equal(resumed, uninterrupted[position:])


def test_validation_windows_are_fixed_disjoint_and_spread_over_the_whole_text():
    numbers = source(1000, validation=10_001)
    windows = numbers.validation(10, window=100)
    assert torch.equal(windows, numbers.validation(10, window=100))
    assert windows[:, 0].tolist() == [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000]
    uneven = numbers.validation(7, window=100)
    assert len(set(uneven[:, :-1].flatten().tolist())) == 700
    gaps = uneven[:, 0].diff()
    assert gaps.max() - gaps.min() <= 100


def test_validation_gives_all_there_is_when_asked_for_more():
    windows = source(1000, validation=101).validation(64, window=10)
    assert windows[:, 0].tolist() == list(range(0, 100, 10))
    assert windows[-1].tolist() == list(range(90, 101))


def test_text_shorter_than_one_window_is_refused_with_both_lengths():
    with pytest.raises(BadInput, match="corpus numbers: training text has 16 tokens, fewer than the 17"):
        source(16).windows(0, 1, window=16, seed=0)
    with pytest.raises(BadInput, match="corpus numbers: validation text has 16 tokens, fewer than the 17"):
        source(100, validation=16).validation(1, window=16)
    assert source(17).windows(0, 3, window=16, seed=0).shape == (3, 17)
