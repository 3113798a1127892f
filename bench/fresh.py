"""A function in a process of its own, so that no measurement finds the memory or the caches of another."""

import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# What sweeps set for their workers, here for every contestant alike: one thread, and freed blocks that stay
# in the process instead of being mapped and zeroed anew at each step.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "TOKENIZERS_PARALLELISM": "false",
}


def fresh(function: Callable[..., Any], **arguments: Any) -> Any:
    """The function's answer, computed on one thread in a new process; all must be JSON.

    Raises RuntimeError with the last line of what it said when it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.fresh", function.__module__, function.__name__],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = (done.stderr.strip() or "ended without a word").splitlines()
        raise RuntimeError(f"{function.__name__}({arguments}): {said[-1]}")
    return json.loads(lines[-1])


def main(module: str, name: str) -> None:
    import torch

    warnings.simplefilter("ignore")  # peers' advice about their own versions
    torch.set_num_threads(1)
    answer = getattr(importlib.import_module(module), name)(**json.load(sys.stdin))
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
