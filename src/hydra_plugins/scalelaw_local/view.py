"""What a sweep shows while it runs: a live table on a terminal, one line an event elsewhere."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scalelaw.progress import read
from scalelaw.run import Run
from scalelaw.status import span

INTERVAL = 0.5  # seconds between looks at the runs' progress files
FRAME = 4  # terminal lines the table needs beside its rows


class View:
    """Counts, and as many runs as the terminal has lines: running, then waiting next, then just ended."""

    interval = INTERVAL

    def __init__(self, *, skipped: int, waiting: Sequence[str], console: Console | None = None) -> None:
        self.console = console or Console()
        self.total, self.skipped, self.done, self.failed = skipped + len(waiting), skipped, 0, 0
        self.waiting = list(waiting)
        self.running: dict[str, Path] = {}
        self.past: list[tuple[str, ...]] = []
        self.failures: list[tuple[str, str]] = []
        self.start = time.monotonic()
        # No refresh thread: the process that forks workers stays single-threaded.
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> "View":
        known = f", {self.skipped} of them finished before" if self.skipped else ""
        self._say(f"{self.total} runs{known}")
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.refresh()
            self.live.stop()
        if self.failures:
            table = Table("not finished", "why", box=None, padding=(0, 2))
            for failure in self.failures:
                table.add_row(*failure)
            self.console.print(table, highlight=False, soft_wrap=True)
        ended = f"{self.done} finished, {self.skipped} skipped, {self.failed} failed"
        self._say(f"{ended}, {len(self.running)} stopped, {span(time.monotonic() - self.start)}")

    def started(self, name: str, directory: Path) -> None:
        self.waiting.remove(name)
        self.running[name] = directory
        if not self.live:
            self._say(f"started   {name}")

    def again(self, name: str, why: str) -> None:
        """A run that was stopped goes back to the end of the queue."""
        del self.running[name]
        self.waiting.append(name)
        self._say(f"again     {name}: {why}")

    def ended(self, name: str, run: Run | None, why: str | None) -> None:
        del self.running[name]
        told = None if run is None else run.told
        if why is None and run is not None and told is not None:
            self.done += 1
            loss, rate = f"{told:.4f}", f"{run.timing['tokens_per_second']:,.0f}"
            took = span(run.timing["seconds"])
            self.past.append((name, "finished", loss, rate, f"took {took}"))
            what = f"finished  {name}: loss {loss}, {rate} tokens/s, {took}"
        else:
            self.failed += 1
            self.past.append((name, "FAILED"))
            self.failures.append((name, why or "no loss"))
            what = f"FAILED    {name}: {why or 'no loss'}"
        if not self.live or why is not None:
            self._say(f"{what} [{self.skipped + self.done + self.failed}/{self.total}]")

    def refresh(self) -> None:
        if self.live:
            self.live.update(self._table(), refresh=True)

    def _table(self) -> Group:
        table = Table("run", "step", "loss", "tokens/s", "left", box=None, padding=(0, 2))
        for column in table.columns[1:]:
            column.justify = "right"
        for name, directory in self.running.items():
            state = read(directory)
            if state is None:
                table.add_row(name, "starting", "", "", "")
            else:
                table.add_row(
                    name,
                    f"{state.step:,}/{state.steps:,}",
                    f"{state.loss:.3f}",
                    f"{state.rate:,.0f}",
                    span(state.left),
                )
        room = max(0, self.console.height - FRAME - len(self.running))
        ended = list(reversed(self.past))[: max(room - len(self.waiting), room // 2)]
        for name in self.waiting[: room - len(ended)]:
            table.add_row(name, "waiting", style="dim")
        for row in ended:
            table.add_row(*row, style="green" if row[1] == "finished" else "red")
        done = self.skipped + self.done + self.failed
        head = f"{done}/{self.total} runs, {self.failed} failed, {span(time.monotonic() - self.start)}"
        return Group(Text(head, style="bold"), table)

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)
