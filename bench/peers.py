"""Fits of Chinchilla's law side by side with the fitters that a package registry has.

    python -m bench.peers --python PEERS/bin/python
    python -m bench.peers --python PEERS/bin/python --table runs.csv --columns "N=Model Size"

--python names an interpreter that has the peers: `pip install chinchilla simple-scaling-laws` into an
environment of its own; the second needs Python 3.12. One that is not installed is said to be absent.
bench/README.md says how to read the figures.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from analysis.laws.chinchilla import Chinchilla
from analysis.tables import runs
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically

HERE = Path(__file__).parent
TRUE = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}  # near Hoffmann et al. 2022, table A.3
NOISE = 0.01  # of log loss
DELTA = 1e-3  # Hoffmann et al. 2022
LONG = 60.0  # CPU seconds: of a fit this slow one round says enough
RESAMPLES = 1000  # as conf/fit.yaml, and simple-scaling-laws' own default

CONTESTANTS: dict[str, dict[str, Any]] = {
    "scalelaw": {"package": "scalelaw", "resamples": 0},
    "scalelaw, intervals": {"package": "scalelaw", "resamples": RESAMPLES},
    "scalelaw, least squares in nats": {"package": "scalelaw", "resamples": 0, "criterion": "mse_raw"},
    "chinchilla": {"package": "chinchilla", "huber": False},
    "chinchilla, Huber of logs": {"package": "chinchilla", "huber": True},
    "simple-scaling-laws": {"package": "simple-scaling-laws", "resamples": 0},
    "simple-scaling-laws, intervals": {"package": "simple-scaling-laws", "resamples": RESAMPLES},
}


def planted() -> pd.DataFrame:
    """240 runs of a known law: 12 sizes, 20 numbers of tokens, 1 % noise."""
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e10, 12), np.geomspace(1e9, 1e12, 20)))
    exact = Chinchilla().predict(TRUE, {"N": N, "D": D})
    scatter = np.random.default_rng(0).normal(0, NOISE, len(N))
    return pd.DataFrame({"N": N, "D": D, "loss": exact * np.exp(scatter)})


def objectives(table: pd.DataFrame, params: Mapping[str, float]) -> dict[str, float]:
    """What each fitter may be after: the sum of Huber(1e-3) of log residuals, and half the sum of squares of
    residuals in nats."""
    predicted = Chinchilla().predict(params, table)
    r = np.log(table.loss.to_numpy(float) / predicted)
    clipped = np.clip(r, -DELTA, DELTA)
    squares = float(((table.loss.to_numpy(float) - predicted) ** 2).sum() / 2)
    return {"huber_log": float((clipped * (r - clipped / 2)).sum()), "squares_raw": squares}


def one(python: str, table: pd.DataFrame, setting: Mapping[str, Any]) -> dict[str, Any]:
    """A contestant's fit in a process of its own, on one thread. Raises RuntimeError where it fails."""
    asked = {
        "package": setting["package"],
        "table": {name: table[name].tolist() for name in ("N", "D", "loss")},
        "setting": {"delta": DELTA} | dict(setting),
    }
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    done = subprocess.run(
        [python, HERE / "peer.py"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | threads,
    )
    if done.returncode:
        raise RuntimeError(f"{setting['package']}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def side_by_side(table: pd.DataFrame, python: str, rounds: int, starts: int) -> dict[str, Any]:
    """Every contestant's fit, by turns: parameters, objectives, median CPU seconds, intervals.

    One that takes longer than LONG takes no further turn.
    """
    found: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name, setting in CONTESTANTS.items():
            if max(seconds[name], default=0.0) > LONG:
                continue
            interpreter = sys.executable if setting["package"] == "scalelaw" else python
            found[name] = one(interpreter, table, setting | {"starts": starts})
            if "absent" not in found[name]:
                seconds[name].append(found[name]["seconds"])
    for name, result in found.items():
        if "absent" not in result:
            result |= {"objective": objectives(table, result["params"]), "rounds": seconds[name]}
            result["seconds"] = median(seconds[name])
    return found


def load(path: Path, columns: Sequence[str], drop_largest: int) -> pd.DataFrame:
    """The user's table, less so many rows of the largest loss."""
    mapping = dict(item.split("=", 1) for item in columns)
    table = runs.load(path, mapping)
    return table.drop(index=table.loss.nlargest(drop_largest).index)


def show(name: str, found: Mapping[str, Any]) -> None:
    print(f"\n{name}")
    numbers = f"{'huber_log':>14}{'squares_raw':>13}{'CPU s':>9}  {'alpha':>7}{'beta':>8}{'E':>8}"
    print(f"{'':32}{numbers}  95 % of alpha")
    for who, result in found.items():
        if "absent" in result:
            print(f"{who:32}absent: {result['absent']}")
            continue
        p, goal = result["params"], result["objective"]
        ends = result["intervals"] and result["intervals"]["alpha"]
        print(
            f"{who:32}{goal['huber_log']:14.8g}{goal['squares_raw']:13.6g}{result['seconds']:9.3f}  "
            f"{p['alpha']:7.4f}{p['beta']:8.4f}{p['E']:8.4f}  "
            + (f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "none")
        )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the peers")
    parser.add_argument("--table", type=Path, help="a table of runs besides the planted one")
    parser.add_argument("--columns", nargs="*", default=[], metavar="NAME=COLUMN")
    parser.add_argument("--drop-largest", type=int, default=0, help="rows of the largest loss to leave out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=5, help="values a parameter in chinchilla's grid")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "peers.json")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1 or asked.starts < 1 or any("=" not in item for item in asked.columns):
        parser.error("--rounds and --starts are at least 1, --columns are NAME=COLUMN")

    tables = {"planted": (planted(), {"truth": TRUE, "noise": NOISE})}
    if asked.table:
        digest = hashlib.sha256(asked.table.read_bytes()).hexdigest()
        about = {"sha256": digest, "columns": asked.columns, "largest_losses_dropped": asked.drop_largest}
        tables[asked.table.name] = (load(asked.table, asked.columns, asked.drop_largest), about)
    # Folders are the machine's business: names say what was run.
    folders = {str(asked.table), asked.python, str(asked.out)}
    told = [Path(word).name if word in folders else word for word in arguments]
    result: dict[str, Any] = {
        "provenance": provenance(" ".join(["python -m bench.peers", *told])),
        "setting": {"delta": DELTA, "resamples": RESAMPLES, "chinchilla_starts": asked.starts**5},
        "tables": {},
    }
    for name, (table, about) in tables.items():
        found = side_by_side(table, asked.python, asked.rounds, asked.starts)
        result["tables"][name] = {"rows": len(table)} | about | {"fits": found}
        show(name, found)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out, json.dumps(result, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
