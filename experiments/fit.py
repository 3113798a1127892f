"""Fit a law to a table of runs: python -m experiments.fit table=runs.csv law=chinchilla hydra.run.dir=OUT

conf/fit.yaml says what there is to set. Writes OUT/fit.json, OUT/fit.html and, for forecast=POINTS.csv,
OUT/forecast.csv.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from analysis.account import Account, account
from analysis.forecasts import forecast
from analysis.report import told
from analysis.report.fit_page import page
from analysis.tables import runs
from experiments import tables
from experiments.door import door
from scalelaw.run import write_atomically

KNOBS = ("criterion", "delta", "bootstrap", "interval", "seed", "profile", "weights", "noise", "cluster")
OPTIMUM = ("method", "flops", "curve", "isoflop_width", "approaches", "conventions")


@door("fit")
def main(cfg: DictConfig) -> None:
    law = instantiate(cfg.law)
    table = tables.read(cfg)
    knobs: dict[str, Any] = {name: cfg[name] for name in (*KNOBS, *OPTIMUM)}
    knobs |= {"audited": cfg.audit, "fixed": OmegaConf.to_container(cfg.fixed)}
    knobs |= {"budgets": None if cfg.budgets is None else list(cfg.budgets)}
    # Points that cannot be used are told before minutes go into a fit.
    points = None if cfg.forecast is None else runs.load(cfg.forecast)
    found: dict[str | None, Account] = {}
    refused: dict[str, str] = {}
    for name, rows in tables.parts(table).items():
        try:
            found[name] = account(rows, law, **knobs)
        except ValueError as error:
            if name is None:
                raise
            refused[name] = str(error)
    if not found:
        raise ValueError("; ".join(f"{name}: {why}" for name, why in refused.items()))
    forecasts = None if points is None else _forecasts(found, points)
    out = Path(HydraConfig.get().runtime.output_dir)
    origin = tables.origin("experiments.fit", cfg)
    write_atomically(out / "fit.json", _json(found, refused, origin))
    title = f"Scaling law of {Path(cfg.table).name}"
    write_atomically(
        out / "fit.html", page(found, title=title, forecasts=forecasts, refused=refused, made=origin)
    )
    console = Console()
    for name, one in found.items():
        told.tell(console, one, name)
    for name, why in refused.items():
        console.print(f"{name}: not fitted: {why}", soft_wrap=True)
    if forecasts is not None:
        write_atomically(out / "forecast.csv", forecasts.to_csv(index=False, lineterminator="\n"))
        console.print(f"written to {out / 'forecast.csv'}", soft_wrap=True)
    console.print(f"written to {out / 'fit.json'} and fit.html", soft_wrap=True)


def _json(found: dict[str | None, Account], refused: dict[str, str], origin: dict[str, Any]) -> str:
    made = {"provenance": origin}
    whole: dict[str, Any] = {str(name): one.to_json() | made for name, one in found.items()}
    if None in found:
        whole = found[None].to_json() | made
    whole |= {name: {"status": f"not fitted: {why}"} for name, why in refused.items()}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _forecasts(found: dict[str | None, Account], points: pd.DataFrame) -> pd.DataFrame:
    """One table of forecasts, with a column `architecture` where the fits are apart by it."""
    parts = []
    for name, one in found.items():
        if one.fit is not None:
            part = forecast(one.fit, points.sort_index())
            parts.append(part if name is None else part.assign(**{tables.BY: name}))
    if not parts:
        raise ValueError("forecast: no law could be fitted, so there is nothing to forecast by")
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    main()
