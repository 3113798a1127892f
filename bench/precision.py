"""Whether bfloat16 bends a loss: final losses in both precisions, beside what another seed changes.

    python -m experiments.train -m study=precision
    python -m bench.precision --runs outputs/precision

bench/README.md says how to read what it writes.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scalelaw.provenance import provenance
from scalelaw.run import records, write_atomically


def rungs(root: Path) -> list[dict[str, Any]]:
    """For each N, smallest first: loss in float32, its standard deviation over seeds, and the mean and the
    largest difference that bfloat16 makes to a run of the same seed.

    Raises ValueError where a run has no partner, or a rung fewer than two seeds.
    """
    found: dict[tuple[str, int], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for directory, run in records(root):
        if run.loss is None:
            raise ValueError(f"{directory}: {run.status}, without a loss")
        found[run.architecture, run.N][run.config["precision"]][run.seed] = run.loss
    out = []
    for (architecture, N), by in sorted(found.items()):
        seeds = sorted(by["float32"])
        if len(seeds) < 2 or seeds != sorted(by["bfloat16"]):
            raise ValueError(f"N={N}: float32 has seeds {seeds}, bfloat16 {sorted(by['bfloat16'])}")
        exact, rounded = (np.array([by[kind][seed] for seed in seeds]) for kind in ("float32", "bfloat16"))
        out.append(
            {
                "architecture": architecture,
                "N": N,
                "seeds": len(seeds),
                "loss": float(exact.mean()),
                "seed_sd": float(exact.std(ddof=1)),
                "mean_difference": float((rounded - exact).mean()),
                "largest_difference": float(np.abs(rounded - exact).max()),
            }
        )
    if not out:
        raise ValueError(f"{root}: no run")
    return out


def show(table: list[dict[str, Any]]) -> None:
    print(f"{'N':>9} {'seeds':>5} {'loss':>8} {'seed sd':>9} {'bf16 - fp32':>12} {'largest':>9}")
    for row in table:
        print(
            f"{row['N']:9,} {row['seeds']:5} {row['loss']:8.4f} {row['seed_sd']:9.4f} "
            f"{row['mean_difference']:+12.4f} {row['largest_difference']:9.4f}"
        )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.precision", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--runs", type=Path, default=Path("outputs/precision"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "precision.json")
    asked = parser.parse_args(arguments)
    try:
        table = rungs(asked.runs)
    except ValueError as error:
        sys.exit(f"error: {error}")
    show(table)
    origin = provenance(" ".join(["python -m bench.precision", *arguments]))
    write_atomically(asked.out, json.dumps({"provenance": origin, "rungs": table}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
