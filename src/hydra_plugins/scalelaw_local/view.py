"""What a sweep shows while it runs: a live table on a terminal, one line an event elsewhere."""

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scalelaw.progress import read
from scalelaw.run import Run

INTERVAL = 0.5  # seconds between looks at the runs' progress files
RECENT = 8  # ended runs kept in sight


class View:
    """Counts, the running jobs and the last ones that ended."""

    interval = INTERVAL

    def __init__(self, *, total: int, skipped: int, console: Console | None = None) -> None:
        self.console = console or Console()
        self.total, self.skipped, self.done, self.failed = total, skipped, 0, 0
        self.running: dict[str, Path] = {}
        self.recent: list[tuple[str, str]] = []
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
        ended = f"{self.done} finished, {self.skipped} skipped, {self.failed} failed"
        self._say(f"{ended}, {len(self.running)} stopped, {_span(time.monotonic() - self.start)}")

    def started(self, name: str, directory: Path) -> None:
        self.running[name] = directory
        if not self.live:
            self._say(f"started   {name}")

    def ended(self, name: str, run: Run | None, why: str | None) -> None:
        del self.running[name]
        if why is None and run is not None and run.loss is not None:
            self.done += 1
            what = f"loss {run.loss:.4f}, {run.timing['tokens_per_second']:,.0f} tokens/s"
            what += f", {_span(run.timing['seconds'])}"
        else:
            self.failed += 1
            what = why or "no loss"
        self.recent = [*self.recent, (name, what)][-RECENT:]
        if not self.live:
            word = "finished" if why is None else "FAILED"
            count = f"[{self.skipped + self.done + self.failed}/{self.total}]"
            self._say(f"{word:<9} {name}: {what} {count}")

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
                    _span(state.left),
                )
        for name, what in self.recent:
            table.add_row(Text(name, style="dim"), Text(what, style="dim"))
        ended = self.skipped + self.done + self.failed
        head = f"{ended}/{self.total} runs, {self.failed} failed, {_span(time.monotonic() - self.start)}"
        return Group(Text(head, style="bold"), table)

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
