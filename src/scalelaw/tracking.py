"""Trackers: mirrors of a run's metrics. The files are the truth; a mirror may fail, a run may not."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """One run's mirror. `start` and `log` are to return at once, `finish` in less than 30 seconds."""

    def start(
        self,
        *,
        run: str,
        name: str,
        group: str,
        config: Mapping[str, Any],
        directory: Path,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """rows: what the metrics file holds already, where the run goes on from a checkpoint."""
        ...

    def log(self, row: Mapping[str, Any]) -> None:
        """One more row of the metrics file; `tokens` is the x axis."""
        ...

    def finish(self, *, status: str, summary: Mapping[str, Any]) -> None:
        """status: how the run ended. summary: its record as one flat row, which is what a fit needs."""
        ...


class Disabled:
    """No mirror."""

    def start(self, **_: Any) -> None:
        pass

    def log(self, row: Mapping[str, Any]) -> None:
        pass

    def finish(self, **_: Any) -> None:
        pass


class Guarded:
    """A tracker that cannot end a run: its first exception is logged, and is the last that is asked of it."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker: Tracker | None = tracker

    def start(self, **said: Any) -> None:
        self._try(lambda tracker: tracker.start(**said))

    def log(self, row: Mapping[str, Any]) -> None:
        self._try(lambda tracker: tracker.log(row))

    def finish(self, **said: Any) -> None:
        self._try(lambda tracker: tracker.finish(**said))

    def _try(self, ask: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            ask(self.tracker)
        except Exception as error:
            log.warning("the mirror failed (%s); the run's own files are complete", error)
            self.tracker = None
