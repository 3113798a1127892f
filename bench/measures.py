"""What measures cost of a run: python -m bench.measures

Trains rungs of study=mechanisms for a part of their budget, measured as the study measures them, and sets the
seconds of measuring beside those that the whole budget would take at the same pace. Both are of the same
minutes, so that other work on the machine slows both.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir

from experiments.door import CONF
from experiments.train import main as train
from scalelaw.provenance import provenance
from scalelaw.run import records, write_atomically

DEPTHS, SHARE = (2, 4, 7), 0.1


def cost(depth: int, budget: float, folder: Path) -> dict[str, float]:
    """Seconds of measuring and of training a rung on the whole budget, and the share that is measuring."""
    sys.argv = ["experiments.train", "study=mechanisms", f"shape.depth={depth}", f"budget.D={SHARE * budget}"]
    sys.argv += ["tracker=disabled", f"output={folder}"]
    train()
    [(_, run)] = records(folder)
    whole = run.timing["seconds"] * budget / run.D
    measuring = run.timing["measuring_seconds"]
    return {"N": run.N, "training": whole, "measuring": measuring, "share": measuring / whole}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.measures", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "measures.json")
    asked = parser.parse_args(arguments)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        budget = float(compose("train", ["study=mechanisms"]).budget.D)
    cells = []
    for depth in DEPTHS:
        with tempfile.TemporaryDirectory() as folder:
            cells.append(cost(depth, budget, Path(folder)))
        print("N = {N:,}: measuring {measuring:.1f} s of {training:.0f}, {share:.1%}".format(**cells[-1]))
    result = {
        "provenance": provenance(" ".join(["python -m bench.measures", *arguments])),
        "load_average": os.getloadavg()[0],
        "D": budget,
        "cells": cells,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
