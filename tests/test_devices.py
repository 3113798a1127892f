"""That a run's tensors meet on one device. Where there is no GPU, torch's device of shapes without numbers
stands in for one: a watcher sees every operation of a step, and refuses those that mix it with the CPU.
Mixtures of experts, whose sorting has no such form, FlexAttention and losses with a start stay unseen."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scalelaw import loss
from scalelaw.meeting import marked
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.encoder import Encoder
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.hybrid_encoder_decoder import HybridEncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.objectives.fill_in_the_middle import FillInTheMiddle
from scalelaw.objectives.masked_lm import MaskedLM
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.objectives.span_corruption import SpanCorruption
from scalelaw.shape import Shape
from scalelaw.step import Step

DEVICE, SHAPE, VOCAB, ROWS, WINDOW = "meta", Shape(depth=2, width=16, heads=2, ffn_width=24), 32, 4, 12

CAUSAL = {
    "causal": CausalLM(),
    "documents": CausalLM(documents=True),
    "fill in the middle": FillInTheMiddle(rate=0.5, spm=0.5),
}
ALIKE = PrefixLM(prefix=5, per_row=False)
BOTH = {
    "prefix": ALIKE,
    "a prefix a row": PrefixLM(prefix=None, per_row=True),
    "spans": SpanCorruption(rate=0.15, span=3),
}
MASKED = {"masked": MaskedLM(rate=0.15, masked=0.8, random=0.1)}
ASKED = {
    CausalDecoder: CAUSAL,
    PrefixDecoder: {"causal": CausalLM()} | BOTH | MASKED,
    EncoderDecoder: BOTH,
    partial(HybridEncoderDecoder, decoder_prefix=0.5): BOTH,
    Encoder: MASKED,
}
CASES = [
    pytest.param(
        architecture, objective, id=f"{getattr(architecture, 'func', architecture).__name__}, {name}"
    )
    for architecture, objectives in ASKED.items()
    for name, objective in objectives.items()
]


class OneDevice(TorchDispatchMode):
    """Copies may go from one to the other, and a number (of no dimension) may come from the CPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if not copies and any(t.device.type == DEVICE for t in tensors):
            aside = [tuple(t.shape) for t in tensors if t.device.type != DEVICE and t.dim()]
            assert not aside, f"{func} of a tensor there and of those here, of shapes {aside}"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def there(monkeypatch):
    """No numbers can be read there, and there is no autocast. The loss goes by chunks, as it does where there
    are more tokens."""
    read = torch.Tensor.tolist

    def zeros(tensor):
        return torch.zeros(tensor.shape).tolist() if tensor.device.type == DEVICE else read(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", zeros)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(loss, "LOGITS", {"gpu": 1})
    monkeypatch.setattr(loss, "POSITIONS", 4)


def test_the_watcher_sees_what_a_gpu_would_refuse():
    table = torch.zeros(3, 2, device=DEVICE)
    with OneDevice(), pytest.raises(AssertionError, match=r"shapes \[\(2,\)\]"):
        table.index_select(0, torch.tensor([0, 1]))


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize(("architecture", "objective"), CASES)
def test_a_step_stays_on_its_device(there, architecture, objective, runs):
    objective, vocabulary = marked(objective, VOCAB, WINDOW)
    windows = torch.randint(VOCAB, (ROWS, WINDOW + 1), generator=torch.Generator().manual_seed(0))
    batches = [objective(windows, torch.Generator().manual_seed(run)) for run in range(runs)]
    models = [architecture(SHAPE, vocabulary, tie_embeddings=runs == 1).to(DEVICE) for _ in range(runs)]
    step = Step(models, precision="float32", compile=False, device=DEVICE, clip=1.0)
    with OneDevice():
        assert step.backward(batches, ROWS * WINDOW) == [(0.0, 0.0)] * runs
    slopes = [parameter.grad for model in models for parameter in model.parameters()]
    assert all(slope is not None and slope.device.type == DEVICE for slope in slopes)


@pytest.mark.parametrize("architecture", [CausalDecoder, PrefixDecoder, EncoderDecoder])
def test_text_is_written_where_the_model_is(architecture):
    model = architecture(SHAPE, VOCAB, tie_embeddings=True).to(DEVICE)
    prompt = torch.zeros(ROWS, 5, dtype=torch.int64, device=DEVICE)
    with OneDevice(), torch.no_grad():
        reader, hidden = model.read(prompt, 3)
        for _ in range(3):
            token = torch.nn.functional.linear(*model.scaled(hidden)).argmax(dim=-1)
            hidden = reader(model.embedding(token[:, None]))
    assert hidden.shape == (ROWS, SHAPE.width)
    assert hidden.device.type == DEVICE
