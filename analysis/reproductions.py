"""Published figures recomputed from the tables they were computed from: theirs beside ours.

What others published is an input here, with where it stands; ours is fitted anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.law import Fit, Law, plain
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.data_constrained import DataConstrained
from analysis.tables import runs

# Two objectives closer than this are one minimum: 1e-5 stored to ten decimals is known to 5e-6 of itself.
SAME = 1e-5

# Minima this close to the best are rivals: the published fits of one table differ by 0.1 % to 3 %.
RIVAL = 5e-3

DELTA = 1e-3  # Huber's, in all three papers; the Gemstones were also fitted with a tenth of it

BESIROGLU = "Besiroglu et al. 2024 (arXiv:2404.10102), table 1"
REFIT = {"E": "1.8172", "A": "482.01", "B": "2085.43", "alpha": "0.3478", "beta": "0.3658"}
REFIT_STDERR = {"E": "0.03", "A": "124.58", "B": "1293.23", "alpha": "0.02", "beta": "0.02"}
OUTLIERS = 5  # the largest losses, which they leave out of 245
NOTEBOOK = "epoch-research/analyzing-chinchilla, data_analysis.ipynb"
UNROUNDED = {
    "E": np.exp(0.59711196),
    "A": np.exp(6.17795598),
    "B": np.exp(7.64273236),
    "alpha": 0.34781303,
    "beta": 0.36585412,
}

HOFFMANN = "Hoffmann et al. 2022 (arXiv:2203.15556), approach 3, TeX source"
ORIGINAL = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}

MUENNIGHOFF = "Muennighoff et al. 2023 (arXiv:2305.16264), README of huggingface/datablations"
BASE = {
    "E": np.exp(0.6254804),
    "A": np.exp(6.255414),
    "B": np.exp(7.3049974),
    "alpha": 0.3526596,
    "beta": 0.3526596,
}
"""Held while the two R* are fitted, as in the paper."""
DECAYS = {"R_D_star": "15.387756", "R_N_star": "5.309743"}

GEMSTONES = "McLeish et al. 2025 (arXiv:2502.06857), mcleish7/gemstone-scaling-laws, "
STORED = "parameters_delta-{power}/approach_3_parameters_grid_search_0_{table}.json"
APPROACH_3 = {
    ("hot_100b+", 3): ("0.0065925344", "0.2591125694", "0.5972679073"),
    ("hot_100b+", 4): ("0.0006923300", "0.2575546364", "0.5909317455"),
    ("hot", 3): ("0.0019816129", "0.2928686863", "0.7128722060"),
    ("hot", 4): ("0.0002076018", "0.2989180518", "0.6928331414"),
    ("cool_end", 3): ("0.0019640865", "0.3002728205", "0.5802410770"),
    ("cool_end", 4): ("0.0002059406", "0.2970133066", "0.6903991635"),
    ("slim_chinchilla", 3): ("0.0001204363", "0.2137760799", "0.5260072888"),
    ("slim_chinchilla", 4): ("0.0000133978", "0.2764406077", "0.4738182992"),
}
"""Table and -log10 delta: objective, alpha, beta. Every row of the table is fitted, checkpoints too."""


@dataclass(frozen=True)
class Figure:
    """One published number and what comes out here."""

    study: str
    what: str
    published: float
    source: str
    ours: float
    verdict: str

    @property
    def difference(self) -> float:
        return self.ours - self.published

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return plain(asdict(self) | {"difference": self.difference})


def reproduce(tables: Path, **knobs: Any) -> list[Figure]:
    """All figures, from a folder with epoch_chinchilla/, muennighoff_data_constrained/ and gemstones/.

    knobs: of `analysis.fits.fit`, but delta, which the papers set. Raises ValueError naming the file
    that is missing or cannot be read.
    """
    return [*chinchilla(tables, **knobs), *data_constrained(tables, **knobs), *gemstones(tables, **knobs)]


def chinchilla(tables: Path, **knobs: Any) -> list[Figure]:
    """Besiroglu et al.'s fit of the points read off Hoffmann et al.'s figure 4, and theirs on it."""
    path = tables / "epoch_chinchilla/svg_extracted_data.csv"
    table = runs.load(path, {"N": "Model Size", "C": "Training FLOP"})
    table = table.drop(table.nlargest(OUTLIERS, "loss").index)
    found = fits.fit(table, Chinchilla(), delta=DELTA, **knobs)
    study, a = f"Chinchilla, {found.n} points", found.optimum()["a"]
    out = [
        _number(study, name, value, BESIROGLU, found.params[name], found.stderr.get(name))
        for name, value in REFIT.items()
    ]
    out += [
        _number(study, f"standard error of {name}", value, BESIROGLU, found.stderr[name])
        for name, value in REFIT_STDERR.items()
        if found.stderr
    ]
    draws = None if found.samples is None else found.samples[:, 4] / found.samples[:, 3:].sum(axis=1)
    spread = None if draws is None else float(draws.std(ddof=1))
    for whose, theirs, source in (("their", UNROUNDED, NOTEBOOK), ("Hoffmann's", ORIGINAL, HOFFMANN)):
        value = _objective(found, table, theirs)
        out.append(_minimum(study, f"objective at {whose} constants", value, source, found.objective))
        out.append(_number(study, f"a of {whose} constants", _a(theirs), source, a, spread))
    return out


def data_constrained(tables: Path, **knobs: Any) -> list[Figure]:
    """How fast repeated tokens and excess parameters lose their worth, the base constants as published."""
    path = tables / "muennighoff_data_constrained/data_constrained_182.csv"
    table = runs.load(path, {"N": "params", "D": "tokens"})
    found = fits.fit(table, DataConstrained(), delta=DELTA, fixed=BASE, profile=True, **knobs)
    study = f"Data-constrained, {found.n} runs"
    out = [
        _number(study, name, value, MUENNIGHOFF, found.params[name], verdict=_identified(found, name))
        for name, value in DECAYS.items()
    ]
    value = _objective(found, table, BASE | {name: float(value) for name, value in DECAYS.items()})
    return [*out, _minimum(study, "objective at their R*", value, MUENNIGHOFF, found.objective)]


def gemstones(tables: Path, **knobs: Any) -> list[Figure]:
    """The stored approach-3 fits in N and D. Their checkpoints are rows of their own, as they were there."""
    out, point = [], dict[str, Any](knobs | {"bootstrap": 0})  # none was published to lay intervals beside
    for (name, power), (objective, alpha, beta) in APPROACH_3.items():
        path = tables / "gemstones" / f"{name.replace('b+', 'b_plus')}.jsonl"
        table = runs.load(path, {"N": "params_active_precise", "D": "tokens", "loss": "final_loss"})
        found = fits.fit(table, Chinchilla(), delta=10.0**-power, **point)
        study = f"Gemstones {name}, delta 1e-{power}"
        source = GEMSTONES + STORED.format(power=power, table=name)
        out += [
            _minimum(study, "objective", float(objective), source, found.objective),
            _number(study, "alpha", alpha, source, found.params["alpha"]),
            _number(study, "beta", beta, source, found.params["beta"]),
            _number(study, "a", _a({"alpha": alpha, "beta": beta}), source, found.optimum()["a"]),
        ]
    return out


def _a(published: Mapping[str, Any]) -> str:
    """The exponent of N_opt to four decimals, which is what the published exponents have."""
    alpha, beta = float(published["alpha"]), float(published["beta"])
    return f"{beta / (alpha + beta):.4f}"


def _objective(found: Fit, table: pd.DataFrame, params: Mapping[str, float]) -> float:
    """Sum of Huber's loss of the log residuals at other parameters than the fitted."""
    law: Law = found.law
    r = np.abs(np.log(table["loss"].to_numpy(float)) - np.log(law.predict(params, table)))
    return float(np.where(r <= DELTA, r * r / 2, DELTA * (r - DELTA / 2)).sum())


