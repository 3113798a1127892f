"""Checkpoints: everything a run needs to go on bit for bit, in safetensors, never a pickle.

A directory holds `checkpoint-<step>.safetensors` files; each carries the id of its run, its state as JSON and
a sha256 of both and of its tensors, so that a truncated, altered or foreign file is noticed and passed over.
Where the tensors are cut over several processes each writes a file of its own, `checkpoint-<step>-0-of-2...`,
with its parts: nothing is gathered, and any number of processes can go on from them. torch's own distributed
checkpoints would do the same, but what they say of their files is a pickle (`.metadata`).
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from scalelaw import weights

log = logging.getLogger(__name__)
PATTERN = re.compile(r"checkpoint-(\d+)(?:-(\d+)-of-(\d+))?\.safetensors")


class Checkpoints:
    """Writes one at most every `seconds`, keeps the newest `keep`.

    weights: leave a finished run's weights in its directory (scalelaw.weights).
    """

    def __init__(self, *, seconds: float, keep: int, weights: bool) -> None:
        self.seconds, self.keep, self.weights = seconds, keep, weights
        self.last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.seconds

    def save(
        self,
        directory: Path,
        run: str,
        step: int,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        *,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Write atomically, then drop the oldest. A full disk raises OSError; the older ones stay.

        part: which of how many files, all of which need the same state.
        """
        own = "" if part[1] == 1 else f"-{part[0]}-of-{part[1]}"
        path = directory / f"checkpoint-{step:09d}{own}.safetensors"
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        metadata = {"run": run, "state": json.dumps(dict(state))}
        metadata["sha256"] = _digest(metadata, tensors)
        weights.write(path, tensors, metadata)
        found = _newest_first(directory)
        # Whole ones are counted: while other processes still write this one, the last whole one has to stay.
        kept = [saved for saved in found if saved.whole][: self.keep]
        for old in found:
            if kept and old.step < kept[-1].step:
                old.remove()
        self.last = time.monotonic()

    def load(
        self, directory: Path, run: str, check: Callable[[Mapping[str, Any]], None] = lambda state: None
    ) -> tuple[Mapping[str, Tensor], dict[str, Any]] | None:
        """The run's newest sound checkpoint as (tensors, state), or None; the tensors are never cut.

        A corrupt one, one of a run with another config, or one whose state `check` raises ValueError for, is
        named and skipped.
        """
        for saved in _newest_first(directory):
            try:
                if not saved.whole:
                    raise ValueError(f"{len(saved.paths)} of its {saved.parts} files are there")
                parts, said = zip(*(_read(path) for path in saved.paths), strict=True)
                metadata = said[0]
                if metadata["run"] != run:
                    raise ValueError(f"it is of run {metadata['run']}, not {run}")
                if any(other != metadata for other in said):
                    raise ValueError("its files were not written together")
                state = json.loads(metadata["state"])
                check(state)
                return Whole(parts), state
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                log.warning("checkpoint %s cannot be used (%s); trying the one before it", saved, error)
        return None

    @staticmethod
    def clear(directory: Path) -> None:
        """A finished run needs none of them."""
        for saved in _newest_first(directory):
            saved.remove()


class Whole(Mapping[str, Tensor]):
    """Tensors cut along their first dimension over several files, put together one by one as they are asked
    for: the files are mapped, and no more than one is in memory at a time. What has no dimension is the same
    in all."""

    def __init__(self, parts: Sequence[Mapping[str, Tensor]]) -> None:
        self.parts = parts

    def __getitem__(self, name: str) -> Tensor:
        cut = [part[name] for part in self.parts]
        return cut[0] if len(cut) == 1 or cut[0].dim() == 0 else torch.cat(cut)

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts[0])

    def __len__(self) -> int:
        return len(self.parts[0])


def pack(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Model and optimizer as one flat dict; tied weights once, of cut tensors this process's part."""
    tensors: dict[str, Tensor] = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    return {name: t.to_local() if isinstance(t, DTensor) else t for name, t in tensors.items()}


def unpack(tensors: Mapping[str, Tensor], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put what `pack` took back in place, cut as this model is, however it was cut before."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_cut(tensors[f"model.{name}"], parameter))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, slot = key.split(".")
            slots.setdefault(int(index), {})[slot] = _cut(value, parameters[int(index)])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _cut(whole: Tensor, parameter: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor) or whole.dim() == 0:
        return whole
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(whole.to(parameter.device), mesh, placements, src_data_rank=None)  # each reads


@dataclass
class _Saved:
    """The files of one checkpoint that are there, of `parts`."""

    step: int
    parts: int
    paths: list[Path]

    @property
    def whole(self) -> bool:
        return len(self.paths) == self.parts

    def remove(self) -> None:
        for path in self.paths:
            path.unlink(missing_ok=True)  # another process of the run may have been faster

    def __str__(self) -> str:
        return str(self.paths[0])


def _newest_first(directory: Path) -> list[_Saved]:
    found: dict[tuple[int, int], dict[int, Path]] = {}
    for path in directory.glob("checkpoint-*"):
        if match := PATTERN.fullmatch(path.name):
            found.setdefault((int(match[1]), int(match[3] or 1)), {})[int(match[2] or 0)] = path
    ordered = ((key, [files[part] for part in sorted(files)]) for key, files in found.items())
    return [_Saved(*key, paths) for key, paths in sorted(ordered, reverse=True)]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file. Raises ValueError or SafetensorError for a torn or altered one."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata.pop("sha256", None) != _digest(metadata, tensors):
        raise ValueError(f"the checksum of {path.name} does not match")
    return tensors, metadata


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
