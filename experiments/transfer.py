"""Where each rung of a learning-rate study has its optimum: python -m experiments.transfer runs=outputs/lr"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from analysis.report.results import provenance
from analysis.report.transfer import by_rung, spread
from experiments.door import door
from scalelaw.run import records, write_atomically


@door("transfer")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    runs = [run for _, run in records(folder)]
    found = by_rung(runs)
    summary: dict[str, Any] = {"provenance": provenance(runs)}
    for architecture, rules in found.items():
        for rule, rungs in rules.items():
            for width, best in rungs.items():
                print(
                    f"{architecture}, transfer={rule}, width {width}: "
                    f"best lr {best.rate:.4g} ({best.status}), loss {best.loss:.4f}"
                )
            factor, bracketed = spread(rungs)
            doubt = "" if bracketed else ", but not every optimum lies inside the rates tried"
            print(f"{architecture}, transfer={rule}: optima within a factor of {factor:.2f}{doubt}")
            optima = {str(width): asdict(best) for width, best in rungs.items()}
            entry = {"spread": factor, "bracketed": bracketed, "optima": optima}
            summary.setdefault(architecture, {})[rule] = entry
    write_atomically(folder / "transfer.json", json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
