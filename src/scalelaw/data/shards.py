"""Token shards on disk: train.bin, val.bin and the meta.json that vouches for them.

A directory is written whole or not at all, and named by a hash of everything that decides its content.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from scalelaw.contracts import BadInput

FORMAT = 1  # counts up with any change of the files or of the way text becomes tokens
META = "meta.json"
STAMP = "verified.json"
FILES = {"train": "train.bin", "validation": "val.bin"}


def directory_for(cache: Path, name: str, identity: Mapping) -> Path:
    """The directory of these shards: equal identities share it, any difference parts them."""
    content = json.dumps({"format": FORMAT, **identity}, sort_keys=True)
    return cache / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def build_once(directory: Path, build: Callable[[Path], None]) -> None:
    """Let `build` fill a directory next to `directory` and move it there in one step.

    Where several processes build at once the first to finish wins, and the others use its files.
    """
    if directory.exists():
        return
    scratch = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise BadInput(f"data.cache={directory.parent}: {error.strerror}") from None
    try:
        build(scratch)
        scratch.rename(directory)
    except OSError:
        if not directory.exists():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write(directory: Path, streams: Mapping[str, Sequence[np.ndarray]], vocab_size: int, about: dict) -> None:
    """Write the documents of either side, a separator (token 0) after each, and meta.json."""
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    meta = {"format": FORMAT, "vocab_size": vocab_size, "dtype": dtype.str, **about}
    for side, documents in streams.items():
        digest, tokens = hashlib.sha256(), 0
        with (directory / FILES[side]).open("wb") as file:
            for document in documents:
                ended = np.append(document.astype(dtype), dtype.type(0))
                file.write(ended.tobytes())
                digest.update(ended.tobytes())
                tokens += len(ended)
        meta |= {f"{side}_tokens": tokens, f"{side}_sha256": digest.hexdigest()}
    (directory / META).write_text(json.dumps(meta, indent=1, sort_keys=True), encoding="utf-8")


def load(directory: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """meta.json and the memory-mapped tokens of either side, checked against it.

    Raises BadInput naming the file that is missing, truncated or altered.
    """
    path = directory / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        dtype = np.dtype(meta["dtype"])
        expected = {side: meta[f"{side}_tokens"] * dtype.itemsize for side in FILES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be read ({error!r}): delete {directory} to build it again") from None
    for side, name in FILES.items():
        check_size(directory / name, expected[side])
    check_content(directory, meta)
    return meta, {
        side: np.memmap(directory / name, dtype=dtype, mode="r").view(np.ndarray)
        for side, name in FILES.items()
    }


def check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size if path.exists() else 0
    if size != expected:
        raise BadInput(
            f"{path} holds {size} bytes, {META} promises {expected}: delete {path.parent} to build it again"
        )


def check_content(directory: Path, meta: dict) -> None:
    """Compare checksums; files untouched since they last passed are taken at their word."""
    state: dict[str, object] = {META: meta}
    for name in FILES.values():
        status = (directory / name).stat()
        state[name] = [status.st_size, status.st_mtime_ns]
    stamp = directory / STAMP
    try:
        if json.loads(stamp.read_text(encoding="utf-8")) == state:
            return
    except (OSError, ValueError):
        pass  # no stamp, or a torn one: check again
    for side, name in FILES.items():
        with (directory / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != meta[f"{side}_sha256"]:
                raise BadInput(
                    f"{directory / name} differs from its checksum: delete {directory} to build it again"
                )
    with suppress(OSError):  # a read-only cache is checked on every opening
        stamp.write_text(json.dumps(state), encoding="utf-8")
