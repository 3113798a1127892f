"""The gradient of one step, for one model or several of one shape: everything that decides the speed.

Precision, compilation and stacking live here, and nowhere else.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
import torch.utils.deterministic
from torch import Tensor

from scalelaw.contracts import BadInput, Batch
from scalelaw.models.base import LanguageModel
from scalelaw.parallel import ALONE, Parallel, gradient_norm, uncut
from scalelaw.stack import join, stack

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


class Step:
    """Takes gradients of `models`, all of one shape, each on its own batch.

    precision: "float32", or "bfloat16": autocast over float32 weights. compile: compile each kind of part
    once with torch.compile; models of that shape share it, and later processes find it in its cache on disk.
    varied: the lengths of prefixes and targets change from batch to batch. clip: the largest global gradient
    norm of a model. parallel: how processes share the batches. losses: of each model, in place of the NLL,
    where they have losses of their own; such models are computed one after the other. Raises BadInput naming
    the key for a device or a precision that is not there.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        precision: str,
        compile: bool,
        device: str,
        clip: float,
        varied: bool = False,
        parallel: Parallel = ALONE,
        losses: Sequence[Callable[[LanguageModel, Batch], Tensor]] | None = None,
    ) -> None:
        check(precision, device, clip)
        self.precision, self.device, self.clip = precision, torch.device(device), clip
        deterministic()
        self.models = list(models)
        self.parameters = [list(model.parameters()) for model in models]
        self.whole = stack(models) if len(models) > 1 else models[0]
        if compile:  # the models as well: those whose batches are cut differently are computed apart
            for model in {self.whole, *models}:
                model.compile_parts(varied=varied)
        self.balanced = bool(self.whole.mixtures())
        self.parallel, self.nll = parallel, parallel.objective(self.whole)
        self.losses = losses
        self.slopes = [p.grad for p in self.whole.parameters() if p.grad is not None]

    def backward(self, batches: Sequence[Batch], tokens: int) -> list[tuple[float, float]]:
        """Leave the gradient of (summed NLL / tokens) of each model in its parameters, its norm clipped.

        A model's auxiliary loss is added to what the gradient is taken of, and to nothing that is returned.

        Returns the summed NLL in nats, or what stands in its place, and the norm before clipping, for each.
        Batches that are cut alike are computed together; others apart, so that no row is padded for another's
        sake.
        """
        alone = len(self.models) == 1
        if alone:
            self.whole.zero_grad()
        else:  # the models' own gradients are views of the stack's, and have to stay so
            torch._foreach_zero_(self.slopes)  # pyright: ignore[reportPrivateImportUsage]
        batches = [self.parallel.share(batch).to(self.device) for batch in batches]
        with autocast(self.precision, self.device):
            if self.losses is not None:
                each = zip(self.losses, self.models, batches, strict=True)
                nll = torch.stack([loss(model, batch) for loss, model, batch in each])
            elif (joined := batches[0] if alone else join(batches)) is not None:
                nll = self.nll(joined).view(-1)
            else:
                nll = torch.stack([model.nll(b) for model, b in zip(self.models, batches, strict=True)])
        # By the batch's tokens, not its targets, so that every target token weighs the same: a mean over what
        # a drawn split leaves would give the ends of windows more than their share.
        loss = nll.sum() / tokens
        (loss + self.whole.auxiliary() if self.balanced else loss).backward()
        norms = [gradient_norm(parameters) for parameters in self.parameters]
        total = self.parallel.total(nll.detach())
        told = torch.stack([total, torch.stack([uncut(norm) for norm in norms])]).tolist()  # the one wait
        for parameters, norm, found in zip(self.parameters, norms, told[1], strict=True):
            if found > self.clip:  # most are not, and a product with 1 reads and writes every gradient
                torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        return list(zip(*told, strict=True))


def deterministic() -> None:
    """Let this process take its sums in one order. Memory that is written before it is read need not be
    filled with NaN for that. Older torch refuses deterministic products on GPUs without cuBLAS's setting,
    which is read at the first product."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def check(precision: str, device: str, clip: float) -> None:
    """Raises BadInput naming the one that is not possible."""
    if not clip > 0:
        raise BadInput(f"clip must be positive, not {clip!r}")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # torch has a kind of error for each way a device is not there
        raise BadInput(f"device={device}: {str(error).splitlines()[0]}") from None
    if precision not in PRECISIONS:
        raise BadInput(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")


def autocast(precision: str, device: str | torch.device) -> AbstractContextManager[object]:
    kind = PRECISIONS[precision]
    return torch.autocast(torch.device(device).type, kind, enabled=kind is not None)


def cache(directory: Path) -> None:
    """Keep what is compiled in `directory`, for all processes that name it. Has to be said before the first
    compilation."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(directory.absolute()))
