"""A study: a folder of runs, read once, with everything fitted to it. Tables and plots only look at this."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fits import CONVERGED, fit_each, undetermined
from analysis.law import Fit, Law
from analysis.optima.frontier import Cost, frontier
from analysis.optima.isoflop import approach_two
from analysis.report import holdout
from analysis.report.holdout import FITTED, HELD_OUT, LEFT_OUT
from analysis.report.recipe import check_common
from analysis.tables import decisions, runs
from analysis.tables.decisions import Decisions
from scalelaw.run import DECISIONS, LOG, METRICS, RECORD, Run, read_metrics, records
from scalelaw.status import last_words

SURFACE = "chinchilla"  # the law whose L(N, D) the frontier, the IsoFLOP curves and the predictions use


@dataclass(frozen=True)
class Study:
    """Runs with their roles and learning curves; per architecture the fits and what follows from them."""

    runs: pd.DataFrame
    """One row a run, as in runs.csv: the record's columns and `role`; the index is what `Fit.rows` names."""
    curves: dict[str, pd.DataFrame]
    """By run: step, tokens, flops, loss at every evaluation."""
    origins: list[Run]
    """The records themselves, for timing and provenance."""
    fits: dict[str, dict[str, Fit]]
    """By law, by architecture."""
    refused: dict[str, dict[str, str]]
    """By law, by architecture: why there is no fit."""
    costs: dict[str, Cost]
    isoflop: dict[str, dict]
    predictions: pd.DataFrame
    unrecorded: dict[str, str]
    """Folders of runs without a record that can be read: why nothing more is known."""
    unread: dict[str, str]
    """Path to the reason of files that could not be read: their runs, curves or decisions are missing."""
    decisions: Decisions | None
    """Of a study that chose its own runs."""

    @property
    def architectures(self) -> list[str]:
        return sorted(self.costs)

    def of(self, architecture: str, *roles: str) -> pd.DataFrame:
        """The runs of one architecture that have one of the roles (fitted and held out by default)."""
        wanted = self.runs.role.isin(roles or (FITTED, HELD_OUT))
        return self.runs.loc[wanted & (self.runs.architecture == architecture)]

    @property
    def finished(self) -> pd.DataFrame:
        return self.runs.loc[self.runs.role != LEFT_OUT]

    def surface(self, architecture: str) -> Fit | None:
        return self.fits.get(SURFACE, {}).get(architecture)

    def label(self, architecture: str, law: str = SURFACE) -> str:
        """The architecture's name as figures show it, with what is to be doubted about its fit."""
        fit, name = self.fits.get(law, {}).get(architecture), architecture.replace("_", " ")
        if fit is None:
            return name
        if fit.status == CONVERGED:
            lacking = undetermined(fit)
            return f"{name} (undetermined: {', '.join(lacking)})" if lacking else name
        return f"{name} ({fit.status.split(':')[0]})"

    def frontier(self, architecture: str, C: np.ndarray) -> pd.DataFrame:
        """Columns C, N, D, loss, lo95, hi95, inside: the fitted frontier with its interval.

        inside: C, N and D lie within the fitted runs' range; elsewhere the frontier is extrapolated.
        Raises KeyError where the surface could not be fitted.
        """
        fit = self.fits[SURFACE][architecture]
        out = frontier(fit, self.costs[architecture], C)
        out["lo95"] = out["hi95"] = np.nan
        found = out.loss.notna()
        # At the optimum the loss is flat in N, so the interval there is that of the surface to first order.
        out.loc[found, ["lo95", "hi95"]] = holdout.interval(fit, out.loc[found], kind="mean")
        seen = self.of(architecture, FITTED)
        # C itself is met in whole steps only, so that its ends are not exact.
        out["inside"] = out.C.between(seen.C.min() / runs.SLACK, seen.C.max() * runs.SLACK)
        for x in ("N", "D"):
            out["inside"] &= out[x].between(seen[x].min(), seen[x].max())
        return out

    def extrapolates(self, architecture: str) -> bool:
        """Whether the optimum leaves the fitted range somewhere between the cheapest and dearest run."""
        return not self.frontier(architecture, span(self.of(architecture).C, 32)).inside.all()


