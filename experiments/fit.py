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
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import Console

from analysis.account import Account, Auto, account
from analysis.forecasts import forecast
from analysis.report import told
from analysis.report.fit_page import page
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
    knobs |= {name: tables.number(cfg, name) for name in ("delta", "flops")}
    knobs |= {name: tables.number(cfg, name, whole=True, least=0) for name in ("bootstrap", "seed")}
    knobs["budgets"] = _budgets(cfg.budgets)
    # Points that cannot be used are told before minutes go into a fit.
    points = None
    if cfg.forecast is not None:
        points = tables.points(cfg, next(iter(law.candidates.values())) if isinstance(law, Auto) else law)
        if not knobs["bootstrap"]:
            raise ValueError("bootstrap=0 leaves no intervals, and forecast asks for them")
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
    tables.own_up(table.attrs["unread"])


def _budgets(asked: Any) -> list[float] | None:
    """FLOPs: a number, a list of them, or null."""
    if asked is None:
        return None
    listed = list(asked) if isinstance(asked, ListConfig) else [asked]
    for C in listed:
        if isinstance(C, bool) or not isinstance(C, int | float):
            raise ValueError(f"budgets={asked}: {C!r} is not a number of FLOPs")
    return [float(C) for C in listed]


def _json(found: dict[str | None, Account], refused: dict[str, str], origin: dict[str, Any]) -> str:
    made = {"provenance": origin}
    whole: dict[str, Any] = {str(name): one.to_json() | made for name, one in found.items()}
    if None in found:
        whole = found[None].to_json() | made
    whole |= {name: {"status": f"not fitted: {why}"} for name, why in refused.items()}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _forecasts(found: dict[str | None, Account], points: pd.DataFrame) -> pd.DataFrame:
    """One table of forecasts. Where fits are apart by architecture, points that name theirs are forecast by
    its fit, points that name none by each."""
    parts = []
    named = tables.BY in points and None not in found
    if named and (unknown := set(points[tables.BY].astype(str)) - {str(name) for name in found}):
        raise ValueError(f"forecast: no fit of {tables.BY} {sorted(unknown)[0]}")
    for name, one in found.items():
        its = points.loc[points[tables.BY].astype(str) == name] if named else points
        if one.fit is not None and len(its):
            part = forecast(one.fit, its)
            parts.append(part if name is None else part.assign(**{tables.BY: name}))
    if not parts:
        raise ValueError("forecast: no law could be fitted, so there is nothing to forecast by")
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    main()
