"""Folders in Hugging Face's format: config.json, safetensors, and a tokenizer of the tokenizers library.

Tensors are read from safetensors alone: no pickle, and no code that a folder brings along.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scalelaw import weights
from scalelaw.contracts import SEPARATOR, BadInput
from scalelaw.data.tokens import END, FILE, Tokenizer

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def write(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokenizer: Tokenizer | None
) -> None:
    """A new folder that transformers loads. tokenizer: None where the tokens are no text's.

    Raises BadInput for a folder that holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"to={folder} is there already, and not empty")
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        window = config["max_position_embeddings"]
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "model_max_length": window}
        _write(folder / FILE, tokenizer.portable())
        _write(folder / "tokenizer_config.json", about | {"clean_up_tokenization_spaces": False})
    weights.write(folder / WEIGHTS, tensors, {"format": "pt"})
    # A document begins after a separator, and ends with one.
    _write(folder / CONFIG, dict(config) | {"bos_token_id": SEPARATOR, "eos_token_id": SEPARATOR})


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and all tensors of a folder, of one file or several.

    Raises BadInput naming the file that is not there or cannot be read.
    """
    config = _read(folder / CONFIG)
    files = {WEIGHTS}
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        files = set(_read(folder / INDEX)["weight_map"].values())
    tensors: dict[str, Tensor] = {}
    for path in (folder / Path(name).name for name in sorted(files)):
        tensors |= weights.read(path)
    return config, tensors


def vocabulary(folder: Path) -> dict[str, int] | None:
    """What the folder's tokenizer calls each token; None where it has none."""
    return _read(folder / FILE)["model"]["vocab"] if (folder / FILE).exists() else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path} holds no object")
    return content
