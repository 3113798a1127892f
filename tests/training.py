"""A whole training run in milliseconds: a made-up language, a tiny model, every part replaceable."""

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from scalelaw.budget import Tokens
from scalelaw.checkpoint import Checkpoints
from scalelaw.evaluate import Evaluation
from scalelaw.job import Job, Labels
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.objectives.causal_lm import CausalLM
from scalelaw.optim import WarmupStableDecay, adamw
from scalelaw.run import Run
from scalelaw.shape import Shape
from scalelaw.tracking import Disabled
from scalelaw.train import train

VOCAB, WINDOW, ROWS, STEPS = 16, 12, 4, 12
SHAPE = Shape(depth=2, width=16, heads=2, ffn_width=32)
LABELS = Labels(
    run="0123456789",
    name="tiny",
    study="tests",
    architecture="causal_decoder",
    objective="causal_lm",
    data="chain",
    command="pytest",
)


class Chain:
    """Text of a Markov chain whose every token has two likely successors; a Source like any other."""

    vocab_size = VOCAB
    train_tokens = 10_000
    token_bytes = np.full(VOCAB, 2)  # so that bits per byte and nats per token cannot be taken for each other

    def __init__(self) -> None:
        self.manifest = {"name": "chain"}

    def windows(self, position: int, rows: int, *, window: int, seed: int) -> torch.Tensor:
        return torch.stack([self._row(window, 1 + seed, position + row) for row in range(rows)])

    def validation(self, rows: int, *, window: int) -> torch.Tensor:
        return torch.stack([self._row(window, 0, row) for row in range(rows)])

    @staticmethod
    def _row(window: int, *key: int) -> torch.Tensor:
        rng = np.random.default_rng(key)
        tokens = [int(rng.integers(VOCAB))]
        for step in rng.random(window):
            tokens.append((3 * tokens[-1] + 1 + (step < 0.25)) % VOCAB)
        return torch.tensor(tokens)


def compiler(test):
    """What torch's compiler warns of while it traces is its own affair."""
    there = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU takes a C++ compiler")
    return there(pytest.mark.filterwarnings("ignore")(test))


class Stopping:
    """An objective, and SIGTERM to this process while its given batch is made."""

    def __init__(self, objective, at: int) -> None:
        self.objective, self.left = objective, at
        self.cut_by_text = getattr(objective, "cut_by_text", False)  # `isinstance` may not ask __getattr__

    def __getattr__(self, name):
        return getattr(self.objective, name)

    def __call__(self, windows, generator):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.objective(windows, generator)


def job(directory: Path, **changes) -> Job:
    """The tiny run in `directory`, with any of its parts changed."""
    torch.set_num_threads(1)
    parts = {
        "directory": directory,
        "labels": LABELS,
        "config": {"tiny": True},
        "architecture": partial(CausalDecoder, tie_embeddings=False),
        "shape": SHAPE,
        "objective": CausalLM(),
        "source": Chain(),
        "budget": Tokens(D=STEPS * ROWS * WINDOW),
        "optimizer": partial(
            adamw,
            lr=0.02,
            transfer="width",
            base_width=16,
            base_depth=2,
            betas=[0.9, 0.95],
            eps=1e-8,
            weight_decay=0.1,
        ),
        "schedule": WarmupStableDecay(warmup=0.1, decay=0.3, final=0.0),
        "evaluation": Evaluation(points=3, curve_rows=8, rows=32, prefix=None),
        "checkpoints": Checkpoints(seconds=1e9, keep=2, weights=False),
        "tracker": Disabled(),
        "seed": 0,
        "window": WINDOW,
        "rows": ROWS,
        "clip": 1.0,
        "log_every": 2,
        "precision": "float32",
        "compile": False,
        "device": "cpu",
    }
    return Job(**(parts | changes))


def run(directory: Path, **changes) -> Run:
    return train([job(directory, **changes)])[0]
