"""Where each rung of a learning-rate study has its optimum: python -m experiments.transfer runs=outputs/lr"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from analysis.report.results import provenance
from analysis.tuning.transfer import by_rung
from experiments.door import door
from experiments.tables import origin, own_up
from scalelaw.run import records, write_atomically


@door("transfer")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    unread: dict[str, str] = {}
    runs = [run for _, run in records(folder, unread)]
    found = by_rung(runs)
    summary: dict[str, Any] = {"provenance": origin("experiments.transfer", cfg) | {"runs": provenance(runs)}}
    for architecture, rules in found.items():
        for rule, transfer in rules.items():
            for width, best in transfer.optima.items():
                print(
                    f"{architecture}, transfer={rule}, width {width}: "
                    f"best lr {best.value:.4g} ({best.status}), loss {best.loss:.4f}"
                )
            print(f"{architecture}, transfer={rule}: {transfer.verdict()}")
            summary.setdefault(architecture, {})[rule] = transfer.to_json()
    write_atomically(folder / "transfer.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    own_up(unread)


if __name__ == "__main__":
    main()
