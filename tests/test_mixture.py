"""Mixtures of objectives: how often each is drawn, what its mode token shifts, whose ids its marks have."""

import itertools
import os
import signal
from functools import partial

import pytest
import torch
from scipy.stats import chisquare
from training import SHAPE, STEPS, VOCAB, Chain, run

from scalelaw.contracts import IGNORE, BadInput
from scalelaw.evaluate import Evaluation
from scalelaw.meeting import continues, marked, meet, restores, single
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder import Encoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.objectives.fill_in_the_middle import FillInTheMiddle
from scalelaw.objectives.masked_lm import MaskedLM
from scalelaw.objectives.mixture import Mixture
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.objectives.span_corruption import SpanCorruption
from scalelaw.run import Run, read_metrics

CAUSAL, PREFIX = CausalLM(documents=False), PrefixLM(prefix=None, per_row=False)
BERT, FIM = MaskedLM(rate=0.25, masked=0.8, random=0.1), FillInTheMiddle(rate=1, spm=0)
SPANS = SpanCorruption(rate=0.25, span=3)
V = 50


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(*, modes: bool = False, shares=None, **parts) -> Mixture:
    return Mixture(parts=parts, shares=shares or dict.fromkeys(parts, 1), modes=modes)


def test_parts_come_in_their_shares():
    fixed = {f"p{p}": PrefixLM(prefix=p, per_row=False) for p in (1, 4, 7)}
    shares = {"p1": 1, "p4": 2, "p7": 5}
    drawn, windows = mixture(shares=shares, **fixed), torch.zeros(2, 9, dtype=torch.int64)
    generator = seeded()
    counts = torch.bincount(
        torch.tensor([drawn(windows, generator).longest for _ in range(4000)]), minlength=8
    )
    assert counts[[1, 4, 7]].sum() == 4000
    assert chisquare(counts[[1, 4, 7]].numpy(), [500, 1000, 2500]).pvalue > 0.001
    assert drawn.splits(8, 2) == [(1, 0, 0.125), (4, 3, 0.25), (7, 6, 0.625)]


def test_a_batch_is_the_part_s_own():
    windows = torch.randint(V, (3, 17), generator=seeded(4))
    only = mixture(prefix=PREFIX)
    generator, alone = seeded(5), seeded(5)
    torch.multinomial(torch.ones(1, dtype=torch.float64), 1, generator=alone)  # the mixture's own draw
    one, other = only(windows, generator), PREFIX(windows, alone)
    assert one.tokens.equal(other.tokens)
    assert one.labels.equal(other.labels)
    assert one.prefix.equal(other.prefix)


def test_a_mode_token_takes_a_token_s_place():
    """The worked example: prefix_lm of seven tokens with a prefix of three, after its mode."""
    windows = torch.arange(9)[None]
    moded, size = marked(mixture(modes=True, p=PrefixLM(prefix=3, per_row=False), c=CAUSAL), V, 8)
    assert size == V + 2
    given = {name: part(windows, seeded()) for name, part in moded.parts.items()}
    assert given["p"].tokens.tolist() == [[V, 0, 1, 2, 3, 4, 5, 6]]
    assert given["p"].labels.tolist() == [[IGNORE] * 3 + [3, 4, 5, 6, 7]]
    assert (given["p"].start, given["p"].shortest, given["p"].longest, given["p"].prefix.item()) == (
        3,
        4,
        4,
        4,
    )
    assert given["c"].tokens.tolist() == [[V + 1, 0, 1, 2, 3, 4, 5, 6]]
    assert given["c"].labels.tolist() == [[IGNORE, 1, 2, 3, 4, 5, 6, 7]]
    assert (given["c"].start, given["c"].longest) == (1, 0)
    assert moded.splits(8, 1) == [(4, 3, 0.5), (0, 1, 0.5)]


def test_documents_stay_apart_behind_a_mode_token():
    windows = torch.tensor([[5, 0, 7, 8, 0, 9]])
    moded, _ = marked(mixture(modes=True, c=CausalLM(documents=True)), V, 5)
    batch = moded(windows, seeded())
    assert batch.tokens.tolist() == [[V, 5, 0, 7, 8]]
    assert batch.segments is not None
    assert batch.segments.tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize("modes", [False, True])
def test_marks_of_one_kind_are_shared_and_of_two_are_not(modes: bool):
    wide = SpanCorruption(rate=0.25, span=6)
    made = mixture(modes=modes, spans=SPANS, wide=wide, bert=BERT, fim=FIM, text=CAUSAL)
    room = 48 - modes
    most = max(SPANS.marks(room), wide.marks(room))
    assert SPANS.marks(room) > wide.marks(room)
    bound, size = marked(made, V, 48)
    assert size == V + 5 * modes + most + 1 + 4
    first = V + 5 * modes
    windows = torch.randint(V, (4, 49), generator=seeded())
    said = {
        name: set(part(windows, seeded()).tokens.flatten().tolist()) for name, part in bound.parts.items()
    }
    special = {name: {token for token in tokens if token >= first} for name, tokens in said.items()}
    assert special["wide"] < special["spans"] <= set(range(first, first + most))
    assert special["bert"] == {first + most}
    assert special["fim"] <= set(range(first + most + 1, size))
    assert special["text"] == set()


