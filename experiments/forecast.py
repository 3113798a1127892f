"""What a study's runs would tell of a law, before any of them is trained: intervals of simulated studies."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from analysis import fits
from analysis.costs import positive
from analysis.designing.afford import Known
from analysis.designing.recovery import Recovery, recover
from experiments.planned import Study


def forecast(study: Study, known: Known, cfg: DictConfig) -> dict[str, Recovery | str]:
    """For each architecture what fits to `cfg.tables` simulated tables of its runs make of the known law, or
    why there is none. Runs that differ in neither N nor D nor seed (but in rates, say) are one row.

    Raises ValueError where the law comes without a scatter and none is given.
    """
    scale = known.scale if cfg.scale is None else positive("forecast.scale", cfg.scale)
    if scale is None:
        raise ValueError(f"forecast.scale: {known.name} has no scatter, so give one (or forecast.tables=0)")
    knobs: Any = OmegaConf.to_container(cfg)
    del knobs["scale"]
    rows = pd.DataFrame(
        [
            {
                "architecture": job.config.hydra.runtime.choices.architecture,
                "N": study.runs[job.index].N,
                "D": study.runs[job.index].D,
                "seed": job.config.seed,
            }
            for job in study.jobs
        ]
    ).drop_duplicates()
    knobs["budgets"] = [knobs["flops"] * float((rows.N * rows.D).max())]
    parts = fits.parts(rows, "architecture")
    return {name: _recovered(part, known, scale, knobs) for name, part in parts.items()}


def _recovered(rows: pd.DataFrame, known: Known, scale: float, knobs: Mapping[str, Any]) -> Recovery | str:
    how = {"cluster_scale": 0.0, "points": None, "check": 0, "bootstrap": 0}
    try:
        return recover(known.law, known.params, rows, scale=scale, **how, **knobs)
    except ValueError as error:
        return str(error)


def half(at: Mapping[str, float]) -> float:
    """Half the width of the central 95 % of what comes out; infinite where that has an open end."""
    width = (at["hi95"] - at["lo95"]) / 2
    return width if math.isfinite(width) else math.inf
