"""Trackers: mirrors of a run's metrics. The files are the truth; a mirror may fail, a run may not."""

import logging
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Tracker(Protocol):
    def start(self, *, run: str, name: str, group: str, config: dict[str, Any], directory: Path) -> None: ...

    def log(self, row: dict[str, Any]) -> None:
        """Mirror one row of the metrics file; `tokens` is the x axis."""
        ...

    def finish(self, *, status: str, summary: dict[str, Any]) -> None: ...


class Disabled:
    """No mirror."""

    def start(self, *, run: str, name: str, group: str, config: dict[str, Any], directory: Path) -> None:
        pass

    def log(self, row: dict[str, Any]) -> None:
        pass

    def finish(self, *, status: str, summary: dict[str, Any]) -> None:
        pass


class WandB:
    """Weights & Biases, online or offline.

    Online falls back to offline when the server does not answer within `init_timeout` seconds, and `finish`
    waits `finish_timeout` seconds at most: without both, a dead server holds a run for minutes.
    """

    def __init__(
        self,
        *,
        mode: str,
        project: str,
        entity: str | None,
        tags: list[str],
        init_timeout: float,
        finish_timeout: float,
    ) -> None:
        self.mode, self.project, self.entity, self.tags = mode, project, entity, list(tags)
        self.init_timeout, self.finish_timeout = init_timeout, finish_timeout
        self.session: Any = None

    def start(self, *, run: str, name: str, group: str, config: dict[str, Any], directory: Path) -> None:
        try:
            self._start(run, name, group, config, directory)
        except Exception as error:  # whatever the mirror does, the run goes on
            log.warning("W&B did not start (%s); this run has no mirror", error)
            self.session = None

    def _start(self, run: str, name: str, group: str, config: dict[str, Any], directory: Path) -> None:
        import wandb  # imported late: it takes a second that a run without it need not pay

        def init(mode: Any) -> Any:
            return wandb.init(
                mode=mode,
                project=self.project,
                entity=self.entity,
                id=run,
                name=name,
                group=group,
                job_type="train",
                tags=self.tags,
                config=config,
                dir=str(directory),
                resume="allow",
                reinit="create_new",  # runs trained side by side each have one
                settings=wandb.Settings(
                    init_timeout=self.init_timeout,
                    finish_timeout=self.finish_timeout,
                    finish_timeout_raises=False,
                    console="off",
                    silent=True,
                    disable_git=True,
                    x_disable_stats=True,
                    x_disable_meta=True,
                ),
            )

        try:
            self.session = init(self.mode)
        except Exception as error:
            log.warning("W&B %s did not start (%s); this run is mirrored offline", self.mode, error)
            wandb.teardown()  # the failed start still holds the run's id
            self.session = init("offline")
        self.session.define_metric("tokens")
        self.session.define_metric("*", step_metric="tokens")

    def log(self, row: dict[str, Any]) -> None:
        if self.session is not None:
            self._try("log", lambda: self.session.log(row))

    def finish(self, *, status: str, summary: dict[str, Any]) -> None:
        if self.session is None:
            return
        self._try("summary", lambda: self.session.summary.update(summary | {"status": status}))
        self._try("finish", lambda: self.session.finish(exit_code=0 if status == "finished" else 1))
        self.session = None

    @staticmethod
    def _try(what: str, call: Any) -> None:
        try:
            call()
        except Exception as error:
            log.warning("W&B %s failed (%s); the run's own files are complete", what, error)
