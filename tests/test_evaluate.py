import math

import numpy as np
import pytest
import torch
from training import Chain

from scalelaw.contracts import IGNORE, BadInput
from scalelaw.evaluate import Evaluation, conditional
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.shape import Shape

SHAPE = Shape(depth=2, width=16, heads=2, ffn_width=32)
WINDOW = 12


def model(kind):
    torch.manual_seed(0)
    made = kind(SHAPE, Chain.vocab_size, tie_embeddings=False)
    torch.nn.init.normal_(made.head.weight, std=0.5)
    return made


def test_the_common_measure_is_the_chain_rule_over_target_tokens():
    """-log p(target | prefix), token by token, computed the slow way: one growing window at a time."""
    causal, rows = model(CausalDecoder), 5
    evaluation = Evaluation(points=1, curve_rows=rows, rows=rows, prefix=4)
    windows = Chain().validation(rows, window=WINDOW)
    total = 0.0
    with torch.no_grad():
        for row in windows:
            for end in range(4, WINDOW + 1):
                batch = conditional(row[None, : end + 1], end)
                logits = causal(batch)[0, -1].double()
                total -= float(torch.log_softmax(logits, -1)[row[end]])
    measured = evaluation.curve(causal, Chain(), WINDOW, CausalLM())["loss"]
    assert measured == pytest.approx(total / (rows * (WINDOW + 1 - 4)), rel=1e-6)


@pytest.mark.parametrize("kind", [CausalDecoder, PrefixDecoder, EncoderDecoder])
def test_every_architecture_is_asked_for_the_same_tokens(kind):
    """A model that knows nothing scores ln V on each of them, and the bytes are those of the targets."""
    know_nothing = kind(SHAPE, Chain.vocab_size, tie_embeddings=False)  # an untied head starts at zero
    source = Chain()
    source.token_bytes = np.arange(Chain.vocab_size) + 1
    final = Evaluation(points=1, curve_rows=1, rows=7, prefix=None).final(
        know_nothing, source, WINDOW, Half()
    )
    targets = source.validation(7, window=WINDOW)[:, WINDOW // 2 :]
    nats = math.log(Chain.vocab_size)
    assert final["loss"] == pytest.approx(nats)
    expected = nats * targets.numel() / math.log(2) / float((targets + 1).sum())
    assert final["bits_per_byte"] == pytest.approx(expected)


class Half:
    def __call__(self, windows, generator):
        return conditional(windows, WINDOW // 2)


def test_the_objectives_own_loss_asks_for_all_tokens_of_causal_lm():
    causal = model(CausalDecoder)
    final = Evaluation(points=1, curve_rows=1, rows=9, prefix=6).final(causal, Chain(), WINDOW, CausalLM())
    windows = Chain().validation(9, window=WINDOW)
    with torch.no_grad():
        every = causal.nll(CausalLM()(windows, torch.Generator())) / (9 * WINDOW)
    assert final["loss_objective"] == pytest.approx(float(every), rel=1e-6)
    assert final["loss"] != pytest.approx(float(every), rel=1e-3)


def test_labels_before_the_split_are_not_asked():
    batch = conditional(torch.arange(9)[None], 3)
    assert batch.labels.tolist() == [[IGNORE, IGNORE, 3, 4, 5, 6, 7, 8]]
    assert (batch.start, batch.shortest, batch.longest) == (2, 3, 3)


def test_evaluations_are_log_spaced_and_end_with_the_run():
    steps = sorted(Evaluation(points=6, curve_rows=1, rows=1, prefix=None).steps(1000))
    assert steps[-1] == 1000
    assert steps[0] == 32  # 1.5 decades before the end
    assert np.allclose(np.diff(np.log(steps)), np.log(1000 / 32) / 5, atol=0.02)


@pytest.mark.parametrize("prefix", [0, 12, 200])
def test_a_prefix_without_a_target_is_named(prefix):
    with pytest.raises(BadInput, match=rf"evaluation\.prefix = {prefix}"):
        Evaluation(points=1, curve_rows=1, rows=1, prefix=prefix).given(WINDOW)