def collect(
    root: Path,
    *,
    laws: Mapping[str, Law],
    held_out: int,
    bootstrap: int,
    delta: float,
    seed: int,
    isoflop_width: float,
) -> Study:
    """Read every record below `root` and fit every law to each architecture's runs that are not held out.

    isoflop_width: largest ratio of FLOPs within one IsoFLOP group. Raises ValueError when there is no record,
    none that finished, or when finished runs do not share one recipe.
    """
    if not Path(root).is_dir():
        raise ValueError(f"runs={root}: no such folder")
    unread: dict[str, str] = {}
    found = list(records(Path(root), unread))
    if not found:
        first = next(iter(unread.values()), "no run record below it")
        raise ValueError(f"runs={root}: {first}")
    check_common(root, (run for _, run in found))
    table = runs.load(root)
    table.attrs["source"] = "the runs"  # how refusals begin: the same wherever the folder lies
    table["architecture"] = families(table)
    table["role"] = holdout.roles(table, held_out=held_out)
    if not (table.role == FITTED).any():
        raise ValueError(f"runs={root}: none of the {len(table)} runs finished")
    knobs = {"delta": delta, "bootstrap": bootstrap, "seed": seed}
    fitted = table.loc[table.role == FITTED]
    solved = {name: fit_each(fitted, law, **knobs) for name, law in laws.items()}
    for fits, refused in solved.values():
        left = set(table.architecture[table.role == HELD_OUT]) - fits.keys() - refused.keys()
        refused |= dict.fromkeys(sorted(left), "all its finished sizes are held out")
    surfaces = solved[SURFACE][0] if SURFACE in solved else {}
    done = {str(a): its for a, its in table.loc[table.role != LEFT_OUT].groupby("architecture")}
    costs = {a: Cost.fitted(its) for a, its in done.items()}
    predicted = [holdout.predict(its, surfaces[a]) for a, its in done.items() if a in surfaces]
    return Study(
        runs=table,
        curves={run.run: curve(directory, unread) for directory, run in found},
        origins=[run for _, run in found],
        fits={name: fits for name, (fits, _) in solved.items()},
        refused={name: refused for name, (_, refused) in solved.items()},
        costs=costs,
        isoflop={
            a: approach_two(its.loc[its.role == FITTED], surfaces.get(a), costs[a], width=isoflop_width)
            for a, its in done.items()
        },
        predictions=pd.concat(predicted, ignore_index=True) if predicted else pd.DataFrame(),
        unrecorded=unrecorded(Path(root))
        | {Path(path).parent.name: why for path, why in unread.items() if Path(path).name == RECORD},
        unread=unread,
        decisions=decided(Path(root), unread),
    )


def decided(root: Path, unread: dict[str, str]) -> Decisions | None:
    """Those of the study's file, if there is one; the reason in `unread` where it cannot be read."""
    path = root / DECISIONS
    try:
        return decisions.read(path) if path.exists() else None
    except ValueError as error:
        unread[str(path)] = str(error)
        return None


def families(table: pd.DataFrame) -> pd.Series:
    """What laws are fitted to: the architecture, with the objective where it comes with several."""
    pairs = set(zip(table["architecture"], table["objective"], strict=True))
    count = Counter(architecture for architecture, _ in pairs)
    named = [
        f"{a} {o}" if count[a] > 1 else a for a, o in zip(table.architecture, table.objective, strict=True)
    ]
    return pd.Series(named, index=table.index)


def unrecorded(root: Path) -> dict[str, str]:
    """Folders below `root` with a log and no record, as a kill leaves them, and the last words of each."""
    out = {}
    for log in sorted(root.rglob(LOG)):
        if not (log.parent / RECORD).exists():
            words = last_words(log)
            out[log.parent.name] = f"no record; last words: {words.line if words else 'none'}"
    return out


def curve(directory: Path, unread: dict[str, str]) -> pd.DataFrame:
    """The evaluations of one run: step, tokens, flops, loss; none, and the reason in `unread`, where the file
    cannot be read."""
    columns = ["step", "tokens", "flops", "loss"]
    try:
        rows = [row for row in read_metrics(directory) if row.get("loss") is not None]
    except (ValueError, OSError) as error:
        unread[str(directory / METRICS)], rows = str(error), []
    table = pd.DataFrame(rows, columns=columns, dtype=float)
    keep = np.isfinite(table).all(axis=1) & (table.flops > 0)
    return table.loc[keep].drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)


def each(table: pd.DataFrame) -> Iterator[Any]:
    """The rows, with their columns as attributes."""
    yield from table.itertuples(index=False)


def span(values, n: int) -> np.ndarray:
    """`n` values evenly spaced in log from the smallest to the largest."""
    return np.geomspace(np.min(values), np.max(values), n)
