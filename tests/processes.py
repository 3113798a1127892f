"""What tests/test_parallel.py runs in several processes: torchrun ... processes.py DIRECTORY FUNCTION."""

import json
import os
import signal
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
from training import LABELS, ROWS, WINDOW, CausalLM, job, run

from scalelaw.budget import Tokens
from scalelaw.checkpoint import Checkpoints
from scalelaw.job import Job
from scalelaw.models.encoder_decoder import EncoderDecoder
from scalelaw.models.prefix_decoder import PrefixDecoder
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.parallel import ALONE, DDP, FSDP
from scalelaw.tracking import Disabled
from scalelaw.train import train

KINDS = {"ddp": DDP, "fsdp": FSDP}
RUNS: dict[str, dict[str, Any]] = {
    "causal": {},
    "prefix": {
        "architecture": partial(PrefixDecoder, tie_embeddings=False),
        "objective": PrefixLM(prefix=None, per_row=False),
    },
    "encoder-decoder": {
        "architecture": partial(EncoderDecoder, tie_embeddings=True),
        "objective": PrefixLM(prefix=None, per_row=True),
    },
    "clipped": {"clip": 0.05},
    "documents": {"objective": CausalLM(documents=True)},
    "bfloat16": {"precision": "bfloat16"},
}


class Stopping:
    """An objective that sends this process a signal while the batch of a step is being made."""

    def __init__(self, step: int, number: int = signal.SIGTERM, rank: int = 1) -> None:
        self.objective, self.left, self.number, self.rank = CausalLM(), step, number, rank
        self.check, self.splits = self.objective.check, self.objective.splits

    def __call__(self, windows, generator):
        self.left -= 1
        if self.left == 0 and (not dist.is_initialized() or dist.get_rank() == self.rank):
            os.kill(os.getpid(), self.number)
        return self.objective(windows, generator)


class Broken(Checkpoints):
    """One process cannot read."""

    def load(self, *asked):
        if dist.get_rank() == 1:
            raise OSError("the disk is gone")
        return super().load(*asked)


class Blind(Checkpoints):
    """One process finds nothing, as on a host that does not share the folder."""

    def load(self, *asked):
        return None if dist.get_rank() == 1 else super().load(*asked)


class Counting(Disabled):
    """Leaves a file of each process that tracks."""

    def start(self, *, directory, **_):
        (directory / f"tracked-by-{dist.get_rank()}").touch()


def everything(root: Path) -> None:
    for name, kind in KINDS.items():
        for case, changes in RUNS.items():
            run(root / name / case, parallel=kind(), tracker=Counting(), **changes)
        run(root / name / "cut", parallel=kind(), objective=Stopping(5))
        run(root / name / "resumed", parallel=kind(), objective=Stopping(5))
        run(root / name / "resumed", parallel=kind())
    run(root / "from-one", parallel=FSDP())
    run(root / "from-fsdp", parallel=FSDP(), objective=Stopping(5))
    run(root / "from-fsdp", parallel=DDP())
    refused(root)


def refused(root: Path) -> None:
    """The errors of this process, by what was wrong."""
    run(root / "apart", parallel=DDP(), objective=Stopping(5))
    said = {}
    for name, attempt in {
        "rows": lambda: run(root / "rows", parallel=DDP(), rows=3),
        "none": lambda: run(root / "none", parallel=ALONE),
        "several": lambda: train([several(root, "a"), several(root, "b")]),
        "disk": lambda: run(
            root / "disk", parallel=DDP(), checkpoints=Broken(seconds=1e9, keep=2, weights=False)
        ),
        "apart": lambda: run(
            root / "apart", parallel=DDP(), checkpoints=Blind(seconds=1e9, keep=2, weights=False)
        ),
        "device": lambda: run(root / "device", parallel=DDP(), device="cuda:1"),
    }.items():
        try:
            attempt()
        except (OSError, ValueError) as error:
            said[name] = f"{type(error).__name__}: {error}"
    (root / f"refused-{dist.get_rank()}.json").write_text(json.dumps(said))


def several(root: Path, name: str) -> Job:
    return job(root / name, parallel=FSDP(), labels=replace(LABELS, run=name))


def three(root: Path) -> None:
    """Three processes: sums of three depend on their order, and 16 rows of a matrix are cut 6, 6 and 4."""
    for name, kind in KINDS.items():
        for case, objective in {"whole": CausalLM(), "cut": Stopping(5)}.items():
            run(root / name / case, parallel=kind(), rows=6, objective=objective)
        run(root / name / "cut", parallel=kind(), rows=6)


def compiled(root: Path) -> None:
    warnings.simplefilter("ignore")  # what torch's compiler warns of while it traces is its own affair
    for name, kind in KINDS.items():
        run(root / name, parallel=kind(), compile=True)


def long(root: Path) -> None:
    """Some seconds of it, for a test to disturb."""
    steps = Tokens(D=300 * ROWS * WINDOW)
    run(root, parallel=FSDP(), budget=steps, checkpoints=Checkpoints(seconds=0.3, keep=2, weights=False))


if __name__ == "__main__":
    warnings.simplefilter("error")
    dist.init_process_group("cpu:gloo")
    globals()[sys.argv[2]](Path(sys.argv[1]))
    dist.destroy_process_group()
