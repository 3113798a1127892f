"""Train one model, or with -m a study of them: python -m experiments.train [-m] key=value ..."""

import sys
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

import experiments.tuned  # noqa: F401 (registers ${tuned:...})
from experiments.door import cause, door
from experiments.identity import identity, run_id
from scalelaw.run import RECORD, Run
from scalelaw.step import cache
from scalelaw.train import train
from scalelaw.trainee import Job, Labels


@door("train")
def main(cfg: DictConfig) -> float | None:
    job = prepare(cfg)
    [run] = train([job])
    print(describe(run, job.directory))
    if not run.finished:
        sys.exit(1)
    return run.loss  # for sweepers that make it small


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
    )


def describe(run: Run, directory: Path) -> str:
    loss = "no loss" if run.loss is None else f"loss {run.loss:.4f} nats/token"
    why = "" if run.reason is None else f" ({run.reason})"
    return (
        f"{run.name}: {run.status}{why}, N={run.N:,} D={run.D:,} C={run.C:.3g}, {loss}, "
        f"{run.timing['tokens_per_second']:,.0f} tokens/s, {directory / RECORD}"
    )


if __name__ == "__main__":
    main()
