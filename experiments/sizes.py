"""How large the model of a config is, without one: its sizes and none of its memory."""

from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.overrides import TorchFunctionMode

from scalelaw.budget import Flops, resolved
from scalelaw.counting import count
from scalelaw.meeting import marked


def sizes(cfg: DictConfig, *, batch_tokens: int) -> dict[str, float]:
    """N and D of the run that a config stands for."""
    budget = instantiate(cfg.budget)
    # N leaves the vocabulary out; only a budget in FLOPs asks the corpus for it.
    vocabulary = instantiate(cfg.data).vocab_size if isinstance(budget, Flops) else 1
    objective, vocabulary = marked(instantiate(cfg.objective), vocabulary, cfg.window)
    model = weightless(cfg, vocabulary)
    rows = batch_tokens // cfg.window
    plan = resolved(budget, model, objective, window=cfg.window, rows=rows)
    return {"N": count(model)["non_embedding"], "D": plan.D}


def weightless(cfg: DictConfig, vocabulary: int) -> Any:
    """The config's model."""
    with Unfilled(), torch.device("meta"):
        return instantiate(cfg.architecture)(instantiate(cfg.shape), vocabulary)


class Unfilled(TorchFunctionMode):
    """Leaves out the initial values, which take most of the time that a model without memory takes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
