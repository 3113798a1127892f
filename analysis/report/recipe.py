"""What the runs of one law share: they differ in size, tokens, architecture and seed, and in nothing else."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scalelaw.run import Run

VARIED = {"architecture", "objective", "shape", "budget", "seed"}
CHECKSUMS = ("train_sha256", "validation_sha256")


def check_common(root: Path, runs: Iterable[Run]) -> None:
    """Raise ValueError naming the first setting in which finished runs differ though one law needs it equal.

    A run with an empty config (a synthetic one) says nothing, and agrees with all.
    """
    seen: dict[str, Any] = {}
    for run in runs:
        if not run.finished:
            continue
        theirs = settings(run)
        seen = seen or theirs
        # In the order of the config; settings that only one of the two has are differences, too.
        for key in (*seen, *theirs) if theirs else ():
            ours, other = seen.get(key, "absent"), theirs.get(key, "absent")
            if ours != other:
                raise ValueError(
                    f"runs under {root} differ in {key} ({ours}, {other}): a law needs one recipe; "
                    "give the others a folder of their own"
                )


def settings(run: Run) -> dict[str, Any]:
    """By dotted key: the config without what a study varies, and the checksums of the data."""
    config = {key: value for key, value in run.config.items() if key not in VARIED}
    data = run.provenance.get("data") or {}
    return _dotted(config) | {f"data.{name}": data[name] for name in CHECKSUMS if name in data}


def _dotted(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _dotted(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat
