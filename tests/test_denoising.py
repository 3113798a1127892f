"""Masked LM, span corruption and fill in the middle: worked examples, and what is drawn how often."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare

from scalelaw.contracts import IGNORE, BadInput
from scalelaw.objectives.fill_in_the_middle import FillInTheMiddle
from scalelaw.objectives.masked_lm import MaskedLM
from scalelaw.objectives.span_corruption import SpanCorruption

V = 100
BERT = MaskedLM(rate=0.15, masked=0.8, random=0.1).after(V, 0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def text(rows: int, window: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(V, (rows, window + 1), generator=seeded(seed))


class TestMaskedLM:
    def test_labels_are_the_hidden_tokens_where_they_stood(self):
        windows = text(400, 100)
        batch = BERT(windows, seeded())
        asked = batch.labels != IGNORE
        assert asked.sum(dim=1).eq(15).all()
        assert batch.labels[asked].equal(windows[:, :-1][asked])
        assert batch.tokens[~asked].equal(windows[:, :-1][~asked])
        assert (batch.start, batch.shortest, batch.longest) == (0, 100, 100)
        assert batch.prefix.eq(100).all()
        assert BERT.splits(100, 400) == [(100, 0, 1.0)]

    def test_a_worked_example(self, monkeypatch):
        """T = 8; the third, the seventh and the first are hidden: behind the mask, a drawn 42, and itself."""
        places = torch.tensor([[0.2, 0.9, 0.0, 0.8, 0.7, 0.6, 0.1, 0.5]])
        fates = torch.tensor([[0.95, 0.0, 0.3, 0.0, 0.0, 0.0, 0.85, 0.0]])
        numbers = iter([places, fates])
        monkeypatch.setattr(torch, "rand", lambda *_, **__: next(numbers))
        monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.full((1, 8), 42))
        objective = MaskedLM(rate=0.375, masked=0.8, random=0.1).after(V, 8)
        batch = objective(torch.tensor([[10, 11, 12, 13, 14, 15, 16, 17, 18]]), seeded())
        assert batch.tokens.tolist() == [[10, 11, V, 13, 14, 15, 42, 17]]
        assert batch.labels.tolist() == [[10, IGNORE, 12, IGNORE, IGNORE, IGNORE, 16, IGNORE]]
        assert batch.prefix.tolist() == [8]

    def test_eight_of_ten_are_masked_one_is_drawn_and_one_left(self):
        windows = text(2000, 40)
        batch = BERT(windows, seeded(1))
        asked = batch.labels != IGNORE
        shown, true = batch.tokens[asked], batch.labels[asked]
        masked, left = (shown == V).sum().item(), (shown == true).sum().item()
        n = len(shown)
        assert n == 2000 * 6
        assert binomtest(masked, n, 0.8).pvalue > 0.001
        assert binomtest(left, n, 0.1 + 0.1 / V).pvalue > 0.001  # a drawn token may be the true one
        drawn = shown[(shown != V) & (shown != true)]
        assert chisquare(np.bincount(drawn.numpy(), minlength=V)).pvalue > 0.001

    def test_every_position_is_asked_for_as_often(self):
        batch = BERT(text(4000, 20), seeded(2))
        counts = (batch.labels != IGNORE).sum(dim=0).numpy()
        assert counts.sum() == 4000 * 3
        assert chisquare(counts).pvalue > 0.001

    @pytest.mark.parametrize(("rate", "asked"), [(0.4, 4), (1.0, 10), (0.001, 1)])
    def test_the_rate(self, rate: float, asked: int):
        batch = MaskedLM(rate=rate, masked=1.0, random=0.0).after(V, 10)(text(3, 10), seeded())
        assert (batch.labels != IGNORE).sum(dim=1).eq(asked).all()
        assert batch.tokens.eq(V).sum(dim=1).eq(asked).all()

    @pytest.mark.parametrize(
        ("knobs", "named"),
        [
            ((0, 0.8, 0.1), "rate"),
            ((1.5, 0.8, 0.1), "rate"),
            ((0.1, -1, 0), "masked"),
            ((0.1, 0.8, 0.3), "random"),
        ],
    )
    def test_bad_knobs_are_named(self, knobs, named: str):
        rate, masked, random = knobs
        with pytest.raises(BadInput, match=rf"objective.*{named}="):
            MaskedLM(rate=rate, masked=masked, random=random).check(16)


def restored(sequence: list[int], prefix: int) -> list[int]:
    """An independent reading of a corrupted sequence: put each span back in place of its sentinel."""
    spans: dict[int, list[int]] = {}
    for token in sequence[prefix:]:
        if token >= V:
            spans[last := token] = []
        else:
            spans[last].append(token)
    assert spans.pop(max(spans)) == []  # the one that ends the targets
    out = []
    for token in sequence[:prefix]:
        out += spans.pop(token) if token >= V else [token]
    assert not spans
    return out


class TestSpanCorruption:
    def test_the_worked_example(self):
        """Seven tokens of text, three cut in two spans, T = 11; a draw that cuts c and f g is among them."""
        objective = SpanCorruption(rate=0.4, span=1.5).after(V, 11)
        windows = torch.arange(12).expand(200, 12)
        batch = objective(windows, seeded())
        assert objective.splits(11, 200) == [(6, 5, 1.0)]
        assert (batch.start, batch.shortest, batch.longest) == (5, 6, 6)
        a, b, c, d, e, f, g = range(7)
        tokens, labels = [a, b, V, d, e, V + 1, V, c, V + 1, f, g], [V, c, V + 1, f, g, V + 2]
        rows = [row for row in range(200) if batch.tokens[row].tolist() == tokens]
        assert rows
        for row in rows:
            assert batch.labels[row].tolist() == [IGNORE] * 5 + labels
        # Two cut into parts of 1 + 2 or 2 + 1, four kept into 1 + 3, 2 + 2, 3 + 1: six draws, equally likely.
        _, counts = batch.tokens.unique(dim=0, return_counts=True)
        assert len(counts) == 6
        assert chisquare(counts.numpy()).pvalue > 0.001

    @pytest.mark.parametrize("window", [16, 64, 127, 128, 512])
    @pytest.mark.parametrize(("rate", "span"), [(0.15, 3), (0.15, 8), (0.5, 3), (0.5, 16), (0.3, 2.5)])
    def test_the_window_is_full_and_the_text_comes_back(self, window: int, rate: float, span: float):
        objective = SpanCorruption(rate=rate, span=span)
        objective.check(window)
        marks = objective.marks(window)
        windows = text(5, window)
        batch = objective.after(V, window)(windows, seeded(3))
        ((prefix, start, _),) = objective.splits(window, 5)
        assert batch.tokens.shape == batch.labels.shape == (5, window)
        assert (batch.start, batch.shortest, batch.longest) == (start, prefix, prefix)
        for row in range(5):
            sequence = [*batch.tokens[row].tolist(), int(batch.labels[row, -1])]
            assert batch.labels[row, start:].tolist() == sequence[prefix:]
            found = restored(sequence, prefix)
            assert found == windows[row, : len(found)].tolist()
            cut = len(found) - (prefix - (marks - 1))
            assert len(found) + 2 * (marks - 1) == window
            assert cut == max(1, round(rate * len(found)))
            # Nearly the mean length that was asked for: the number of spans is whole.
            assert abs(cut / span - (marks - 1)) <= 1 or marks == 2
            assert sorted({token for token in sequence if token >= V}) == list(range(V, V + marks))

    def test_lengths_are_t5_s(self):
        """T5's own: 568 tokens of text make inputs of 512 and targets of 114, an end token in each. Here the
        inputs have none, so that both together are a window of 624 and its successor."""
        objective = SpanCorruption(rate=0.15, span=3)
        ((prefix, _, _),) = objective.splits(624, 1)
        assert (prefix, 625 - prefix) == (512 - 1, 114)
        assert 624 - 2 * (objective.marks(624) - 1) == 568

    @pytest.mark.parametrize(
        ("rate", "span", "window", "named"),
        [
            (0, 3, 64, "rate"),
            (1, 3, 64, "rate"),
            (0.15, 0.5, 64, "span"),
            (0.9, 1, 64, "window of 64"),
            (0.15, 3, 2, "window"),
        ],
    )
    def test_what_cannot_be_cut_is_named(self, rate, span, window: int, named: str):
        with pytest.raises(BadInput, match=named):
            SpanCorruption(rate=rate, span=span).check(window)


class TestFillInTheMiddle:
    PRE, SUF, MID, END = range(V, V + 4)

    def sequences(self, rate: float, spm: float, rows: int = 2000, window: int = 9) -> list[list[int]]:
        windows = torch.arange(window + 1).expand(rows, window + 1)
        batch = FillInTheMiddle(rate=rate, spm=spm).after(V, window)(windows, seeded())
        assert batch.tokens[:, 1:].equal(batch.labels[:, :-1])
        assert (batch.start, batch.longest) == (0, 0)
        return torch.cat([batch.tokens, batch.labels[:, -1:]], dim=1).tolist()

    def test_the_worked_examples(self):
        a, b, c, d, e, f = range(6)
        psm = [self.PRE, a, b, self.SUF, e, f, self.MID, c, d, self.END]
        spm = [self.PRE, self.SUF, e, f, self.MID, a, b, c, d, self.END]
        assert psm in self.sequences(1, 0)
        assert spm in self.sequences(1, 1)
        assert psm not in self.sequences(1, 1)
        assert self.sequences(0, 0.5) == [list(range(10))] * 2000

    def test_every_piece_is_there_once_and_in_its_place(self):
        middles = []
        for row in self.sequences(1, 0.5):
            pre, suf, mid, end = (row.index(mark) for mark in (self.PRE, self.SUF, self.MID, self.END))
            assert (pre, end) == (0, 9)
            assert row[1:suf] + row[mid + 1 : end] + row[suf + 1 : mid] == list(range(6))
            middles.append(suf == 1)
        assert any(middles)

    def test_rates(self):
        rows = self.sequences(0.7, 0.25, rows=4000)
        moved = [row for row in rows if self.PRE in row]
        assert binomtest(len(moved), 4000, 0.7).pvalue > 0.001
        # Suffix first, or prefix first with nothing before the cut: one of two draws from 0 to 6 is 0.
        suffix_first = sum(row.index(self.SUF) == 1 for row in moved) / len(moved)
        empty = 1 - (6 / 7) ** 2
        wanted = 0.25 + 0.75 * empty
        assert suffix_first == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / len(moved)))

    @pytest.mark.parametrize(
        ("rate", "spm", "window", "named"), [(2, 0, 9, "rate"), (1, -1, 9, "spm"), (1, 0, 3, "window")]
    )
    def test_bad_knobs_are_named(self, rate, spm, window: int, named: str):
        with pytest.raises(BadInput, match=named):
            FillInTheMiddle(rate=rate, spm=spm).check(window)


@pytest.mark.parametrize(
    "objective",
    [BERT, SpanCorruption(rate=0.15, span=3).after(V, 64), FillInTheMiddle(rate=0.5, spm=0.5).after(V, 64)],
    ids=lambda o: type(o).__name__,
)
def test_the_generator_alone_decides(objective):
    windows = text(4, 64)
    first, again, other = (objective(windows, seeded(seed)) for seed in (1, 1, 2))
    assert first.tokens.equal(again.tokens)
    assert first.labels.equal(again.labels)
    assert not first.tokens.equal(other.tokens)
