"""How wide the basin is: the loss along random directions, each filter as large as the model's own.

Li et al. 2018 (section 4): without that scaling a model with larger weights looks flatter than it is, since
what follows a norm does not feel the size of the weights before it. A filter is what makes one output: a row
of a matrix. Norm gains, as there, are not moved.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from scalelaw.contracts import Batch
from scalelaw.measures.measure import SEED, Figures, Measure, Subject, counts, increasing, mean_nll


class Basin(Measure):
    """rows: validation windows. directions: random ones, each taken both ways. radii: steps along them, as a
    share of each filter's norm. level: the rise of the loss, nats a token, at which the basin's width is
    read."""

    def __init__(
        self, *, along: bool, rows: int, directions: int, radii: Sequence[float], level: float
    ) -> None:
        super().__init__(along=along)
        counts("basin", rows=rows, directions=directions)
        self.rows, self.directions, self.level = rows, directions, level
        self.radii = increasing("basin.radii", radii)

    def __call__(self, subject: Subject) -> Figures:
        """rise_R: mean rise of the loss at radius R, nats a token, over both ways of every direction: the
        slice. width: the radius at which it reaches `level`; None where it does not."""
        rises = slices(subject.model, subject.batch(self.rows), self.directions, self.radii).mean(axis=0)
        named = {f"rise_{radius:g}": float(rise) for radius, rise in zip(self.radii, rises, strict=True)}
        return named | {"width": reaches(self.radii, rises, self.level)}


def slices(model: nn.Module, batch: Batch, directions: int, radii: Sequence[float]) -> np.ndarray:
    """(directions, radii): rise of the mean NLL, nats, mean over the two ways of a direction."""
    generator = torch.Generator().manual_seed(SEED)
    centre = [parameter.detach().clone() for parameter in model.parameters()]
    rises = np.empty((directions, len(radii)))
    with torch.no_grad():
        floor = float(mean_nll(model, batch))
        for k in range(directions):
            direction = [filter_normalised(weight, generator) for weight in centre]
            for i, radius in enumerate(radii):
                both = []
                for step in (radius, -radius):
                    _move(model, centre, direction, step)
                    both.append(float(mean_nll(model, batch)))
                rises[k, i] = np.mean(both) - floor
        _move(model, centre, centre, 0.0)
    return rises


def filter_normalised(weight: Tensor, generator: torch.Generator) -> Tensor:
    """A random direction for a weight of this shape: every row has the norm of the weight's own row; zero for
    a vector."""
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    drawn = torch.randn(weight.shape, generator=generator).to(weight)
    return drawn * (weight.norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True))


def reaches(radii: Sequence[float], rises: np.ndarray, level: float) -> float | None:
    """Where the curve through (0, 0) and the points first reaches the level, by straight lines."""
    x, y = np.array([0.0, *radii]), np.array([0.0, *rises])
    above = np.flatnonzero(y >= level)
    if len(above) == 0:
        return None
    i = int(above[0])
    return float(x[i - 1] + (x[i] - x[i - 1]) * (level - y[i - 1]) / (y[i] - y[i - 1]))


def _move(model: nn.Module, centre: Sequence[Tensor], direction: Sequence[Tensor], step: float) -> None:
    for parameter, at, along in zip(model.parameters(), centre, direction, strict=True):
        parameter.copy_(at + step * along if step else at)
