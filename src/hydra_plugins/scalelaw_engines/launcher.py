"""A study through an engine that others run: what the local launcher does, with its workers elsewhere."""

from importlib import import_module
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.scalelaw_local._worker import Task
from hydra_plugins.scalelaw_local.launcher import StudyLauncher, Workers

STUDY = ("together", "apart", "devices", "retries", "prepare", "train", "cost", "pays")


class EngineLauncher(StudyLauncher):
    """engine: full name of the class that hands bundles of runs to the engine. extra: of this package, which
    brings the engine. slots: bundles at a time, which is what plans reckon with; the engine alone decides.
    Other keys are the engine's own, or those of every study."""

    def __init__(self, *, engine: str, extra: str, slots: int, **knobs: Any) -> None:
        super().__init__(**{key: knobs.pop(key) for key in STUDY})
        self.engine, self.extra, self.slots = engine, extra, slots
        self.knobs = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in knobs.items()}

    def workers(self, task: Task, config: DictConfig) -> Workers:
        module, name = self.engine.rsplit(".", 1)
        try:
            engine = getattr(import_module(module), name)
        except ModuleNotFoundError:
            message = f"{self.extra} is not installed: pip install 'scalelaw[{self.extra}]'"
            raise HydraException(message) from None
        return engine(task, **self.knobs)

    def abreast(self, config: DictConfig) -> int:
        return self.slots
