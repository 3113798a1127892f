"""A run's learning rate and batch from a fitted law: `${tuned:lr,FILE}`, `${tuned:rows,FILE}` in its config.

FILE is the hparams.json of `experiments.hparams`. The config that a run is known by holds the numbers:
whatever file or hand they came from, the same numbers are the same run.
"""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:  # loaded when a law is asked for: other runs need not wait for pandas and scipy
    from analysis.tuning.hparams import Advice

log = logging.getLogger(__name__)
KNOBS = ("lr", "rows")


def tuned(knob: str, file: str, *, _root_: DictConfig) -> float | int:
    """The value of `optimizer.lr` or `rows` that the law in `file` gives for this config's N, D and batch.

    Raises ValueError for another knob, a file that holds no law for the run's architecture, optimizer and
    schedule, or a law that its study could not determine; OSError for a file that is not there.
    """
    if knob not in KNOBS:
        raise ValueError(f"tuned:{knob},{file}: only {' and '.join(KNOBS)} have a law")
    from analysis.tuning.hparams import choose
    from experiments.sizes import sizes

    advice = choose(_load(file), _recipe(_root_))
    if knob == "rows":  # D first: a budget is met in whole batches, which hardly moves it
        D = sizes(_root_, batch_tokens=_root_.window)["D"]
        return _told(*advice.rows(D=D, window=_root_.window), knob, advice)
    batch_tokens = _root_.rows * _root_.window
    lr, beyond = advice.lr(**sizes(_root_, batch_tokens=batch_tokens), batch_tokens=batch_tokens)
    # The last digits of a fit are its library's: they are not to make another run.
    return _told(float(f"{lr:.4g}"), beyond, knob, advice)


def _recipe(cfg: DictConfig) -> dict[str, Any]:
    """As `analysis.tuning.grids` reads it off a record: everything but the rate."""
    from analysis.tuning.grids import RECIPE

    found: dict[str, Any] = {}
    for name in RECIPE:
        keys = [key for key in cfg[name] if (name, key) != ("optimizer", "lr")]
        found[name] = OmegaConf.to_container(OmegaConf.masked_copy(cfg[name], keys), resolve=True)
    return found


@cache  # a sweep asks for every one of its runs, several times
def _load(file: str) -> list["Advice"]:
    from analysis.tuning.hparams import load

    return load(Path(file))


@cache
def _warn(text: str) -> None:
    log.warning(text)


def _told(value: Any, beyond: list[str], knob: str, advice: "Advice") -> Any:
    if beyond:
        _warn(f"{advice.source}: {knob}={value} is extrapolated: {', '.join(beyond)}")
    return value


OmegaConf.register_new_resolver("tuned", tuned, replace=True)
