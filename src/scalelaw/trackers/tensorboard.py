"""TensorBoard as a mirror: an event file beside the run's own. Takes the extra `tensorboard`."""

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scalelaw.contracts import BadInput

FOLDER = "tensorboard"


class TensorBoard:
    """Every number of every row over tokens; the config and the summary as text."""

    def __init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise BadInput("tracker=tensorboard takes an extra: pip install 'scalelaw[tensorboard]'")
        self.writer: Any = None

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
        from torch.utils.tensorboard.writer import SummaryWriter

        # What an earlier start left is a part of `rows`.
        shutil.rmtree(directory / FOLDER, ignore_errors=True)
        self.writer = SummaryWriter(str(directory / FOLDER))
        self._text("config", config)
        for row in rows:
            self.log(row)

    def log(self, row: Mapping[str, Any]) -> None:
        for key, value in row.items():
            if key != "tokens":
                self.writer.add_scalar(key, value, row["tokens"])

    def finish(self, *, status: str, summary: Mapping[str, Any]) -> None:
        self._text("summary", {**summary, "status": status})
        self.writer.close()

    def _text(self, tag: str, content: Mapping[str, Any]) -> None:
        self.writer.add_text(tag, f"```json\n{json.dumps(content, indent=1)}\n```")
