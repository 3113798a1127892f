"""How often thresholds are found, missed, and found where there are none: simulated curves, and public ones.

    python -m bench.emergence --curves 1000

bench/README.md says how to read what it writes.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from scipy.stats import rankdata

from analysis.emergence.changepoints import onset
from analysis.emergence.curves import curves
from analysis.emergence.forecasts import BASELINES, Forecast, forecasts
from analysis.emergence.verdicts import judge
from experiments.emergence import KNOBS
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically

CONF = OmegaConf.load(Path(__file__).parents[1] / "conf/emergence.yaml")
DEFAULTS: dict[str, Any] = {name: CONF[name] for name in KNOBS}
SIZES = (12, 60)
ITEMS = (50, 1000)
# Where a threshold begins, in shares of the range of log N, and how much of it the rise takes.
ONSET, WIDTH = (0.35, 0.8), (0.02, 0.6)
TABLE = 50  # curves judged together, as the correction for their number sees them
DATA = Path(__file__).parents[2] / "shared/data"
# Labels of the obsscaling tasks: BIG-bench tasks that Ruan et al. 2024 chose as emergent, and benchmarks
# that average over many topics or rise from the smallest model on. GSM8K and HumanEval are left out: their
# curves are called emergent by some and are not by others.
EMERGENT = "arithmetic|word_unscrambling|ipa_transliterate|parsinlu"
SMOOTH = ("MMLU", "ARC-C", "HellaSwag", "Winograd", "XWinograd", "TruthfulQA")


def sizes(m: int, random: np.random.Generator) -> np.ndarray:
    """N: a ladder over four decades at 12, models as they come over three and a half at 60."""
    return 10 ** (np.linspace(7, 11, m) if m < 30 else np.sort(random.uniform(7.5, 11, m)))


def smooth(u: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Flat, a line from the start, a power law in the error, a sigmoid whose 10 to 90 % take 0.7 to 2
    ranges."""
    kind = random.integers(4)
    if kind == 0:
        return np.zeros_like(u)
    if kind == 1:
        return u
    if kind == 2:
        return -np.expm1(-random.uniform(0.5, 6) * u)
    scale = random.uniform(0.7, 2) / (2 * np.log(9))
    return 1 / (1 + np.exp(-(u - random.uniform(0.2, 0.8)) / scale))


def scores(g: np.ndarray, n: int, chance: float, scatter: float, random: np.random.Generator) -> np.ndarray:
    """Scores of n items about a curve g of rise 0.2 to 0.95 of the room; models differ by `scatter` of its
    rise."""
    rise = random.uniform(0.2, 0.95) * (1 - chance)
    risen = (g - g.min()) / (np.ptp(g) or 1.0)
    p = chance + rise * risen * (1 + scatter * random.standard_normal(len(g)))
    return random.binomial(n, np.clip(p, 0, 1)) / n


