"""A run's metrics file: append-only, a JSON object a line, whole again after every kill."""

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scalelaw.run import METRICS, intact, write_atomically


class Metrics:
    """Rows past the checkpoint resumed from, and all from the first torn one on, are dropped: they come
    again."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.file = directory, None

    def check(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError when the file lacks rows that a checkpoint of this state counts on: no step after
        it would write them again."""
        there, counted = len(self._until(state["step"])), state.get("rows")
        if counted not in (None, there):  # checkpoints did not always count them
            raise ValueError(f"{METRICS} has {there} of the {counted} rows written before it")

    def open(self, *, keep_until: int) -> list[dict[str, Any]]:
        """Ready to be written to after the rows up to that step, which it returns."""
        kept, path = self._until(keep_until), self.directory / METRICS
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
        self.file = path.open("a", encoding="utf-8")
        return kept

    def _until(self, step: int) -> list[dict[str, Any]]:
        return [row for row in intact(self.directory)[0] if row.get("step", math.inf) <= step]

    def write(self, row: dict[str, Any]) -> None:
        assert self.file is not None
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def sync(self) -> None:
        """On the disk, so that what is written there next may count on it."""
        assert self.file is not None
        os.fsync(self.file.fileno())

    def close(self) -> str | None:
        """Why rows may not have reached the disk, if so; network folders say it only now."""
        if self.file is None:
            return None
        try:
            self.sync()
        except OSError as error:
            return f"{type(error).__name__}: {error}"
        finally:
            with suppress(OSError):  # on a full disk, what could not be written was an error already
                self.file.close()
            self.file = None
        return None
