"""A run's config as objects: here Hydra ends."""

from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

import experiments.tuned  # noqa: F401 (registers ${tuned:...}, in workers too)
from experiments.door import cause
from experiments.identity import identity, run_id
from scalelaw.job import Job, Labels
from scalelaw.step import cache


def prepare(cfg: DictConfig) -> Job:
    """What the config says, as objects: here it ends. Raises what the user got wrong as it is."""
    try:
        return _job(cfg)
    except Exception as error:
        raise cause(error) from None


def _job(cfg: DictConfig) -> Job:
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    if not isinstance(cfg.threads, int) or cfg.threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1, not {cfg.threads!r}")
    torch.set_num_threads(cfg.threads)
    config = identity(cfg)
    choices: Any = hydra.runtime.choices
    labels = Labels(
        run=run_id(config),
        name=directory.name,
        study=cfg.study.name,
        architecture=choices.architecture,
        objective=choices.objective,
        data=choices.data,
        command=" ".join(["python -m experiments.train", *hydra.overrides.task]),
    )
    cache(Path(cfg.output) / "compiled")
    return Job(
        directory=directory,
        labels=labels,
        config=config,
        architecture=instantiate(cfg.architecture),
        shape=instantiate(cfg.shape),
        objective=instantiate(cfg.objective),
        source=instantiate(cfg.data),
        budget=instantiate(cfg.budget),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        evaluation=instantiate(cfg.evaluation),
        checkpoints=instantiate(cfg.checkpoints),
        tracker=instantiate(cfg.tracker),
        seed=cfg.seed,
        window=cfg.window,
        rows=cfg.rows,
        clip=cfg.clip,
        log_every=cfg.log_every,
        precision=cfg.precision,
        compile=cfg.compile,
        device=cfg.device,
        parallel=instantiate(cfg.parallel),
        measures=instantiate(cfg.measures),
        start=instantiate(cfg.start),
    )
