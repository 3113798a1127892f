"""A finished run's weights, for whatever comes after training: generation, export, stages, measures."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from scalelaw.contracts import BadInput
from scalelaw.run import WEIGHTS


def whole(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter once, by its name, on the CPU; one that is cut over processes is put together, in all
    of them, so that each has to ask."""
    for name, parameter in model.named_parameters():
        tensor = parameter.detach()
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        yield name, tensor.contiguous().cpu()


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file in one step. Raises OSError, on a full disk too."""
    temporary = path.with_suffix(".tmp")
    try:
        save_file(dict(tensors), temporary, metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except SafetensorError as error:  # its writer reports a full disk as an error of its own kind
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises BadInput naming one that is not there or is torn."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error


def save(directory: Path, run: str, tensors: Mapping[str, Tensor]) -> None:
    """Leave a run's weights in its folder. Raises OSError, on a full disk too."""
    write(directory / WEIGHTS, tensors, {"run": run})


def load(directory: Path, model: nn.Module) -> None:
    """Put a run's weights into a model of its shape.

    Raises BadInput naming the file when there are none, when it is torn, or when it is of another model.
    """
    path = directory / WEIGHTS
    if not path.exists():
        raise BadInput(f"{path} is not there: a run keeps its weights with checkpoints.weights=true")
    tensors = read(path)
    try:
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise BadInput(f"{path} holds another model: {' '.join(str(error).split())}") from error
    if missing or unexpected:
        raise BadInput(f"{path} holds another model: missing {missing}, unexpected {unexpected}")
