"""How stages go with N and their tokens: python -m experiments.stages runs=outputs/stages"""

import json
from pathlib import Path

from omegaconf import DictConfig

from analysis import stages
from analysis.report.results import provenance
from experiments.door import door
from experiments.tables import listed, origin, own_up
from scalelaw.run import records, write_atomically


@door("stages")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    unread: dict[str, str] = {}
    runs = [run for _, run in records(folder, unread)]
    table = stages.table(runs)
    found = stages.laws(table)
    said = [law.told() for law in found]
    print("\n".join(said))
    result = {
        "provenance": origin("experiments.stages", cfg) | {"runs": provenance(runs)},
        "measures": stages.MEASURES,
        "laws": [law.to_json() for law in found],
    }
    write_atomically(folder / "stages.csv", table.to_csv(index=False))
    write_atomically(folder / "stages.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "stages.md", listed(result["provenance"], said))
    print(f"written to {folder}: stages.csv ({len(table)} runs), stages.json, stages.md")
    own_up(unread)


if __name__ == "__main__":
    main()
