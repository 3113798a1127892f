"""Train one model, or with -m a study of them: python -m experiments.train [-m] key=value ..."""

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

import experiments.identity
import experiments.tuned  # noqa: F401 (registers ${tuned:...})
from experiments.door import door
from scalelaw.run import RECORD, Run


@door("train")
def main(cfg: DictConfig) -> float | None:
    # Not before: a sweep's own process has its workers load torch while it composes their configs.
    from experiments.job import prepare
    from scalelaw.train import train

    job = prepare(cfg)
    [run] = train([job])
    if job.parallel.rank == 0:
        print(describe(run, job.directory))
    if not run.finished and HydraConfig.get().mode == RunMode.MULTIRUN:
        # An exit would take a launcher's worker with it, and be reported as a crash or, by some, not at all.
        raise HydraException(f"{run.name} {run.status}: {run.reason}")
    if not run.finished:
        sys.exit(1)
    return run.told  # for sweepers that make it small


def describe(run: Run, directory: Path) -> str:
    what = "loss" if run.loss is not None else "loss_objective"
    loss = "no loss" if run.told is None else f"{what} {run.told:.4f} nats/token"
    why = "" if run.reason is None else f" ({run.reason})"
    return (
        f"{run.name}: {run.status}{why}, N={run.N:,} D={run.D:,} C={run.C:.3g}, {loss}, "
        f"{run.timing['tokens_per_second']:,.0f} tokens/s, {directory / RECORD}"
    )


if __name__ == "__main__":
    main()