def test_what_a_mixture_teaches():
    inner = mixture(bert=BERT, more=mixture(text=CAUSAL))
    assert [type(one) for one in single(inner)] == [MaskedLM, CausalLM]
    assert continues(inner)
    assert not continues(mixture(modes=True, a=BERT, b=MaskedLM(rate=0.4, masked=1, random=0)))
    assert restores(BERT)
    assert not restores(CAUSAL)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: mixture(), "objective.parts"),
        (
            lambda: mixture(shares={"a": 1}, a=CAUSAL, b=PREFIX),
            "objective.shares names a and objective.parts a, b",
        ),
        (lambda: mixture(shares={"a": 0}, a=CAUSAL), r"objective.shares.a=0"),
        (lambda: mixture(a=PrefixLM(prefix=99, per_row=False)), r"objective.parts.a: objective.prefix=99"),
        (lambda: mixture(modes=True, a=PrefixLM(prefix=8, per_row=False)), "window of 7"),
    ],
)
def test_what_cannot_be_mixed_is_named(made, named: str):
    with pytest.raises(BadInput, match=named):
        made().check(8)


REFUSED = [
    (CausalDecoder, BERT, "asks for hidden tokens.*encoder or prefix_decoder, not CausalDecoder"),
    (EncoderDecoder, BERT, "not EncoderDecoder"),
    (CausalDecoder, mixture(modes=True, a=CAUSAL, b=BERT), "MaskedLM asks for hidden tokens"),
    (Encoder, CAUSAL, "CausalLM asks for the text that follows"),
    (Encoder, mixture(a=BERT, b=PREFIX), "PrefixLM asks for the text that follows"),
]


@pytest.mark.parametrize(("kind", "objective", "said"), REFUSED)
def test_a_pair_that_makes_no_sense_is_refused_before_any_work(tmp_path, kind, objective, said: str):
    with pytest.raises(BadInput, match=said):
        run(tmp_path, architecture=partial(kind, tie_embeddings=False), objective=objective)
    assert not list(tmp_path.iterdir())


def test_a_pair_that_makes_sense_meets():
    for kind, objective in [
        (Encoder, BERT),
        (PrefixDecoder, mixture(a=BERT, b=PREFIX)),
        (CausalDecoder, SPANS),
    ]:
        bound, size = marked(objective, VOCAB, 12)
        meet(bound, kind(SHAPE, size, tie_embeddings=False))


BOTH = {
    "architecture": partial(PrefixDecoder, tie_embeddings=False),
    "objective": mixture(c=CAUSAL, p=PREFIX),
}


def test_a_run_of_a_mixture_is_measured_in_both_modes(tmp_path):
    """The record's figures, each against the loss taken by hand from the very model."""
    model = PrefixDecoder(SHAPE, VOCAB, tie_embeddings=False)
    torch.nn.init.normal_(model.head.weight)  # pyright: ignore
    evaluation = Evaluation(points=1, curve_rows=1, rows=7, prefix=None)
    found = evaluation.final(model, Chain(), 12, BOTH["objective"])
    causal = CausalDecoder(SHAPE, VOCAB, tie_embeddings=False)
    causal.load_state_dict(model.state_dict())
    alone = evaluation.final(causal, Chain(), 12, CAUSAL)
    assert found["loss_causal"] == pytest.approx(alone["loss"], abs=1e-6)
    assert found["loss"] == evaluation.final(model, Chain(), 12, PREFIX)["loss"]
    assert abs(found["loss"] - found["loss_causal"]) > 1e-3
    parts = {
        name: evaluation.final(model, Chain(), 12, part)["loss_objective"]
        for name, part in (("c", CAUSAL), ("p", PREFIX))
    }
    assert {name: found[f"loss_{name}"] for name in parts} == parts
    # Every batch of c asks for 12 tokens a row, of p for 13 less its prefix; 7 rows are one draw.
    asked = 13 - int(torch.randint(1, 12, (1,), generator=seeded()))
    mean = (parts["c"] * 12 + parts["p"] * asked) / (12 + asked)
    assert found["loss_objective"] == pytest.approx(mean, rel=1e-12)
    kept = run(tmp_path, **BOTH)
    assert set(kept.losses) == {"loss_causal", "loss_c", "loss_p"}
    assert kept.row()["loss_causal"] == kept.losses["loss_causal"] != kept.loss
    assert Run.load(tmp_path) == kept


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        (PrefixDecoder, mixture(modes=True, c=CAUSAL, p=PREFIX, s=SPANS)),
        (PrefixDecoder, BERT),
        (CausalDecoder, FillInTheMiddle(rate=0.5, spm=0.5)),
        (EncoderDecoder, SPANS),
    ],
    ids=["mixture", "masked_lm", "fim", "spans"],
)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, monkeypatch, kind, objective):
    changes = {"architecture": partial(kind, tie_embeddings=False), "objective": objective}
    whole = run(tmp_path / "whole", **changes)
    make, calls = type(objective).__call__, itertools.count(1)

    def interrupting(self, windows, generator):
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(self, windows, generator)

    with monkeypatch.context() as patched:
        patched.setattr(type(objective), "__call__", interrupting)
        stopped = run(tmp_path / "cut", **changes)
    assert stopped.status == "interrupted"
    assert 0 < stopped.step < STEPS
    again = run(tmp_path / "cut", **changes)
    assert again.row() == whole.row()
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
