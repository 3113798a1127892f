"""Models of one shape as one: every matrix product becomes a batch of K, and the wiring stays as it is.

K models, B rows each, T positions. A stack reads the K batches one after the other as K * B rows. Rows never
look at each other, so all that lies between the parameters (attention, rotary positions, activations) does
not know that there are several models. Only the modules that hold parameters are replaced.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelaw.contracts import Batch
from scalelaw.models.base import LanguageModel


class Linears(nn.Module):
    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.weight = _shared(models, "weight")  # (K, out, in)

    def forward(self, x: Tensor) -> Tensor:
        K, _, wide = self.weight.shape
        return (x.reshape(K, -1, wide) @ self.weight.mT).view(*x.shape[:-1], -1)


class Norms(nn.Module):
    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.weight = _shared(models, "weight")  # (K, E)
        self.eps: float | None = models[0].eps  # pyright: ignore[reportAttributeAccessIssue]

    def forward(self, x: Tensor) -> Tensor:
        K, E = self.weight.shape
        return (F.rms_norm(x, (E,), None, self.eps).view(K, -1, E) * self.weight[:, None]).view(x.shape)


class Embeddings(nn.Module):
    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.weight = _shared(models, "weight")  # (K, V, E)

    def forward(self, tokens: Tensor) -> Tensor:
        K, V, E = self.weight.shape
        own = torch.arange(K, device=tokens.device).repeat_interleave(len(tokens) // K) * V
        return F.embedding(tokens + own[:, None], self.weight.view(K * V, E))


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: Linears,
    nn.RMSNorm: Norms,
    nn.Embedding: Embeddings,
}


def stack(models: Sequence[LanguageModel]) -> LanguageModel:
    """One model whose parameters hold those of all `models`, which must be of one shape.

    The models go on as they are, their parameters and gradients being views of the stack's: what an optimizer
    or a checkpoint does to a model of its own is done to the stack, and `stack.nll(batch)` is (K,), a sum for
    each. Raises TypeError for a module with parameters that cannot be stacked.
    """
    whole = copy.deepcopy(models[0])
    for name, module in models[0].named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        stacked = next((new for kind, new in KINDS.items() if isinstance(module, kind)), None)
        if stacked is None:
            raise TypeError(
                f"{name} is a {type(module).__name__}: only {', '.join(k.__name__ for k in KINDS)}"
            )
        *path, last = name.split(".")
        parent = whole.get_submodule(".".join(path))
        setattr(parent, last, stacked([model.get_submodule(name) for model in models]))
    return whole


def join(batches: Sequence[Batch]) -> Batch | None:
    """The batches as one of K * B rows; None where they are not cut alike, and rows would be padded or masked
    for each other's sake."""
    first = batches[0]
    if len({(b.start, b.shortest, b.longest, b.segments is None) for b in batches}) > 1:
        return None
    tokens, labels, prefix = (
        torch.cat([getattr(b, n) for b in batches]) for n in ("tokens", "labels", "prefix")
    )
    numbered = [b.segments for b in batches if b.segments is not None]
    segments = torch.cat(numbered) if numbered else None
    return Batch(tokens, labels, prefix, first.start, first.shortest, first.longest, segments)


def _shared(modules: Sequence[nn.Module], name: str) -> nn.Parameter:
    """(K, ...) with a gradient, of which each module's own parameter and gradient become the views."""
    own = [getattr(module, name) for module in modules]
    together = nn.Parameter(torch.stack([parameter.detach() for parameter in own]))
    together.grad = torch.zeros_like(together)
    for parameter, value, slope in zip(own, together.detach(), together.grad, strict=True):
        parameter.data, parameter.grad = value, slope
    return together
