"""What every run of a study is doing, wherever it runs: python -m experiments.status runs=outputs/demo

Ends with status 0 when all runs have finished, 1 when one is in a bad way, 2 when some are still to come.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.door import door
from experiments.tables import number
from scalelaw.run import write_atomically
from scalelaw.status import BAD, STATES, Seen, Sight, look, span

PAGE = "live.html"
FRAME = 4  # terminal lines around the rows
COLOURS = {"finished": "green", "waiting": "dim", "running": "bold"} | dict.fromkeys(BAD, "red")


@door("status")
def main(cfg: DictConfig) -> None:
    folder, patience = Path(cfg.runs), number(cfg, "patience", least=0)
    every = None if cfg.watch is None else number(cfg, "watch", least=0.1)
    console = Console(width=None if sys.stdout.isatty() else 160)
    sight = look(folder, patience=patience)
    if every is None:
        console.print(table(sight))
        if cfg.page:
            write(folder, sight)
        sys.exit(sight.code)
    try:
        with _stopping(), Live(console=console, auto_refresh=False) as live:
            while sight.going:
                live.update(table(sight, room=console.height - FRAME), refresh=console.is_terminal)
                if not console.is_terminal:
                    print(totals(sight), flush=True)
                if cfg.page:
                    write(folder, sight, refresh=every)
                time.sleep(every)
                try:
                    sight = look(folder, patience=patience)
                except ValueError:  # for a moment: a run that begins anew has cleared its folder
                    if not folder.is_dir():
                        raise
            live.update(table(sight), refresh=console.is_terminal)
    finally:
        if cfg.page:
            write(folder, sight)  # for the last time, and without a refresh
    sys.exit(sight.code)


def table(sight: Sight, room: int | None = None) -> Group:
    """The totals and a row for each run, at most `room` of them."""
    shown = Table("run", "state", "step", "loss", "tokens/s", "left", "", box=None, padding=(0, 2))
    for column in shown.columns[2:6]:
        column.justify, column.no_wrap = "right", True
    shown.columns[0].overflow = "fold"
    runs = sight.runs if room is None else sight.runs[: max(room, 1)]
    for run in runs:
        shown.add_row(*cells(run), style=COLOURS[run.state])
    more = f"and {len(sight.runs) - len(runs)} more" if len(runs) < len(sight.runs) else ""
    return Group(Text(totals(sight), style="bold"), shown, *([Text(more, style="dim")] if more else []))


def cells(run: Seen) -> tuple[str, ...]:
    step = "" if run.step is None else f"{run.step:,}/{run.steps:,}"
    loss = "" if run.loss is None else f"{run.loss:.4f}"
    rate = "" if run.rate is None else f"{run.rate:,.0f}"
    left = "" if run.left is None or run.state != "running" else span(run.left)
    return run.name, run.state, step, loss, rate, left, run.reason or ""


def totals(sight: Sight) -> str:
    counts = sight.counts
    told = [f"{counts['finished']}/{len(sight.runs)} runs finished"]
    told += [f"{counts[state]} {state}" for state in STATES if counts[state] and state != "finished"]
    if sight.rate:
        told.append(f"{sight.rate:,.0f} tokens/s")
    if sight.left is not None:
        told.append(f"about {span(sight.left)} left")
    return ", ".join(told)


def write(folder: Path, sight: Sight, refresh: float | None = None) -> None:
    from analysis.report.live import page  # imported late: drawing takes a second that a table need not pay

    with suppress(OSError):  # a full disk is for the runs to tell; the next look writes again
        write_atomically(folder / PAGE, page(sight, title=f"{folder.name}, live", refresh=refresh))


@contextmanager
def _stopping() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the watch as the end of the study does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
