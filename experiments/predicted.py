"""How long a study takes: its processes' seconds, and the launcher's queue that they wait in."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.costs import SECONDS, Hardware
from experiments.measured import Measured, Process, measure
from experiments.planned import Planned, Study, computing

KINDS = ("measured", "assumed", "none")


@dataclass(frozen=True)
class Times:
    """seconds: from the command to its end. start: of those, before the workers are warm. busy: of all
    processes together. runs: of each run by number, its part of what its process takes. measured: what it
    rests on; None where speed was assumed."""

    seconds: float
    start: float
    busy: float
    runs: dict[int, float]
    measured: Measured | None


def times(study: Study, *, kind: str, hardware: Hardware, seconds: float) -> Times | None:
    """kind: "measured", here and now; "assumed", as the hardware's factors have it; "none" gives None.

    seconds: of steps that are timed, for each distinct process. Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"time={kind}: is one of {', '.join(KINDS)}")
    if kind == "none":
        return None
    bundles = [study.planned(bundle) for bundle in study.bundles]
    measured, start = None, 0.0
    if kind == "assumed":
        each = [[SECONDS * hardware.hours(run.spent) for run in bundle] for bundle in bundles]
    else:
        asked = [
            ([job.config for job in bundle], {together for _, together in computing(runs)})
            for bundle, runs in zip(study.bundles, bundles, strict=True)
        ]
        measured = measure(asked, slots=study.slots, preload=study.preload, seconds=seconds)
        each = [shares(runs, process) for runs, process in zip(bundles, measured.processes, strict=True)]
        start = study.composing + measured.start + max(process.first for process in measured.processes)
    whole = [sum(parts) for parts in each]
    by_run = {
        job.index: part
        for bundle, parts in zip(study.bundles, each, strict=True)
        for job, part in zip(bundle, parts, strict=True)
    }
    end = start + queue(whole, [sum(run.spent for run in runs) for runs in bundles], slots=study.slots)
    return Times(end, start, sum(whole), by_run, measured)


def shares(bundle: Sequence[Planned], process: Process) -> list[float]:
    """Seconds of each run of a process; those of a step are of all runs that compute it, in equal parts."""
    parts = [process.overhead / len(bundle) + process.window * run.windows for run in bundle]
    done = 0
    for steps, together in computing(bundle):
        for number, run in enumerate(bundle):
            if run.shared <= done < run.steps:
                parts[number] += steps * process.each(together) / together
        done += steps
    return parts


def queue(seconds: Sequence[float], flops: Sequence[float], *, slots: int) -> float:
    """When the last of the processes ends that start in order of falling FLOPs, `slots` at a time."""
    ends = [0.0] * slots
    for _, one in sorted(zip(flops, seconds, strict=True), key=lambda pair: -pair[0]):
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)
