"""Accuracy on text trained on and on text held out: long apart where a model memorises first, as in grokking
(Power et al. 2022)."""

import torch
from torch import Tensor

from scalelaw.contracts import IGNORE
from scalelaw.measures.measure import SEED, Figures, Measure, Subject, counts


class Accuracy(Measure):
    """rows: windows of each side."""

    def __init__(self, *, along: bool, rows: int) -> None:
        super().__init__(along=along)
        counts("accuracy", rows=rows)
        self.rows = rows

    def __call__(self, subject: Subject) -> Figures:
        """train, validation: share of the objective's targets that are the model's likeliest token, in the
        first windows the run is trained on, and in validation windows."""
        text = {
            "train": subject.source.windows(0, self.rows, window=subject.window, seed=subject.seed),
            "validation": subject.windows(self.rows),
        }
        return {name: accuracy(subject, windows) for name, windows in text.items()}


def accuracy(subject: Subject, windows: Tensor) -> float:
    batch = subject.objective(windows, torch.Generator().manual_seed(SEED)).to(subject.device)
    labels = batch.labels[:, batch.start :]
    with torch.no_grad():
        right = subject.model(batch).argmax(dim=-1) == labels
    return float(right[labels != IGNORE].float().mean())
