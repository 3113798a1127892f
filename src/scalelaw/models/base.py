"""What all architectures share outside their stacks: the embedding, the output head, the rate groups."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from scalelaw.contracts import BadInput, Batch
from scalelaw.loss import Softmax, softmax, summed_nll
from scalelaw.models.cache import Reader
from scalelaw.models.layers import Stack
from scalelaw.models.moe import SparseFeedForward
from scalelaw.shape import Shape

# As large as the sum of what a stack's layers write at the start, so that neither drowns the other; the
# same at every width, as muP asks of input weights. Between 0.3 and 1 no difference was seen (width 48, bytes
# of prose, 200 steps); 0.02 and 0.1 were slower at most learning rates tried.
EMBEDDING_STD = 1.0


class LanguageModel(nn.Module, ABC):
    """Tokens in, logits out; subclasses wire what lies between.

    tie_embeddings: the output head is the embedding transposed. The last hidden state is then scaled by
    E ** -0.5, as in T5: the embedding's entries have size 1, not E ** -0.5 as a head's would, and without
    the scale the first logits would have a standard deviation of sqrt(E). muP alone would ask for 1 / E; at
    width 48 that learns much slower (on bytes of prose, 2.09 nats after 200 steps against 1.82), so the
    transfer of learning rates over width is proved for untied models only.
    An untied head starts at zero, so the first loss is exactly ln V, whatever the width.

    continues, restores: whether a position may be asked for the token after it, and, hidden, for its own.
    """

    continues: bool = True
    restores: bool = False

    def __init__(self, shape: Shape, vocab_size: int, tie_embeddings: bool) -> None:
        super().__init__()
        if vocab_size < 1:
            raise BadInput(f"vocab_size must be at least 1, not {vocab_size}")
        self.shape, self.vocab_size = shape, vocab_size
        self.embedding = nn.Embedding(vocab_size, shape.width)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.head = None if tie_embeddings else nn.Linear(shape.width, vocab_size, bias=False)
        self.softmax: Softmax = softmax
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    @abstractmethod
    def hidden(self, batch: Batch) -> Tensor:
        """(B, T - batch.start, E): what the head reads, aligned with `batch.labels[:, batch.start:]`."""

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T - batch.start, V), aligned with `batch.labels[:, batch.start:]`."""
        return nn.functional.linear(*self.projected(batch))

    def nll(self, batch: Batch) -> Tensor:
        """Summed cross-entropy of what the batch asks, nats in float32; no logits are kept."""
        return summed_nll(*self.projected(batch), batch.labels[:, batch.start :], self.softmax)

    def projected(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T - batch.start, E) and (V, E), whose product are the logits."""
        return self.scaled(self.hidden(batch))

    def scaled(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(.., E) of `hidden` and the head's (V, E), whose product are the logits."""
        if self.head is not None:
            return hidden, self.head.weight
        return hidden * self.shape.width**-0.5, self.embedding.weight

    def read(self, prompt: Tensor, more: int) -> tuple[Reader, Tensor]:
        """Read a (B, P) prompt, and be ready to read `more` tokens after it, each as it comes.

        Returns the reader and the (B, E) that the head reads at the prompt's last token. `scalelaw.generate`
        goes on from there. Raises BadInput for an architecture without a cache.
        """
        raise BadInput(f"{type(self).__name__} keeps no cache: it cannot generate text")

    def kept(self, prompt: int, more: int) -> int:
        """Numbers a row that `read` makes room for."""
        raise BadInput(f"{type(self).__name__} keeps no cache")

    def token_flops(self, prompt: int, after: int) -> int:
        """Forward FLOPs of one row's token at position prompt + after, all before it being kept.

        The prompt itself costs flops(window=prompt, prefix=prompt, start=prompt - 1).
        """
        raise BadInput(f"{type(self).__name__} keeps no cache")

    @abstractmethod
    def flops(self, *, window: int, prefix: int, start: int) -> int:
        """Forward matmul and attention FLOPs of one row of a batch whose longest prefix is `prefix`."""

    def blocks(self) -> list[nn.Module]:
        """Those of all stacks, in the order they are computed in."""
        return [block for stack in self._stacks() for block in stack.blocks]

    def _stacks(self) -> list[Stack]:
        return [module for module in self.modules() if isinstance(module, Stack)]

    def mixtures(self) -> list[SparseFeedForward]:
        """The mixtures of experts among the FFNs. Their auxiliary loss is one of a batch: where there are
        any, a batch's rows can be neither shared out nor computed with another's."""
        return [module for module in self.modules() if isinstance(module, SparseFeedForward)]

    def auxiliary(self) -> Tensor:
        """What training adds to the loss in nats per token, for the last pass of a model with mixtures."""
        return torch.stack([mixture.auxiliary for mixture in self.mixtures()]).sum()

    def load(self) -> dict[str, float]:
        """How even the last training pass's load was: the least and the most of any expert of any block, 1
        being an even share. Empty for a dense model."""
        found = [mixture.load * mixture.experts for mixture in self.mixtures()]
        if not found:
            return {}
        loads = torch.stack(found)
        return {"expert_load_least": float(loads.min()), "expert_load_most": float(loads.max())}

    def compile_parts(self, *, varied: bool) -> None:
        """Compile what comes over and over: blocks and last norms, once for all of a shape, and the loss's
        softmax.

        varied: batches are cut differently. They are then compiled for any length from the first on: a first
        kernel for the first length alone would be another one in a run that is resumed.
        """
        dynamic = True if varied else None
        for stack in self._stacks():
            for part in (*stack.blocks, stack.norm):
                part.compile(dynamic=dynamic)
        self.softmax = torch.compile(softmax, dynamic=dynamic)

    def head_flops(self, positions: int) -> int:
        return 2 * positions * self.shape.width * self.vocab_size

    def rate_groups(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter once, by how its learning rate must follow width and depth (scalelaw.optim).

        "vector": embedding, tied or not, and norm gains: no dimension they sum over grows with E.
        "head": the output head. "write": matrices that write to the residual stream, named `out` and `down`.
        "read": all other matrices, which read from it.
        """
        groups: dict[str, list[nn.Parameter]] = {"vector": [], "head": [], "read": [], "write": []}
        for name, parameter in self.named_parameters():
            groups[_group(name)].append(parameter)
        return groups


def _group(name: str) -> str:
    module = name.split(".")[-2]
    if module == "embedding" or module.endswith("norm"):
        return "vector"
    if module in ("out", "down"):
        return "write"
    return "head" if module == "head" else "read"
