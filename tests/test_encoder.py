"""The encoder-only model: what it sees, by gradients; whose computation it is; what it refuses."""

import math
from functools import partial

import pytest
from test_counting import executed
from tiny import batch, loss, model, visibility
from training import STEPS, VOCAB, run

from scalelaw.budget import Tokens
from scalelaw.contracts import BadInput
from scalelaw.counting import count
from scalelaw.models.encoder import Encoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.masked_lm import MaskedLM
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.run import read_metrics

WINDOW = 11
BERT = MaskedLM(rate=0.25, masked=0.8, random=0.1)


def test_every_position_depends_on_every_token_of_its_row_and_on_no_other_row():
    given = batch([WINDOW, WINDOW], WINDOW, start=0)
    built = model(Encoder)
    assert visibility(built, given).all()
    other = batch([WINDOW, WINDOW], WINDOW, start=0)
    other.tokens[1] = (other.tokens[1] + 1) % 37
    assert built(given)[0].equal(built(other)[0])


def test_it_is_the_prefix_decoder_of_a_whole_prefix_bit_for_bit():
    encoder, decoder = model(Encoder), model(PrefixDecoder, seed=5)
    state = {name.replace("encoder.", "decoder."): value for name, value in encoder.state_dict().items()}
    decoder.load_state_dict(state)
    given = batch([WINDOW, WINDOW], WINDOW, start=0)
    assert encoder(given).equal(decoder(given))
    for built in (encoder, decoder):
        loss(built, given).backward()
    for one, other in zip(encoder.parameters(), decoder.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert one.grad.equal(other.grad)
    assert count(encoder)["encoder"] == count(decoder)["decoder"] == count(encoder)["non_embedding"]
    sizes = {"window": WINDOW, "prefix": WINDOW, "start": 3}
    assert encoder.flops(**sizes) == decoder.flops(**sizes)


@pytest.mark.parametrize("tie", [False, True])
def test_flops_are_torch_s(tie: bool):
    counted, said = executed(model(Encoder, tie=tie, depth=3), [16, 16], 16, 0)
    assert counted == said


@pytest.mark.parametrize("prefix", [[0, 0], [5, 5], [WINDOW, 4]])
def test_a_batch_that_hides_something_is_refused(prefix: list[int]):
    with pytest.raises(BadInput, match="whole window of 11 tokens"):
        model(Encoder)(batch(prefix, WINDOW, start=0))
    with pytest.raises(BadInput, match="objective=masked_lm"):
        model(Encoder).flops(window=WINDOW, prefix=min(prefix), start=0)


def test_a_run_has_its_objective_s_loss_and_no_common_one(tmp_path):
    """Also where it would not: a successor told by an encoder that has already seen it."""
    encoder = partial(Encoder, tie_embeddings=False)
    done = run(tmp_path / "a", architecture=encoder, objective=BERT)
    assert done.finished
    assert (done.loss, done.bits_per_byte, done.bayes_loss, done.losses) == (None, None, None, {})
    assert done.D_target == STEPS * 4 * 3
    assert done.loss_objective is not None
    rows = [row for row in read_metrics(tmp_path / "a") if "loss_objective" in row]
    assert len(rows) == 3
    assert not any("loss" in row for row in rows)
    assert rows[-1]["loss_objective"] == done.loss_objective
    with pytest.raises(BadInput, match="PrefixLM asks for the text that follows, and Encoder sees it"):
        run(tmp_path / "b", architecture=encoder, objective=PrefixLM(prefix=12, per_row=False))


def test_it_learns_to_tell_hidden_tokens_from_both_sides(tmp_path):
    """A language in which a token is known from the one before or after it, and not otherwise."""
    long = run(
        tmp_path, architecture=partial(Encoder, tie_embeddings=False), objective=BERT, budget=Tokens(D=12_000)
    )
    assert long.loss_objective is not None
    assert long.loss_objective < 0.9 * math.log(VOCAB)
