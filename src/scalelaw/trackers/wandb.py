"""Weights & Biases as a mirror. Its client is a thread's business, so that no run waits for a server."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

log = logging.getLogger(__name__)
OUTAGE = 300.0  # seconds in which runs of this process do not wait for a server that let one wait in vain
_outage_since = -OUTAGE  # by time.monotonic()
# Seconds for a request, and for its repetition: the client's own limits keep a process for hours.
ATTEMPT = 4.0
# Unless the user says otherwise: no question for a key from within a thread; and no telemetry to the client's
# makers, which holds the end of a process for twelve seconds where nothing answers.
QUIET = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}


class WandB:
    """Mirror a run while it trains: `start` and `log` only queue, and `finish` waits at most `patience`
    seconds for what is queued to be sent. What was not, `experiments.sync` sends later from the run's files.

    mode: online or offline. The id of a run is W&B's id, too: one started again is one run there.
    """

    def __init__(
        self, *, mode: str, project: str, entity: str | None, tags: Sequence[str], patience: float
    ) -> None:
        self.mode, self.project, self.entity = mode, project, entity
        self.tags, self.patience = list(tags), patience
        self.rows: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
        self.ending: dict[str, Any] = {}
        self.thread: threading.Thread | None = None
        self.warned = False

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
        for row in rows:
            self.rows.put(row)
        send = partial(self.send, run=run, name=name, group=group, config=config, directory=directory)
        self.thread = threading.Thread(target=self._mirror, args=(send,), daemon=True)
        self.thread.start()

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows.put(row)

    def finish(self, *, status: str, summary: Mapping[str, Any]) -> None:
        global _outage_since
        if self.thread is None:
            return
        self.ending = {**summary, "status": status}
        self.rows.put(None)
        outage = time.monotonic() < _outage_since + OUTAGE
        self.thread.join(0 if outage else self.patience)
        if self.thread.is_alive():
            _outage_since = _outage_since if outage else time.monotonic()
            self._warn("it does not answer")

    def _mirror(self, send: Callable[..., int]) -> None:
        try:
            send(rows=iter(self.rows.get, None), ending=lambda: self.ending)
        except Exception as error:  # whatever the mirror does, the run goes on
            self._warn(" ".join(str(error).split()) or type(error).__name__)

    def _warn(self, why: str) -> None:
        if not self.warned:
            log.warning("not all of this run is at W&B (%s); its own files are whole: experiments.sync", why)
        self.warned = True

    def send(
        self,
        *,
        run: str,
        name: str,
        group: str,
        config: Mapping[str, Any],
        directory: Path,
        rows: Iterable[Mapping[str, Any]],
        ending: Callable[[], Mapping[str, Any]],
    ) -> int:
        """Mirror `rows`, then the summary `ending()`, and return how many rows the mirror did not have.

        Raises whatever the client does, TimeoutError among it when it cannot send all in time.
        """
        if self.mode == "offline":  # what an earlier start left is a part of this whole
            for stale in directory.glob(f"wandb/offline-run-*-{run}"):
                shutil.rmtree(stale)
        session = self._session(
            id=run, name=name, group=group, job_type="train", config=dict(config), dir=str(directory)
        )
        status, sent = "failed", 0
        try:
            session.define_metric("tokens")
            session.define_metric("*", step_metric="tokens")
            there = mirrored(session.path) if session.resumed else set()
            for row in rows:
                if row["tokens"] not in there:
                    session.log(dict(row))
                    sent += 1
            summary = ending()
            session.summary.update(summary)
            status = summary["status"]
        finally:
            session.finish(exit_code=0 if status == "finished" else 1)
        return sent

    def publish(self, *, name: str, files: Sequence[Path], directory: Path) -> None:
        """Send a study's files as the artifact `name` of a run of job type `report`, in no table of runs.

        W&B makes no new version of what it has already.
        """
        said = {"id": f"{name}-report", "name": name, "group": name, "job_type": "report"}
        session = self._session(dir=str(directory), **said)
        status = "failed"
        try:
            artifact = client().Artifact(name, type="report")
            for file in files:
                artifact.add_file(str(file))
            session.log_artifact(artifact).wait(timeout=int(self.patience))
            status = "finished"
        finally:
            session.finish(exit_code=0 if status == "finished" else 1)

    def listed(self) -> dict[str, Any]:
        """The project's runs at the server, by id; none where there is no such project yet.

        Raises ConnectionError, in one line, when the server does not answer or does not know us.
        """
        wandb = client()
        try:
            api = wandb.Api(timeout=int(self.patience))
            path = f"{self.entity or api.default_entity}/{self.project}"
            return {run.id: run for run in api.runs(path, per_page=500, lazy=False)}
        except ValueError as error:
            if "Could not find project" in str(error):
                return {}
            raise ConnectionError(f"W&B: {error}") from error
        except (wandb.Error, OSError) as error:
            raise ConnectionError(f"W&B: {error}") from error

    def _session(self, **said: Any) -> Any:
        wandb = client()
        return wandb.init(
            mode=self.mode,  # pyright: ignore[reportArgumentType]
            project=self.project,
            entity=self.entity,
            tags=self.tags,
            resume="allow",
            reinit="create_new",  # runs trained side by side each have one
            settings=wandb.Settings(
                init_timeout=self.patience,
                finish_timeout=self.patience,  # else it goes on for minutes
                finish_timeout_raises=True,
                console="off",
                disable_git=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_save_requirements=False,  # a tenth of a second; the record names the versions
            ),
            **said,
        )


def client() -> Any:
    """W&B's client, imported late: it takes a second that a run without it need not pay."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import wandb

    wandb.setup(
        settings=wandb.Settings(
            x_graphql_timeout_seconds=ATTEMPT, x_graphql_retry_max=1, x_graphql_retry_wait_max_seconds=1
        )
    )
    return wandb


def mirrored(path: str) -> set[int]:
    """`tokens` of the rows that the server has of the run entity/project/id."""
    history = client().Api().run(path).scan_history(keys=["tokens"], use_cache=False)
    return {row["tokens"] for row in history}
