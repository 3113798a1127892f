"""Checkpoints: everything a run needs to go on bit for bit, in safetensors, never a pickle.

A directory holds `checkpoint-<step>.safetensors` files; each carries the id of its run, its state as JSON and
a sha256 of both and of its tensors, so that a truncated, altered or foreign file is noticed and passed over.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

log = logging.getLogger(__name__)
PATTERN = re.compile(r"checkpoint-(\d+)\.safetensors")


class Checkpoints:
    """Writes one at most every `seconds`, keeps the newest `keep`."""

    def __init__(self, *, seconds: float, keep: int) -> None:
        self.seconds, self.keep = seconds, keep
        self.last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.seconds

    def save(
        self, directory: Path, run: str, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> None:
        """Write atomically, then drop the oldest. A full disk raises OSError; the older ones stay."""
        path = directory / f"checkpoint-{step:09d}.safetensors"
        temporary = path.with_suffix(".tmp")
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        metadata = {"run": run, "state": json.dumps(dict(state))}
        metadata["sha256"] = _digest(metadata, tensors)
        try:
            try:
                save_file(tensors, temporary, metadata)
            except SafetensorError as error:  # its writer reports a full disk as an error of its own kind
                raise OSError(f"cannot write {path}: {error}") from error
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        for old in _newest_first(directory)[self.keep :]:
            old.unlink()
        self.last = time.monotonic()

    def load(
        self, directory: Path, run: str, check: Callable[[Mapping[str, Any]], None] = lambda state: None
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The run's newest sound checkpoint as (tensors, state), or None.

        A corrupt one, one of a run with another config, or one whose state `check` raises ValueError for, is
        named and skipped.
        """
        for path in _newest_first(directory):
            try:
                with safe_open(path, framework="pt") as file:
                    metadata = file.metadata() or {}
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
                if metadata.pop("sha256", None) != _digest(metadata, tensors):
                    raise ValueError("its checksum does not match")
                if metadata["run"] != run:
                    raise ValueError(f"it is of run {metadata['run']}, not {run}")
                state = json.loads(metadata["state"])
                check(state)
                return tensors, state
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                log.warning("checkpoint %s cannot be used (%s); trying the one before it", path, error)
        return None

    @staticmethod
    def clear(directory: Path) -> None:
        """A finished run needs none of them."""
        for path in _newest_first(directory):
            path.unlink()


def pack(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Model and optimizer as one flat dict of tensors; tied weights once."""
    tensors: dict[str, Tensor] = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    return tensors


def unpack(tensors: Mapping[str, Tensor], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put what `pack` took back in place."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, slot = key.split(".")
            slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _newest_first(directory: Path) -> list[Path]:
    return sorted((p for p in directory.glob("checkpoint-*") if PATTERN.fullmatch(p.name)), reverse=True)


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
