"""Learning that is held to where it started, so that less of it is forgotten.

Elastic weight consolidation (Kirkpatrick et al. 2017, eq. 3), a token:

    NLL + strength / 2 sum_i F_i (w_i - w0_i)^2

w0 are the weights that the run started from, F the diagonal of the older text's Fisher information there.
With F = 1 it is L2-SP (Li et al. 2018).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scalelaw.contracts import IGNORE, Architecture, BadInput, Batch, Objective, Remembering, Source


class Anchored:
    """objective: what is learnt. strength: of the anchor. windows: of the older text, to estimate F on; None:
    F = 1. Raises BadInput naming the key that cannot be."""

    def __init__(self, *, objective: Objective, strength: float, windows: int | None) -> None:
        if not strength >= 0:
            raise BadInput(f"objective.strength={strength!r} cannot be negative")
        if windows is not None and (not isinstance(windows, int) or windows < 1):
            raise BadInput(f"objective.windows={windows!r} is a whole number of at least 1, or null")
        self.objective, self.strength, self.windows = objective, strength, windows
        self.check, self.splits = objective.check, objective.splits
        self.cut_by_text = getattr(objective, "cut_by_text", False)

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        return self.objective(windows, generator)

    def against(
        self, start: Architecture, source: Source, window: int
    ) -> Callable[[Architecture, Batch], Tensor]:
        """Raises BadInput where F is asked for and the source holds no older text."""
        weight: dict[str, Tensor | float] = dict.fromkeys(dict(_parameters(start)), 1.0)
        if self.windows is not None:
            if not isinstance(source, Remembering):
                raise BadInput("objective.windows: the data holds no older text to keep; data=shift does")
            older = source.others[source.older].windows(0, self.windows, window=window, seed=0)
            weight |= fisher(start, self.objective, older)

        def loss(model: Architecture, batch: Batch) -> Tensor:
            at = dict(_parameters(start))
            moved = [(weight[name] * (w - at[name]).square()).sum() for name, w in _parameters(model)]
            tokens = (batch.labels != IGNORE).sum()
            return model.nll(batch) + tokens * self.strength / 2 * torch.stack(moved).sum()

        return loss


def fisher(model: Architecture, objective: Objective, windows: Tensor) -> dict[str, Tensor]:
    """The diagonal of the Fisher information a token, by the parameter's name: squares of the gradients of
    each window's NLL, summed and divided by the tokens asked.

    Of the text's own labels, the empirical Fisher, where Kirkpatrick's would sample them from the model. Its
    passes are no training, and not in C.
    """
    named = dict(_parameters(model))
    held = [w.requires_grad for w in named.values()]
    total, tokens = {name: torch.zeros_like(w) for name, w in named.items()}, 0
    generator = torch.Generator().manual_seed(0)
    for w in named.values():
        w.requires_grad_(True)
    for window in windows.split(1):
        batch = objective(window, generator)
        tokens += batch.asked
        nll = model.nll(batch.to(next(iter(named.values())).device))
        for name, slope in zip(named, torch.autograd.grad(nll, list(named.values())), strict=True):
            total[name] += slope.square()
    for w, asked in zip(named.values(), held, strict=True):
        w.requires_grad_(asked)
    return {name: squares / tokens for name, squares in total.items()}


def _parameters(model: Architecture) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters())  # pyright: ignore[reportAttributeAccessIssue]
