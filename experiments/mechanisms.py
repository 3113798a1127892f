"""What changes with size beside the loss: python -m experiments.mechanisms runs=outputs/mechanisms"""

import json
from pathlib import Path

from omegaconf import DictConfig

from analysis.mechanisms.along import along
from analysis.mechanisms.capacity import capacities
from analysis.mechanisms.trends import trends
from analysis.report.mechanisms_page import page
from analysis.report.results import provenance
from analysis.tables import measures
from experiments import tables
from experiments.door import door
from scalelaw.run import records, write_atomically


@door("mechanisms")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    unread: dict[str, str] = {}
    there = list(records(folder, unread))
    runs = [run for _, run in there]
    table = measures.table(runs)
    found, refused = trends(table)
    stored, steps = capacities(runs), along(there, seed=int(tables.number(cfg, "seed", whole=True, least=0)))
    if table.empty and not stored and not steps:
        raise ValueError(
            f"runs={folder}: no finished run was measured: measures=[gradient] would measure one"
        )
    made = tables.origin("experiments.mechanisms", cfg) | {"runs": provenance(runs)}
    result = {
        "provenance": made,
        "trends": [one.to_json() for one in found],
        "refused": refused,
        "capacity": [one.to_json() for one in stored],
        "along": [one.to_json() for one in steps],
    }
    further = {
        "Bits a parameter": [f"{one.group}, {one.said()}" for one in stored],
        "Along training": [said for one in steps for said in one.said()],
    }
    further = {title: said for title, said in further.items() if said}
    write_atomically(folder / "mechanisms.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "mechanisms.html", page(table, found, refused, further, made=made))
    for one in found:
        print(f"{one.group}, {one.figure}: {one.said()}")
    for name, why in refused.items():
        print(f"{name}: {why}")
    for said in further.values():
        print("\n".join(said))
    print(f"written to {folder}: mechanisms.json, mechanisms.html")
    tables.own_up(unread)


if __name__ == "__main__":
    main()
