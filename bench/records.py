"""Seconds to collect many run records into one table: python -m bench.records

One small run is trained as a user would and copied so many times, each copy with an id, sizes and losses of
its own. bench/README.md says how to read what it writes.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.tables.runs import load
from bench.fresh import fresh
from experiments.train import main as train
from scalelaw.provenance import provenance
from scalelaw.run import METRICS, RECORD, write_atomically

# A second of training that leaves all a long run does: 40 rows of metrics, an offline W&B run, a log.
ARGUMENTS = ("shape.depth=2", "budget.D=102400", "tracker=offline")
ROUNDS = 3


def original(folder: Path) -> Path:
    """Train the run that is copied, below `folder`."""
    sys.argv = ["experiments.train", *ARGUMENTS, f"hydra.run.dir={folder / 'original'}", f"output={folder}"]
    train()
    return folder / "original"


def copies(source: Path, folder: Path, count: int) -> None:
    """So many directories like the one at `source`, with sizes and losses of one Chinchilla law."""
    record = json.loads((source / RECORD).read_text())
    rows = [json.loads(line) for line in (source / METRICS).read_text().splitlines()]
    random = np.random.default_rng(0)
    for k in range(count):
        run = hashlib.sha256(str(k).encode()).hexdigest()[:10]
        depth = 2 + k % 24
        N, D = 12 * depth * (8 * depth) ** 2, int(10 ** random.uniform(5, 8))
        loss = 1.2 + 20 / N**0.3 + 40 / D**0.3 + random.normal(0, 0.005)
        changed = {"run": run, "name": f"causal_decoder-d{depth}-s{k}-{run}", "seed": k, "depth": depth}
        changed |= {"width": 8 * depth, "N": N, "D": D, "C": 6.5 * N * D, "C_6ND": 6.0 * N * D, "loss": loss}
        changed["config"] = record["config"] | {"seed": k, "budget": record["config"]["budget"] | {"D": D}}
        target = folder / changed["name"]
        # What nobody reads may be the same bytes; what is read is a file of its own.
        shutil.copytree(source, target, symlinks=True, copy_function=os.link)
        for name in (RECORD, METRICS):
            (target / name).unlink()
        (target / RECORD).write_text(json.dumps(record | changed, indent=1))
        own = (row | {"loss": row["loss"] + loss} if "loss" in row else row for row in rows)
        (target / METRICS).write_text("".join(json.dumps(row) + "\n" for row in own))


def forget(folder: Path) -> None:
    """Drop the contents of all records and metrics from the page cache; names and inodes stay in it."""
    os.sync()
    for name in (RECORD, METRICS):
        for path in folder.glob(f"*/{name}"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def collect(folder: str, history: bool) -> dict[str, float]:
    """One reading: its seconds, those of them that this process computed, and the rows it gave."""
    start, before = time.perf_counter(), time.process_time()
    rows = len(load(folder, history=history))
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - before, "rows": rows}


def measure(folder: Path, *, history: bool, cold: bool) -> dict[str, Any]:
    rounds = []
    for _ in range(ROUNDS):
        if cold:
            forget(folder)
        rounds.append(fresh(collect, folder=str(folder), history=history))
    seconds, cpu = ([one[kind] for one in rounds] for kind in ("seconds", "cpu"))
    table = "an evaluation" if history else "a run"
    cell = {"row": table, "cache": "cold" if cold else "warm", "rows": int(rounds[0]["rows"])}
    cell |= {"seconds": statistics.median(seconds), "cpu_seconds": statistics.median(cpu), "rounds": seconds}
    told = f"{cell['rows']:,} rows in {cell['seconds']:.2f} s, {cell['cpu_seconds']:.2f} s of them computing"
    print(f"one row {table}, {cell['cache']}: {told}", flush=True)
    return cell


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.records", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to make the copies; default: the temporary folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "records.json")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.folder) as made:
        runs = Path(made) / "runs"
        runs.mkdir()
        copies(original(Path(made)), runs, asked.runs)
        os.sync()  # what is not on the disk cannot be dropped from the cache
        cells = [
            measure(runs, history=history, cold=cold) for history in (False, True) for cold in (False, True)
        ]
        sizes = [path.stat().st_size for path in runs.glob(f"*/{RECORD}")]
    result = {
        "provenance": provenance(" ".join(["python -m bench.records", *arguments])),
        "load_average": os.getloadavg()[0],
        "runs": asked.runs,
        "bytes_of_a_record": statistics.mean(sizes),
        "cells": cells,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    from bench import records  # by the name under which another process finds `collect`

    records.main(sys.argv[1:])
