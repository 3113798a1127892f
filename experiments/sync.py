"""Send to W&B what its server does not have: python -m experiments.sync runs=outputs/demo

It is built from the runs' own files, whatever W&B's client left beside them. Only what is missing is sent, so
it can be said again at any time. Ends with exit status 1 when a run could not be sent.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from analysis.tables.columns import one_line
from experiments.door import door
from scalelaw.run import RECORD, Run, read_metrics
from scalelaw.trackers.wandb import WandB, mirrored


@door("sync")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs).resolve()
    directories = sorted(path.parent for path in folder.rglob(RECORD))
    if not directories:
        raise ValueError(f"runs={cfg.runs}: no run record ({RECORD}) below it")
    tracker = instantiate(cfg.tracker)
    if not isinstance(tracker, WandB) or tracker.mode != "online":
        raise ValueError("runs are sent with tracker=online only")
    there, failed = tracker.listed(), 0
    with TemporaryDirectory() as scratch:
        tasks = {path.name: partial(send, path, tracker, there, Path(scratch)) for path in directories}
        if files := [folder / name for name in cfg.files if (folder / name).exists()]:
            tasks[f"artifact {folder.name}"] = partial(publish, files, tracker, folder.name, Path(scratch))
        for name, task in tasks.items():
            try:
                print(f"{name}: {task()}", flush=True)
            except Exception as error:
                failed += 1
                print(f"{name}: not sent ({one_line(error) or type(error).__name__})", flush=True)
                tracker.listed()  # raises where not this run is at fault but the server
    print(f"{len(tasks) - failed} of {len(tasks)} are at the server, in project {tracker.project}")
    if failed:
        sys.exit(1)


def send(directory: Path, tracker: WandB, there: Mapping[str, Any], scratch: Path) -> str:
    """Make the server's copy of a run whole; returns what there was to do."""
    run, rows = Run.load(directory), read_metrics(directory)
    if whole(there.get(run.run), run, rows):
        return "there already"
    sent = tracker.send(
        run=run.run,
        name=run.name,
        group=run.study,
        config=run.config,
        directory=scratch,
        rows=rows,
        ending=run.row,
    )
    return f"sent {sent} of {len(rows)} rows"


def publish(files: Sequence[Path], tracker: WandB, name: str, scratch: Path) -> str:
    tracker.publish(name=name, files=files, directory=scratch)
    return ", ".join(file.name for file in files)


def whole(copy: Any, run: Run, rows: list[dict[str, Any]]) -> bool:
    """Whether the server's copy has ended as the run did, with its summary and every row."""
    if copy is None or copy.state == "running":
        return False
    if any(copy.summary_metrics.get(key) != value for key, value in run.row().items()):
        return False
    return {row["tokens"] for row in rows} <= mirrored("/".join(copy.path))


if __name__ == "__main__":
    main()
