"""Parts that misbehave once, to be named as `_target_` in a sweep."""

import gc
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from scalelaw.objectives.causal_lm import CausalLM


class DieOnce(CausalLM):
    """Sends its own process `number` at the given batch, the first time round."""

    def __init__(self, *, marker: str, at: int, number: int, documents: bool) -> None:
        super().__init__(documents=documents)
        self.marker, self.left, self.number = Path(marker), at, number

    def __call__(self, windows, generator):
        self.left -= 1
        if self.left == 0:
            with suppress(FileExistsError):  # it has happened already, here or in another worker
                self.marker.touch(exist_ok=False)
                self.strike()
        return super().__call__(windows, generator)

    def strike(self):
        os.kill(os.getpid(), self.number)


class DieWithParent(DieOnce):
    """As above, but the sweep's own process is the one to die."""

    def strike(self):
        parent = multiprocessing.parent_process()
        assert parent is not None
        os.kill(parent.pid, signal.SIGKILL)


class Struck(CausalLM):
    """Suffers, at the given batch, one fault whose file is in the folder: "kill" or "slow", each once."""

    def __init__(self, *, faults: str, at: int, documents: bool) -> None:
        super().__init__(documents=documents)
        self.faults, self.left, self.slow = Path(faults), at, False

    def __call__(self, windows, generator):
        self.left -= 1
        for fault in sorted(self.faults.iterdir()) if self.left == 0 else []:
            with suppress(FileNotFoundError):  # another run was struck by this one
                fault.unlink()
                if fault.name == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                self.slow = True
                break
        if self.slow:
            time.sleep(5)
        return super().__call__(windows, generator)


def die(cfg):
    """Asked what a run costs, its process dies."""
    os.kill(os.getpid(), signal.SIGKILL)


def collected(cfg) -> int:
    """For a price: 1 where modules were loaded without a look for garbage, are left alone, and all else is
    collected; else 0."""
    still = "hydra_plugins.scalelaw_local._still" in sys.modules
    return int(still and gc.isenabled() and gc.get_freeze_count() > 100_000)