def _number(
    study: str,
    what: str,
    published: str,
    source: str,
    ours: float,
    stderr: float | None = None,
    *,
    verdict: str | None = None,
) -> Figure:
    value, decimals = float(published), len(published.partition(".")[2])
    if verdict is None and round(ours, decimals) == value:
        verdict = "equal in every digit published"
    elif verdict is None and stderr is not None:
        verdict = f"{abs(ours - value) / stderr:.2g} standard errors apart"
    return Figure(study, what, value, source, ours, verdict or f"{abs(ours / value - 1):.2%} apart")


def _minimum(study: str, what: str, published: float, source: str, ours: float) -> Figure:
    excess = published / ours - 1
    verdict = f"the same minimum, to {abs(excess):.0e}"
    if excess > SAME:
        verdict = f"theirs lies {excess:.2%} above the minimum"
    elif excess < -SAME:
        verdict = f"ours lies {-excess:.2%} above theirs: not the minimum"
    return Figure(study, what, published, source, ours, verdict)


def _identified(found: Fit, name: str) -> str:
    """What the table says of a parameter: the interval of its profile, and its minima."""
    near = [f"{m['params'][name]:.3g}" for m in found.certificate["minima"] if m["gap"] < RIVAL]
    minima = f"{len(near)} minima within {RIVAL:.1%} of the objective, at {', '.join(near)}"
    low, high = found.certificate["profile"][name]["interval95"]
    ends = f"{'0' if low is None else f'{low:.3g}'} to {'unbounded' if high is None else f'{high:.3g}'}"
    return f"{'not identified: ' if high is None else ''}95 % interval {ends}; {minima}"
