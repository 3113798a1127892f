"""Fit a law to a table of runs: python -m experiments.fit table=runs.csv law=chinchilla hydra.run.dir=OUT"""

import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from analysis import fits, runs
from analysis.law import Fit, plain
from experiments.door import door
from scalelaw.run import write_atomically

BEYOND = (1, 10, 100)  # the budgets to plan for: the largest run's, and two decades more


@door("fit")
def main(cfg: DictConfig) -> None:
    law = instantiate(cfg.law)
    knobs = {name: cfg[name] for name in ("delta", "bootstrap", "interval", "seed")}
    table = runs.load(cfg.table, _columns(cfg))
    out = Path(HydraConfig.get().runtime.output_dir) / "fit.json"
    if "architecture" in table:
        found, refused = fits.fit_each(table, law, **knobs)
        if not found:
            raise ValueError("; ".join(f"{name}: {why}" for name, why in refused.items()))
        result: dict[str, Any] = {name: _result(fit, table, cfg) for name, fit in found.items()}
        result |= {name: {"law": law.name, "status": f"not fitted: {why}"} for name, why in refused.items()}
        _tell(found, refused)
    else:
        fit = fits.fit(table, law, **knobs)
        result = _result(fit, table, cfg)
        _tell({law.name: fit}, {})
    write_atomically(out, json.dumps(result, indent=1, allow_nan=False) + "\n")
    Console().print(f"written to {out}", soft_wrap=True)


def _columns(cfg: DictConfig) -> dict[str, str]:
    """The column map, less the entries that map a name to itself: those may be missing."""
    chosen = OmegaConf.to_container(cfg.columns)
    assert isinstance(chosen, dict)
    return {str(ours): str(theirs) for ours, theirs in chosen.items() if ours != theirs}


def _result(fit: Fit, table, cfg: DictConfig) -> dict[str, Any]:
    out = fit.to_json()
    if {"N", "D"} <= set(fit.law.inputs):
        largest = float(table["C"].max())
        budgets = [float(C) for C in cfg.budgets] if cfg.budgets else [k * largest for k in BEYOND]
        out["optimum"] = plain(fit.optimum(budgets, flops=cfg.flops) | {"C": budgets, "flops": cfg.flops})
    return out | {"source": table.attrs["source"], "filled": table.attrs["filled"]}


def _tell(found: dict[str, Fit], refused: dict[str, str]) -> None:
    console = Console()
    for name, fit in found.items():
        grid = Table("parameter", "value", "stderr", "95 % interval", title=f"{name}: {fit.status}")
        for key, value in fit.params.items():
            interval = fit.interval95.get(key)
            sigma = f"{fit.stderr[key]:.3g}" if fit.stderr else "-"
            grid.add_row(
                key, f"{value:.5g}", sigma, f"{interval[0]:.5g} .. {interval[1]:.5g}" if interval else "-"
            )
        console.print(grid)
        console.print(
            f"objective {fit.objective:.10g} over {fit.n} rows, "
            f"gradient {fit.certificate['gradient_norm']:.1e}, "
            f"minima {len(fit.certificate['minima'])}, scatter {fit.scale:.2%}",
            soft_wrap=True,
        )
        for item in fit.dropped:
            console.print(f"left out {item['count']}: {item['why']}", soft_wrap=True)
    for name, why in refused.items():
        console.print(f"{name}: not fitted: {why}", soft_wrap=True)


if __name__ == "__main__":
    main()
