"""A plan as tables and sentences for a reader, and as a file for a program."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from analysis.costs import Cost, Hardware, Site
from analysis.designing.afford import Known
from analysis.designing.recovery import Recovery
from analysis.law import plain
from experiments.afford import factors
from experiments.forecast import forecast, half
from experiments.planned import Study
from experiments.predicted import Times
from experiments.published import known
from scalelaw.provenance import provenance
from scalelaw.run import write_atomically


def destination(out: str | None) -> Path | None:
    """Raises ValueError for a file that is neither .json nor .csv, before anything is measured for it."""
    if out is not None and Path(out).suffix not in (".json", ".csv"):
        raise ValueError(f"out={out}: has to be a .json or a .csv")
    return None if out is None else Path(out)


@dataclass(frozen=True)
class Expected:
    """What the study would tell if the law were `known`: of each architecture, or why nothing."""

    known: Known
    by_architecture: dict[str, Recovery | str]


def expected(study: Study, cfg: DictConfig) -> Expected | None:
    """None where no tables are to be simulated."""
    if not cfg.forecast.tables:
        return None
    law = known(cfg)
    return Expected(law, forecast(study, law, cfg.forecast))


@dataclass(frozen=True)
class Plan:
    """load: of the machine over the minute before it was measured."""

    study: Study
    times: Times | None
    load: float
    cost: Cost | None
    hardware: Hardware
    site: Site
    expected: Expected | None

    def rows(self) -> list[dict[str, Any]]:
        """One for each run, sizes in bytes and times in seconds."""
        kept = self._activations()
        rows = []
        for job in self.study.jobs:
            run = self.study.runs[job.index]
            row = asdict(run) | {"spent": run.spent, "weights": run.weights, "gradients": run.weights}
            row |= {"optimizer": 2 * run.weights, "activations": kept.get(job.index)}
            rows.append(row | {"seconds": self.times.runs[job.index] if self.times else None})
        return rows

    def _activations(self) -> dict[int, int]:
        measured = self.times.measured if self.times else None
        processes = measured.processes if measured else []
        return {
            job.index: process.activations
            for bundle, process in zip(self.study.bundles, processes, strict=False)
            for job in bundle
        }

    def show(self) -> None:
        console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
        head = ("run", "N", "D", "steps", "C", "shared steps", "states", "activations", "time")
        table = Table(*head, box=None, padding=(0, 2))
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows():
            shared = f"{row['shared']:,}" if row["shared"] else ""
            states = row["weights"] + row["gradients"] + row["optimizer"]
            counts = (f"{row['N']:,}", f"{row['D']:,}", f"{row['steps']:,}", f"{row['C']:.3g}", shared)
            memory = (size(states), size(row["activations"]))
            table.add_row(row["name"], *counts, *memory, duration(row["seconds"]))
        console.print(table)
        for line in (*self.totals(), *self.timing(), *self.costing()):
            console.print(line, soft_wrap=True)
        if self.expected is not None:
            _show_expected(console, self.expected)

    def totals(self) -> list[str]:
        runs = list(self.study.runs.values())
        whole, spent = sum(run.C for run in runs), sum(run.spent for run in runs)
        told = f"{len(runs)} runs in {len(self.study.bundles)} processes, {whole:.3g} FLOPs"
        if spent < whole:
            told += f": {spent:.3g} to compute, {1 - spent / whole:.0%} less by common trunks"
        memory = "states: weights, gradients and both moments of AdamW, computed, 16 bytes a parameter"
        if self.times and (measured := self.times.measured):
            most = sorted((process.resident for process in measured.processes), reverse=True)
            together = sum(most[: self.study.slots])
            memory += (
                f"; activations: what a forward pass keeps for the backward pass, measured; a process held "
                f"{size(most[0])} at most, measured, those at a time {size(together)}"
            )
        return [told, memory]

    def timing(self) -> list[str]:
        if self.times is None:
            return []
        seconds, busy, slots = duration(self.times.seconds), duration(self.times.busy), self.study.slots
        told = f"{seconds} on {slots} processes at a time, longest first; {busy} of one"
        if (measured := self.times.measured) is None:
            return [f"{told}: assumed, {self.hardware.utilisation:.0%} of {self.hardware.peak:.3g} FLOP/s"]
        what = f"measured on {measured.distinct} distinct processes in {duration(measured.took)}"
        return [f"{told}: {what}, at a load of {self.load:.1f} on {os.cpu_count()} cores before that"]

    def costing(self) -> list[str]:
        return [] if self.cost is None else factors(self.cost, self.hardware, self.site)

    def write(self, path: Path) -> None:
        """All of it as JSON, or the runs as CSV, by the name."""
        if path.suffix == ".csv":
            text = pd.DataFrame(self.rows()).to_csv(index=False, lineterminator="\n")
        else:
            text = json.dumps(plain(self.to_json()), indent=1, allow_nan=False) + "\n"
        write_atomically(path, text)

    def to_json(self) -> dict[str, Any]:
        took, law = self.times, self.expected
        return {
            "runs": self.rows(),
            "processes": [[job.name for job in bundle] for bundle in self.study.bundles],
            "slots": self.study.slots,
            "time": None if took is None else asdict(took) | {"load": self.load, "cores": os.cpu_count()},
            "cost": None if self.cost is None else asdict(self.cost),
            "factors": {"hardware": asdict(self.hardware), "site": asdict(self.site)},
            "forecast": None
            if law is None
            else {
                "law": law.known.name,
                "architectures": {
                    name: one if isinstance(one, str) else one.to_json()
                    for name, one in law.by_architecture.items()
                },
            },
            "provenance": provenance(" ".join(["python -m experiments.plan", *sys.argv[1:]])),
        }


def _show_expected(console: Console, expected: Expected) -> None:
    found = {name: one for name, one in expected.by_architecture.items() if isinstance(one, Recovery)}
    if found:
        one = next(iter(found.values()))
        told = f"if the law were {expected.known.name}, with {one.scale:.1%} scatter, these runs would tell"
        console.print(f"{told} (central 95 % of {one.tables} simulated studies):", soft_wrap=True)
        table = Table("", "truth", *found, box=None, padding=(0, 2))
        for name, at in one.spread.items():
            cells = (f"+- {half(other.spread[name]):.2g}" for other in found.values())
            table.add_row(name, f"{at['truth']:.3g}", *cells)
        console.print(table)
    for name, one in expected.by_architecture.items():
        if isinstance(one, str):
            console.print(f"{name}: no forecast: {one}", soft_wrap=True)
        elif one.status != "recovered":
            console.print(f"{name}: {one.status}", soft_wrap=True)


def size(amount: float | None) -> str:
    if amount is None:
        return ""
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if amount >= one:
            return f"{amount / one:.3g} {unit}"
    return f"{amount / 1e3:.3g} kB"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"
