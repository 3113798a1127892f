"""Choose the next runs: python -m experiments.design table=runs.csv law=chinchilla flops_budget=1e20 target=a

Or simulate planned ones, simulate=plan.csv. conf/design.yaml says what else there is to set. Writes
OUT/design.json or OUT/recovery.json.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from analysis import fits
from analysis.designing import candidates
from analysis.designing.designs import Design, design
from analysis.designing.recovery import Recovery, recover
from analysis.law import Fit, Law
from analysis.tables import runs
from experiments import tables
from experiments.door import door
from scalelaw.run import write_atomically


@door("design")
def main(cfg: DictConfig) -> None:
    law, console = instantiate(cfg.law), Console()
    found = simulated(cfg, law) if cfg.simulate else designed(cfg, law)
    console.print(_table(found))
    for line in (found.status, *found.sentences()):
        console.print(line, soft_wrap=True)
    out = Path(HydraConfig.get().runtime.output_dir) / ("recovery.json" if cfg.simulate else "design.json")
    result = found.to_json() | {"provenance": tables.origin("experiments.design", cfg)}
    write_atomically(out, json.dumps(result, indent=1, allow_nan=False) + "\n")
    console.print(f"written to {out}", soft_wrap=True)


def designed(cfg: DictConfig, law: Law) -> Design:
    if not cfg.flops_budget:
        raise ValueError("flops_budget: say how many FLOPs the next runs may cost together")
    table, fit = _fit(cfg, law)
    axes = {name: cfg.candidates[name] for name in ("N", "D", "points")}
    able = (
        runs.load(cfg.candidates.table)
        if cfg.candidates.table
        else candidates.between(table, **axes, flops=cfg.flops, per_run=cfg.flops_budget)
    )
    knobs = {name: cfg[name] for name in ("flops_budget", "target", "count", "replicates", "draws", "flops")}
    at = {str(name): value for name, value in cfg.at.items() if value is not None}
    return design(fit, table, able, at=at, **knobs, **_knobs(cfg))


def simulated(cfg: DictConfig, law: Law) -> Recovery:
    fit = None if cfg.params and cfg.scale else _fit(cfg, law)[1]
    params = dict(cfg.params) if cfg.params else fit.params if fit else {}
    scale = cfg.scale or (fit.scale if fit else 0.0)
    knobs = {name: cfg[name] for name in ("cluster_scale", "tables", "check", "flops")}
    plan = runs.load(cfg.simulate)
    return recover(
        law, params, plan, scale=scale, budgets=list(cfg.budgets), points=None, **knobs, **_knobs(cfg)
    )


def _fit(cfg: DictConfig, law: Law) -> tuple[pd.DataFrame, Fit]:
    if cfg.table is None:
        raise ValueError("table: give the runs so far (for planned ones: simulate, params and scale)")
    parts = tables.parts(tables.read(cfg))
    name = cfg.architecture or next(iter(parts))
    if name not in parts or (len(parts) > 1 and cfg.architecture is None):
        has = ", ".join(str(one) for one in parts if one is not None) or "no architectures"
        raise ValueError(f"architecture={cfg.architecture}: {cfg.table} has {has}; choose one")
    return parts[name], fits.fit(parts[name], law, **_knobs(cfg))


def _knobs(cfg: DictConfig) -> dict[str, Any]:
    knobs = OmegaConf.to_container(cfg.fit)
    assert isinstance(knobs, dict)
    return {str(name): value for name, value in knobs.items()}


def _table(found: Design | Recovery) -> Table:
    rows = found.table()
    grid = Table(*map(str, rows.columns))
    for row in rows.itertuples(index=False):
        grid.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    return grid


if __name__ == "__main__":
    main()
