"""A run's id is a hash of everything in its config that decides its losses."""

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Where and how a run is executed, not what it computes.
EXECUTION = ("hydra", "output", "study", "tracker", "checkpoints", "threads", "device", "log_every")


def identity(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config without its execution keys: what the record carries and the id is made of."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    kept = {key: value for key, value in plain.items() if key not in EXECUTION}
    kept["data"].pop("cache", None)
    resolved: Any = OmegaConf.to_container(OmegaConf.create(kept), resolve=True, throw_on_missing=True)
    return resolved


def run_id(config: dict[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run_name(*, _root_: DictConfig) -> str:
    """A directory name to read, made unique by the id: causal_decoder-d4-300k-s0-1a2b3c4d5e."""
    config = identity(_root_)
    architecture = _root_.hydra.runtime.choices.architecture
    amount = next(value for key, value in config["budget"].items() if not key.startswith("_"))
    depth = config["shape"].get("depth", "")
    return f"{architecture}-d{depth}-{_short(amount)}-s{config['seed']}-{run_id(config)}"


def _short(amount: Any) -> str:
    """1200000 -> 1.2M, and a compute budget such as 3e12 as it is; anything else as it was written."""
    if not isinstance(amount, int | float):
        return str(amount)
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if size <= amount < size * 1e3:
            return f"{amount / size:.3g}{suffix}"
    return f"{amount:.3g}".replace("+", "")


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
