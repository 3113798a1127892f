"""A run's id is a hash of everything in its config that decides its losses."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from scalelaw.run import RECORD

RECIPE = 2  # counts up when the same config starts to mean other losses: older runs are then trained again
# Where and how a run is executed, not what it computes.
EXECUTION = (
    "hydra",
    "output",
    "study",
    "tracker",
    "checkpoints",
    "threads",
    "device",
    "parallel",
    "log_every",
)


def identity(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config without its execution keys: what the record carries and the id is made of."""
    resolved = plain(cfg, [str(key) for key in cfg if key not in EXECUTION])
    resolved["recipe"] = RECIPE
    # Measures change no loss, but a run without them has not what a run with them has.
    if not resolved["measures"]:
        del resolved["measures"]
    start = resolved.pop("start")
    if "run" in start:  # whose weights, wherever they lie; a run that starts from nothing says nothing of it
        resolved["start"] = {"parent": _parent(Path(start["run"]))}
    for data in corpora(resolved["data"]):
        data.pop("cache", None)
        if path := data.get("path"):
            data["content"] = content(Path(path))
    return resolved


def plain(cfg: DictConfig, keys: Sequence[str]) -> dict[str, Any]:
    """These parts of a config, resolved. Raises omegaconf's errors, naming the key, for what has no value."""
    parts = {key: cfg[key] for key in keys}
    return {
        key: OmegaConf.to_container(part, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(part)
        else part
        for key, part in parts.items()
    }


def corpora(data: dict[str, Any]) -> list[dict[str, Any]]:
    """A source's config and those of its parts: a mixture holds a corpus."""
    return [data, *(part for part in data.values() if isinstance(part, dict))]


def _parent(directory: Path) -> str:
    record = directory / RECORD
    return _finished(directory, record.stat().st_mtime_ns if record.exists() else None)


@cache  # a sweep asks for every one of its runs, several times
def _finished(directory: Path, changed: int | None) -> str:
    from scalelaw.start import finished  # with torch, which a sweep's own process would wait for

    return finished(directory).run


def content(path: Path) -> str | None:
    """sha256 over the user's file or folder: the same name with other text is another run. None for a name
    on the hub, which says itself what it holds."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not all(file.is_file() for file in files):
        return None
    digests = [_digest(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@cache  # a sweep asks for every one of its runs
def _digest(file: str, size: int, changed: int) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
