"""What a study will cost, before anything is trained: python -m experiments.plan study=demo [key=value]

What is planned is said as for experiments.train; conf/plan.yaml says what can be asked about it.
"""

import os
import re
import sys
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from analysis import costs
from analysis.costs import Hardware
from experiments.door import CONF, tell
from experiments.planned import Study, study
from experiments.predicted import times


def main() -> None:
    asked = "plan"
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            mine, theirs = split(sys.argv[1:])
            cfg = compose("plan", mine)
            asked = "train"
            plan(cfg, study(theirs))
    except Exception as error:
        raise SystemExit(tell(error, asked)) from error


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments for plan.yaml, and the others, which are for train.yaml."""
    own = set(map(str, compose("plan")))
    mine = [word for word in arguments if re.split(r"[=./@]", word.lstrip("+~"))[0] in own]
    return mine, [word for word in arguments if word not in mine]


def plan(cfg: DictConfig, study: Study) -> None:
    # Loaded late, for it brings pandas and scipy: every measured process imports this module anew.
    from experiments import shown

    out = shown.destination(cfg.out)
    hardware, site = instantiate(cfg.hardware), instantiate(cfg.site)
    expected = shown.expected(study, cfg)
    _fits(study, hardware, cfg.time)
    load = os.getloadavg()[0]
    took = times(study, kind=cfg.time, hardware=hardware, seconds=costs.positive("seconds", cfg.seconds))
    spent = None
    if took is not None:
        spent = costs.cost(took.busy * study.jobs[0].config.threads / costs.SECONDS, hardware, site)
    whole = shown.Plan(study, took, load, spent, hardware, site, expected)
    whole.show()
    if out is not None:
        whole.write(out)


def _fits(study: Study, hardware: Hardware, time: str) -> None:
    """Raises ValueError where seconds are measured on one kind of device and priced as another's."""
    devices = {str(job.config.device).split(":")[0] for job in study.jobs}
    if time == "measured" and devices != {hardware.kind}:
        raise ValueError(
            f"hardware: {hardware.name} is a {hardware.kind}, and the study's device={', '.join(devices)}"
        )


if __name__ == "__main__":
    main()