def planted(m: int, threshold: bool, count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A table of so many tasks, and where their thresholds are (NaN: nowhere)."""
    random = np.random.default_rng([m, threshold, seed])
    rows, truth = [], []
    for k in range(count):
        N = sizes(m, random)
        u = np.log(N / N[0]) / np.log(N[-1] / N[0])
        at, width = random.uniform(*ONSET), random.uniform(*WIDTH)
        g = np.clip((u - at) / width, 0, 1) if threshold else smooth(u, random)
        n = int(np.exp(random.uniform(*np.log(ITEMS))))
        chance, scatter = random.choice([0.0, 0.1, 0.25, 0.5]), random.choice([0.0, 0.05, 0.1])
        y = scores(g, n, chance, scatter, random)
        rows.append(pd.DataFrame({"task": f"t{k}", "N": N, "score": y, "n": n, "chance": chance}))
        truth.append(N[0] * (N[-1] / N[0]) ** at if threshold else np.nan)
    return pd.concat(rows, ignore_index=True), np.array(truth)


def pair(m: int, real: bool, count: int, seed: int) -> pd.DataFrame:
    """Exact match of answers of 3 to 10 tokens beside their NLL a token: p smooth in N, -log p = (N / c)^-a,
    or with a real threshold in p itself."""
    random = np.random.default_rng([m, real, 7, seed])
    rows = []
    for k in range(count):
        N, L = sizes(m, random), int(random.integers(3, 11))
        u = np.log(N / N[0]) / np.log(N[-1] / N[0])
        if real:
            ramp = np.clip((u - random.uniform(*ONSET)) / random.uniform(*WIDTH), 0, 1)
            p = random.uniform(0.05, 0.4) + random.uniform(0.45, 0.55) * ramp
        else:
            p = np.exp(-(10 ** np.interp(u, [0, 1], [random.uniform(0.1, 0.6), random.uniform(-2, -1)])))
        n = int(np.exp(random.uniform(*np.log(ITEMS))))
        # An item's NLL varies by about its mean.
        nll = -np.log(p) * (1 + random.standard_normal(m) / np.sqrt(n * L))
        exact = random.binomial(n, p**L) / n
        for metric, score in (("exact_match", exact), ("nll", nll)):
            rows.append(pd.DataFrame({"task": f"t{k}", "metric": metric, "N": N, "score": score, "n": n}))
    return pd.concat(rows, ignore_index=True)


def batches(count: int) -> Iterator[tuple[int, int]]:
    """(seed, curves) of each table."""
    for seed, start in enumerate(range(0, count, TABLE)):
        yield seed, min(TABLE, count - start)


def judged(table: pd.DataFrame, knobs: dict[str, Any]) -> list[Any]:
    return [j for _, _, j in judge(curves(table, axis="auto", source="simulated"), **knobs)]


def detection(m: int, count: int, knobs: dict[str, Any]) -> dict[str, Any]:
    """Half of each table has thresholds, half has none."""
    called, held, off, ranks = {True: [], False: []}, [], [], {True: [], False: []}
    for seed, size in batches(count):
        drawn = {real: planted(m, real, size, seed) for real in (True, False)}
        both = [drawn[real][0].assign(task=lambda t, real=real: t.task + str(real)) for real in drawn]
        found = judged(pd.concat(both, ignore_index=True), knobs)
        truth = np.concatenate([drawn[real][1] for real in drawn])
        for one, at in zip(found, truth, strict=True):
            real = bool(np.isfinite(at))
            called[real].append(one.verdict)
            ranks[real].append(one.score)
            if real and one.verdict == "emergent":
                held.append(one.interval95[0] <= at <= one.interval95[1])
                off.append(abs(np.log10(one.threshold / at)))
    return {
        "sizes": m,
        "curves": count,
        "false_positives": float(np.mean([v == "emergent" for v in called[False]])),
        "found": float(np.mean([v == "emergent" for v in called[True]])),
        "auc": auc(ranks[True], ranks[False]),
        "coverage": float(np.mean(held)),
        "median_decades_off": float(np.median(off)),
        "verdicts": {
            name: pd.Series(called[real]).value_counts(normalize=True).round(4).to_dict()
            for name, real in (("threshold", True), ("smooth", False))
        },
    }


def mirages(m: int, count: int, knobs: dict[str, Any]) -> dict[str, Any]:
    """Of the exact-match curves called emergent: what is said of the jump."""
    said = {"threshold": [], "smooth": []}
    for seed, size in batches(count):
        for name, real in (("threshold", True), ("smooth", False)):
            found = judged(pair(m, real, size, seed), knobs)
            said[name] += [one.mirage for one in found if one.mirage is not None]
    right = said["threshold"].count("survives") + said["smooth"].count("vanishes")
    decided = sum(one != "undecided" for side in said.values() for one in side)
    return {
        "sizes": m,
        "pairs": 2 * count,
        "jumps": sum(map(len, said.values())),
        "decided": decided,
        "right": right / max(decided, 1),
        "said": {name: pd.Series(side, dtype=object).value_counts().to_dict() for name, side in said.items()},
    }


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a positive ranks above a negative."""
    ranks = rankdata([*positive, *negative])[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / len(positive) / len(negative))


def models() -> pd.DataFrame:
    table = pd.read_csv(DATA / "obsscaling/obsscaling_tidy.csv.gz")
    return table.assign(N=table.params_B * 1e9, C=table.flops_1e21 * 1e21)


def obsscaling(knobs: dict[str, Any]) -> dict[str, Any]:
    """The public benchmark scores of 148 models, along parameters and along training FLOPs."""
    table, out = models(), {}
    for axis in ("N", "C"):
        found = judge(curves(table, axis=axis, source="obsscaling"), **knobs)
        tasks = {j.task: j for _, _, j in found}
        label = pd.Series(list(tasks)).str.contains(EMERGENT)
        positive = [j.score for j, yes in zip(tasks.values(), label, strict=True) if yes]
        out[axis] = {
            "auc": auc(positive, [tasks[name].score for name in SMOOTH]),
            "emergent": [name for name, j in tasks.items() if j.verdict == "emergent"],
            "tasks": {name: [j.verdict, round(j.score, 4)] for name, j in tasks.items()},
        }
    return out


def predicted() -> dict[str, Any]:
    """How well the larger models of the public tables are forecast from the smaller, by table and axis."""
    pythia = pd.read_csv(DATA / "pythia_evals/pythia_evals.csv.gz")
    pythia = pythia.loc[pythia.step == pythia.step.max()]
    pythia = pythia.assign(
        task=pythia.task + ", " + pythia.family + ", " + pythia.shots.astype(str) + " shots",
        N=pythia.params,
        score=pythia.acc,
    )[["task", "N", "score"]]
    tables = {"obsscaling, N": models(), "obsscaling, C": models(), "pythia, N": pythia}
    return {
        name: tally([one for curve in curves(table, axis=name[-1], source=name) for one in forecasts(curve)])
        for name, table in tables.items()
    }


def tally(made: Sequence[Forecast]) -> dict[str, Any]:
    """For every method: on how many curves it beats both baselines, at the top 4x and over all hold-outs,
    and its mean errors. The nearer baseline's: of each curve's nearer one."""
    methods = {name: [one for one in made if one.method == name] for name in {one.method: 0 for one in made}}
    nearer = [
        min(pair)
        for pair in zip(*([one.mean_error for one in methods[name]] for name in BASELINES), strict=True)
    ]
    out: dict[str, Any] = {
        name: {
            "curves": len(its),
            "wins": sum(bool(one.wins) for one in its),
            "error": float(np.mean([one.error for one in its])),
            "hold_outs": sum(one.hold_outs for one in its),
            "wins_over_all": sum(bool(one.wins_over_all) for one in its),
            "mean_error": float(np.mean([one.mean_error for one in its])),
        }
        for name, its in methods.items()
    }
    return out | {"nearer baseline": {"mean_error": float(np.mean(nearer))}}


def lambada() -> dict[str, Any]:
    """The checkpoint at which each Pythia leaves LAMBADA's floor, zero-shot."""
    table = pd.read_csv(DATA / "pythia_evals/pythia_evals.csv.gz")
    table = table.loc[(table.task == "lambada_openai") & (table.shots == 0)]
    out = {}
    for (family, size), part in table.sort_values("step").groupby(["family", "size"]):
        found = onset(part.step.to_numpy(float), part.acc.to_numpy(float), seed=0)
        out[f"{family} {size}"] = None if found is None else list(found)
    return out


def simulated(sizes: Sequence[int], curves: int, knobs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {"detection": [], "mirage": []}
    for m in sizes:
        found["detection"].append(detection(m, curves, knobs))
        print(json.dumps(found["detection"][-1]), flush=True)
        found["mirage"].append(mirages(m, max(curves // 4, 10), knobs))
        print(json.dumps(found["mirage"][-1]), flush=True)
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.emergence", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--curves", type=int, default=1000, help="with a threshold, and as many without")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--bootstrap", type=int, default=DEFAULTS["bootstrap"])
    parser.add_argument("--public", action="store_true", help="the public tables alone; the rest stays")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "emergence.json")
    asked = parser.parse_args(arguments)
    knobs = DEFAULTS | {"bootstrap": asked.bootstrap}
    here = provenance(" ".join(["python -m bench.emergence", *arguments]))
    if asked.public:
        result = json.loads(asked.out.read_text())
    else:
        start = time.perf_counter()
        result = {"provenance": here, "knobs": knobs} | simulated(asked.sizes, asked.curves, knobs)
        result["seconds"] = time.perf_counter() - start
    if DATA.exists():
        public = {"obsscaling": obsscaling(knobs), "lambada": lambada(), "forecasts": predicted()}
        print(json.dumps(public))
        result |= public | ({"later": dict.fromkeys(public, here)} if asked.public else {})
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
