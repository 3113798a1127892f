"""Fit a study and write its page: python -m experiments.report runs=outputs/demo"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from analysis.report import results
from analysis.report import study_page as report
from analysis.report.study import collect
from experiments.door import door
from experiments.tables import own_up
from scalelaw.run import write_atomically


@door("report")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    knobs = {name: cfg[name] for name in ("held_out", "bootstrap", "delta", "seed", "isoflop_width")}
    study = collect(folder, laws={name: instantiate(law) for name, law in cfg.laws.items()}, **knobs)
    write_atomically(folder / "runs.csv", results.runs_csv(study))
    fits = json.dumps(results.fits_json(study), indent=1, allow_nan=False)
    write_atomically(folder / "fits.json", fits + "\n")
    write_atomically(folder / "report.html", report.page(study, title=f"Scaling laws: {folder.name}"))

    console = Console()
    _show(console, "fits, to the runs that are not held out", results.FITS_HEAD, results.fit_rows(study))
    _show(console, "held-out runs", results.HELD_OUT_HEAD, results.held_out_rows(study))
    _show(console, "runs in no fit", ("run", "status", "reason"), results.left_out_rows(study))
    console.print(f"written to {folder}: runs.csv, fits.json, report.html", soft_wrap=True)
    own_up(study.unread)


def _show(console: Console, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere one line a row, every value with its name."""
    rows = list(rows)
    if rows and console.is_terminal:
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    elif rows:
        print(f"{title}:")
        for row in rows:
            print("  " + ", ".join(f"{name} {value}" for name, value in zip(head, row, strict=True)))


if __name__ == "__main__":
    main()
