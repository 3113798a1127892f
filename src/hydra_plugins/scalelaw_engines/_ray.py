"""Ray: each bundle a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

from hydra_plugins.scalelaw_engines._engine import Engine, work
from hydra_plugins.scalelaw_local._worker import Job, Task


class Ray(Engine):
    """init: what `ray.init` takes. remote: what `ray.remote` takes, the resources of each task among them."""

    every = 0.5

    def __init__(self, task: Task, *, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        ray.init(**init)
        self.task = ray.put(task)
        self.work = ray.remote(**remote)(work)

    def submit(self, bundles: Sequence[list[Job]]) -> list["RayTask"]:
        return [RayTask(bundle, self.work.remote(self.task, bundle)) for bundle in bundles]

    def close(self) -> None:
        ray.shutdown()


@dataclass
class RayTask:
    jobs: list[Job]
    reference: Any

    def begun(self) -> bool:
        return True  # or queued: Ray does not say without its dashboard

    def over(self) -> bool:
        return bool(ray.wait([self.reference], timeout=0)[0])

    def why(self) -> str | None:
        try:
            ray.get(self.reference)
        except RayError as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return None
