"""Where a result comes from: machine, versions, commit."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_FROZEN: list[str | None] = []
PACKAGES = ("torch", "numpy", "scipy", "pandas", "wandb", "safetensors", "tokenizers", "scalelaw")


def provenance(command: str) -> dict[str, Any]:
    """Everything a reader needs to run the same thing again."""
    return {
        "command": command,
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "threads": _threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def freeze(commit: str | None) -> None:
    """Say from now on that the code is of this commit: a sweep's workers run what was there at its start,
    whatever the checkout has become since."""
    _FROZEN.append(commit)


def utc() -> str:
    """Now, in ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str | None:
    """The commit of the checkout this code runs from, "+dirty" when it was changed; None outside git."""
    if _FROZEN:
        return _FROZEN[-1]
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+dirty" if changed else "")


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


@cache  # eight runs in a process ask eight times, and it is the same one
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def _threads() -> int | None:
    """Those of torch where a run uses it; a fit does not, and loading it would take longer than the fit."""
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else os.cpu_count()


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
