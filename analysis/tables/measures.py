"""What was measured at the end of runs, as a table: one row a run and figure."""

from collections.abc import Iterable

import pandas as pd

from scalelaw.run import Run

COLUMNS = ("figure", "value", "N", "D", "loss", "seed", "architecture", "objective", "data", "run")
ERROR = "_error"  # ends the name of what is the standard error of the figure it is named after


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """A row for each finished run and figure: `figure` as "measure.figure", its `value` (empty where it could
    not be had), N, D, loss, seed, and what was trained: architecture, objective, data. Empty where no
    finished run was measured.
    """
    rows = [row for run in runs if run.finished for row in _rows(run)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(run: Run) -> Iterable[dict]:
    for figure, value in run.measures.items():
        if not figure.endswith(ERROR):
            yield {"figure": figure, "value": value} | {name: getattr(run, name) for name in COLUMNS[2:]}
