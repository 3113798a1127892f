"""Where each rung of a learning-rate study has its optimum: python -m experiments.transfer runs=outputs/lr"""

import json
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from analysis.transfer import by_rung, spread
from experiments.door import door
from scalelaw.run import records, write_atomically


@door("transfer")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    found = by_rung(run for _, run in records(folder))
    summary = {}
    for architecture, rules in found.items():
        for rule, rungs in rules.items():
            for width, best in rungs.items():
                print(
                    f"{architecture}, transfer={rule}, width {width}: "
                    f"best lr {best.rate:.4g} ({best.status}), loss {best.loss:.4f}"
                )
            print(f"{architecture}, transfer={rule}: optima within a factor of {spread(rungs):.2f}")
            optima = {str(width): asdict(best) for width, best in rungs.items()}
            summary.setdefault(architecture, {})[rule] = {"spread": spread(rungs), "optima": optima}
    write_atomically(folder / "transfer.json", json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
