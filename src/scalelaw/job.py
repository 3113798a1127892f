"""What a run is made of: `scalelaw.train` takes a list of these."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from scalelaw.checkpoint import Checkpoints
from scalelaw.contracts import BadInput, Objective, Source
from scalelaw.evaluate import Evaluation
from scalelaw.measures.measure import Measure
from scalelaw.optim import Schedule
from scalelaw.parallel import ALONE, Parallel
from scalelaw.run import RECORD, NewerRecord, Run
from scalelaw.shape import Shape
from scalelaw.start import NOTHING, Start
from scalelaw.tracking import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a run is called: the id (a hash of its config), a readable name, and the option names chosen."""

    run: str
    name: str
    study: str
    architecture: str
    objective: str
    data: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """All a run is made of.

    window: tokens a row. rows: rows a batch. clip: global gradient norm. log_every: steps between rows of the
    metrics file, each with the mean training loss since the last, so none goes unrecorded. precision,
    compile, device, parallel: as `scalelaw.step.Step` takes them. measures: by the names of their figures.
    """

    directory: Path
    labels: Labels
    config: Mapping[str, Any]
    architecture: Callable[..., Any]
    shape: Shape
    objective: Objective
    source: Source
    budget: Any
    optimizer: Callable[..., torch.optim.Optimizer]
    schedule: Schedule
    evaluation: Evaluation
    checkpoints: Checkpoints
    tracker: Tracker
    seed: int
    window: int
    rows: int
    clip: float
    log_every: int
    precision: str
    compile: bool
    device: str
    parallel: Parallel = ALONE
    measures: Mapping[str, Measure] = field(default_factory=dict)
    start: Start = NOTHING

    def finished(self) -> Run | None:
        """The record of this very run, if it is there and finished; a torn one is trained over.

        Raises BadInput for one that a later version wrote: what it holds is not ours to write over.
        """
        try:
            done = Run.load(self.directory) if (self.directory / RECORD).exists() else None
        except NewerRecord as error:
            raise BadInput(str(error)) from error
        except ValueError as error:
            log.warning("%s; the run starts again from its checkpoint", error)
            return None
        return done if done and done.finished and done.run == self.labels.run else None


def family(config: Mapping[str, Any]) -> str:
    """The same for runs that differ in their budget alone: as long as they share a schedule they share every
    step."""
    return json.dumps({k: v for k, v in config.items() if k != "budget"}, sort_keys=True, default=str)
