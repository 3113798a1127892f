"""Gradient noise: how much the gradients of single windows differ, beside the gradient they share.

With G the mean gradient and Sigma the covariance of a window's, McCandlish et al. 2018 (appendix A.1) find
both without bias from the squared norms at two batch sizes:

    E |G_B|^2 = |G|^2 + tr(Sigma) / B
"""

from dataclasses import replace

import torch
from torch import Tensor

from scalelaw.contracts import IGNORE, BadInput, Batch
from scalelaw.measures.measure import Figures, Measure, Subject, counts, summed_nll


class GradientNoise(Measure):
    """small: windows of the smaller batches. parts: how many of them, disjoint, make the large one."""

    def __init__(self, *, along: bool, small: int, parts: int) -> None:
        super().__init__(along=along)
        counts("gradient", small=small, parts=parts)
        if parts < 2:
            raise BadInput(f"gradient.parts={parts}: two batch sizes take at least 2")
        self.small, self.parts = small, parts

    def __call__(self, subject: Subject) -> Figures:
        """squared_norm: |G|^2. variance: tr(Sigma) of one window. relative_variance: of the run's own batch,
        tr(Sigma) / (B |G|^2), one over its squared signal-to-noise ratio. noise_scale: the batch in tokens at
        which that is one. The last two are None where the estimate of |G|^2 is not positive: the windows are
        too few to tell it from 0."""
        rows = self.small * self.parts
        whole = subject.batch(rows)
        # Every target weighs the same, as in training, whatever window it stands in.
        targets = int((whole.labels != IGNORE).sum()) / self.parts
        squared, mean = 0.0, torch.zeros((), dtype=torch.float64, device=subject.device)
        for first in range(0, rows, self.small):
            part = cut(whole, slice(first, first + self.small))
            gradient = flat_gradient(subject.model, part, targets)
            squared, mean = squared + float(gradient.square().sum()), mean + gradient / self.parts
        norm, variance = two_sizes(squared / self.parts, float(mean.square().sum()), self.small, rows)
        told = norm > 0
        return {
            "squared_norm": norm,
            "variance": variance,
            "relative_variance": variance / norm / subject.rows if told else None,
            "noise_scale": variance / norm * subject.window if told else None,
        }


def two_sizes(small: float, large: float, b: int, B: int) -> tuple[float, float]:
    """|G|^2 and tr(Sigma) from the mean squared norms at batch sizes b < B. Either may come out negative:
    unbiased is not bounded."""
    return (B * large - b * small) / (B - b), (small - large) / (1 / b - 1 / B)


def flat_gradient(model: torch.nn.Module, batch: Batch, targets: float) -> Tensor:
    """(parameters,) of the summed NLL over `targets`; float64, so that sums of squares keep their digits."""
    found = torch.autograd.grad(summed_nll(model, batch) / targets, list(model.parameters()))
    return torch.cat([part.flatten().double() for part in found])


def cut(batch: Batch, rows: slice) -> Batch:
    """Some of the rows, with the start and the range of prefixes of the whole."""
    segments = None if batch.segments is None else batch.segments[rows]
    own = {name: getattr(batch, name)[rows] for name in ("tokens", "labels", "prefix")}
    return replace(batch, **own, segments=segments)
