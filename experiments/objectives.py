"""What objectives give at equal N, D and C: python -m experiments.objectives runs=outputs/objectives"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from analysis.comparing import objectives
from analysis.report.results import provenance
from experiments import tables
from experiments.door import door
from scalelaw.run import records, write_atomically


@door("objectives")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    runs = [run for _, run in records(folder) if run.finished]
    if not runs:
        raise ValueError(f"{folder}: no finished run")
    knobs = [dict(_flat(run.config.get("objective", {}))) for run in runs]
    table = objectives.grouped([run.row() for run in runs], knobs)
    asked: Any = OmegaConf.to_container(cfg)
    means = table.groupby(["group", "N", "D"])[["loss", "loss_objective"]].agg(["mean", "count"])
    print(means.round(4).to_string())

    differences = [lambda one=one: objectives.difference(table, **one) for one in asked["differences"]]
    found, missing = _each(differences)
    said = [
        f"{one.group} ({one.loss}) less {one.reference} ({one.against}): {one.mean:+.4f} nats/token "
        f"[{one.low:+.4f}, {one.high:+.4f}], {one.sizes} sizes of {one.seeds} seeds: {one.said}"
        for one in found
    ]
    ask = asked["recovered"]
    shares = [
        lambda part=part, axis=axis, D=D: objectives.recovered(
            table, plain=ask["plain"], full=ask["full"], part=part, axis=axis, D=D
        )
        for part in ask["parts"]
        for axis in ("N", "C")
        for D in sorted(set(table["D"]))
    ]
    told, without = _each(shares)
    for one in told:
        interval = (
            "(no interval: the gain is not told from zero)"
            if one.low is None
            else f"[{one.low:.2f}, {one.high:.2f}]"
        )
        said.append(
            f"{one.part} recovers {one.share:.2f} {interval} of the {abs(one.gain):.4f} nats/token that "
            f"{one.full} {'gains over' if one.gain > 0 else 'loses to'} {one.plain} at equal {one.axis}, "
            f"D = {one.D:,}"
        )
    untold = list(dict.fromkeys([*missing, *without]))
    said += [f"not told: {why}" for why in untold]
    print("\n".join(said))
    made = tables.origin("experiments.objectives", cfg) | {"runs": provenance(runs)}
    out: dict[str, Any] = {"provenance": made, "differences": [one.to_json() for one in found]}
    out["recovered"] = [one.to_json() for one in told]
    out["not told"] = untold
    write_atomically(folder / "objectives.json", json.dumps(out, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "objectives.md", tables.listed(made, said))
    print(f"written to {folder}: objectives.json, objectives.md")


def _each(asked: list[Callable[[], Any]]) -> tuple[list[Any], list[str]]:
    """What can be had, and of the rest why it cannot: a study may leave groups out."""
    found, missing = [], []
    for ask in asked:
        try:
            found.append(ask())
        except ValueError as error:
            missing.append(str(error))
    return found, missing


def _flat(config: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """An objective's settings by dotted name, without the classes."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        elif not key.startswith("_"):
            yield f"{path}{key}", value


if __name__ == "__main__":
    main()
