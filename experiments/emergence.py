"""Which abilities appear at a scale: python -m experiments.emergence table=FILE.csv hydra.run.dir=OUT

conf/emergence.yaml says what there is to set. Writes OUT/emergence.json (a verdict for each task and metric),
OUT/details.json (fits, rows left out, forecasts, change points, provenance) and OUT/emergence.html.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from analysis.emergence.curves import Curve, curves, groups
from analysis.emergence.forecasts import forecasts
from analysis.emergence.halfway import Halfway, halfway
from analysis.emergence.replication import replicated
from analysis.emergence.training import along_training
from analysis.emergence.verdicts import judge
from analysis.plots.thresholds import Found
from analysis.report.emergence_page import page
from experiments import tables
from experiments.door import door
from scalelaw.run import write_atomically

PLACES = ("threshold", "halfway")
KNOBS = ("share", "bootstrap", "seed")


@door("emergence")
def main(cfg: DictConfig) -> None:
    table, source = tables.read(cfg), str(cfg.table)
    knobs: dict[str, Any] = {"bootstrap": tables.number(cfg, "bootstrap", whole=True, least=100)}
    knobs |= {"seed": tables.number(cfg, "seed", whole=True, least=0), "share": tables.number(cfg, "share")}
    if not 0 < knobs["share"] < 0.8:
        raise ValueError(f"share={cfg.share}: between 0 and 0.8, the share that a straight line takes")
    found = judge(curves(table, axis=cfg.x, source=source), **knobs)
    halves = _halves(found, knobs)
    again = [] if not cfg.again else _again(found, halves, cfg, knobs)
    made = _forecasts(table, [curve for curve, _, _ in found], cfg, source) if cfg.forecasts else []
    steps = along_training(table, seed=knobs["seed"], source=source) if "step" in table else []
    origin = tables.origin("experiments.emergence", cfg)
    out = Path(HydraConfig.get().runtime.output_dir)
    details = {
        "provenance": origin,
        "correction": "Benjamini-Hochberg over all curves searched",
        "curves": [_detail(curve, d, half) for (curve, d, _), half in zip(found, halves, strict=True)],
        "again": again,
        "forecasts": made,
        "training": steps,
    }
    write_atomically(out / "emergence.json", _json([judged.to_json() for _, _, judged in found]))
    write_atomically(out / "details.json", _json(details))
    write_atomically(
        out / "emergence.html", page(found, halves, again, made, steps, title=Path(source).name, made=origin)
    )
    console = Console()
    for _, _, judged in sorted(found, key=lambda one: -one[2].score):
        said = f" (jump {judged.mirage} on other metrics)" if judged.mirage else ""
        console.print(
            f"{judged.task} {judged.metric}: {judged.verdict}{said}: {judged.reason}", soft_wrap=True
        )
    for pair in again:
        said = [
            f"{place} {_told(pair[place]['first'])}, again {_told(pair[place]['again'])}" for place in PLACES
        ]
        console.print(f"{pair['task']} {pair['metric']}: {'; '.join(said)}", soft_wrap=True)
    console.print(f"written to {out / 'emergence.json'}, details.json and emergence.html", soft_wrap=True)


def _halves(found: Sequence[Found], knobs: dict[str, Any]) -> list[Halfway | None]:
    how = {name: knobs[name] for name in ("bootstrap", "seed")}
    return [
        None if d is None or judged.verdict in ("flat", "not_learned") else halfway(curve, d, **how)
        for curve, d, judged in found
    ]


def _again(
    found: Sequence[Found], halves: Sequence[Halfway | None], cfg: DictConfig, knobs: dict[str, Any]
) -> list[dict[str, Any]]:
    if Path(cfg.again).resolve() == Path(cfg.table).resolve():
        raise ValueError(f"again={cfg.again}: is the table itself; it takes one of other runs")
    table = tables.read(cfg, cfg.again)
    second = judge(curves(table, axis=found[0][0].axis, source=str(cfg.again)), **knobs)
    sides = [
        [(judged, half) for (_, _, judged), half in zip(each, its, strict=True)]
        for each, its in ((found, halves), (second, _halves(second, knobs)))
    ]
    try:
        return [one.to_json() for one in replicated(*sides)]
    except ValueError as error:
        raise ValueError(f"again={cfg.again}: {error}") from None


def _forecasts(table: pd.DataFrame, found: list[Curve], cfg: DictConfig, source: str) -> list[dict[str, Any]]:
    parts, made = groups(table, axis=cfg.x, source=source), []
    for curve in found:
        with suppress(ValueError):  # too short a curve, or no share, is forecast by none
            made += [one.to_json() for one in forecasts(curve, parts.get((curve.task, curve.metric), []))]
    return made


def _detail(curve: Curve, d: Any, half: Halfway | None) -> dict[str, Any]:
    one = {"task": curve.task, "metric": curve.metric, "x": curve.axis, "points": len(curve.x)}
    one |= {"left_out": list(curve.left_out), "halfway": None if half is None else half.to_json()}
    if d is None:
        return one
    kept = ("statistic", "p_value", "p_trend", "effect", "base", "rise", "width", "level")
    return one | {name: getattr(d, name) for name in kept}


def _told(x: float | None) -> str:
    return "none" if x is None else f"{x:.3g}"


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


if __name__ == "__main__":
    main()
