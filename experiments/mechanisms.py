"""What changes with size beside the loss: python -m experiments.mechanisms runs=outputs/mechanisms"""

import json
from pathlib import Path

from omegaconf import DictConfig

from analysis.mechanisms.trends import trends
from analysis.report.mechanisms_page import page
from analysis.report.results import provenance
from analysis.tables import measures
from experiments.door import door
from experiments.tables import origin, own_up
from scalelaw.run import records, write_atomically


@door("mechanisms")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    unread: dict[str, str] = {}
    runs = [run for _, run in records(folder, unread)]
    table = measures.table(runs)
    found, refused = trends(table)
    made = origin("experiments.mechanisms", cfg) | {"runs": provenance(runs)}
    result = {
        "provenance": made,
        "trends": [one.to_json() for one in found],
        "refused": refused,
    }
    write_atomically(folder / "mechanisms.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "mechanisms.html", page(table, found, refused, {}, made=made))
    for one in found:
        print(f"{one.group}, {one.figure}: {one.said()}")
    for name, why in refused.items():
        print(f"{name}: {why}")
    print(f"written to {folder}: mechanisms.json, mechanisms.html")
    own_up(unread)


if __name__ == "__main__":
    main()
