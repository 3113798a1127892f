"""Does a fitted E find the exact Bayes loss? python -m experiments.truth runs=outputs/planted"""

import json
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig

from analysis.report.results import provenance
from analysis.truth import truths
from experiments import tables
from experiments.door import door
from scalelaw.run import records, write_atomically


@door("truth")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    unread: dict[str, str] = {}
    runs = [run for _, run in records(folder, unread) if run.finished and run.bayes_loss is not None]
    if not runs:
        raise ValueError(f"runs={folder}: no finished run of a language whose truth is known (data=planted)")
    table = pd.DataFrame([run.row() for run in runs])
    alphas = {run.config["data"]["task"]["alpha"] for run in runs}
    if len(alphas) != 1:
        raise ValueError(f"runs={folder}: several languages, of alpha {sorted(alphas)}")
    found = truths(table, instantiate(cfg.law), alphas.pop(), **cfg.fit)
    made = tables.origin("experiments.truth", cfg) | {"runs": provenance(runs)}
    result = {"provenance": made, "truths": [one.to_json() for one in found]}
    write_atomically(folder / "truth.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    for one in found:
        print(one.said())
    tables.own_up(unread)


if __name__ == "__main__":
    main()
