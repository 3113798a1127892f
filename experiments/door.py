"""The one way in: Hydra's decorator with the project's conf/ folder, and errors told in one line."""

import atexit
import difflib
import functools
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).resolve().parents[1] / "conf"
TRACEBACK = (
    "HYDRA_FULL_ERROR"  # Hydra's own switch: with it set to 1 by the user, errors keep their traceback
)
OURS = "SCALELAW_ERRORS"  # tells a worker that the switch it inherited was set by a door, not by the user
FULL_ERROR = os.environ.get(TRACEBACK) == "1" and OURS not in os.environ

atexit.register(gc.freeze)  # or Python looks through all of torch for garbage before it ends: half a second


def door(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Turn `main(cfg)` into a command that reads conf/<config_name>.yaml and overrides from argv.

    A value the user got wrong (ValueError, OSError, or anything Hydra refuses) ends in one line on stderr
    and exit status 1. Anything else is a defect of ours and keeps its traceback.
    """

    def decorate(main: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(main)
        def task(cfg: DictConfig) -> Any:
            try:
                return main(cfg)
            except Exception as error:
                with suppress(
                    OSError
                ):  # the folder Hydra made for a run that never began; others are not empty
                    Path(HydraConfig.get().runtime.output_dir).rmdir()
                # A sweep collects its jobs' errors itself; a single run speaks here, before Hydra adds to it.
                if FULL_ERROR:
                    raise
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise cause(error) from None
                raise SystemExit(tell(error, config_name)) from error

        @functools.wraps(main)
        def command() -> None:
            # So that Hydra raises instead of formatting errors its own way.
            os.environ |= {TRACEBACK: "1"} | ({} if FULL_ERROR else {OURS: "one line"})
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()
            except KeyboardInterrupt:
                print("interrupted: the same command goes on from here", file=sys.stderr)
                raise SystemExit(130) from None  # what shells expect of Ctrl-C
            except Exception as error:
                if FULL_ERROR:
                    raise
                raise SystemExit(tell(error, config_name)) from error

        return command

    return decorate


def tell(error: Exception, config_name: str) -> int:
    """Print the error as one line and return the exit status; re-raise what the user cannot have caused."""
    error = cause(error)
    if not isinstance(error, ValueError | OSError | HydraException | OmegaConfBaseException):
        raise error
    message = _misspelt(error, config_name) or str(error).split("Config search path:")[0]
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 1


def cause(error: Exception) -> Exception:
    """What the user got wrong, without the wrapping of the part that noticed."""
    wrapped = isinstance(error, InstantiationException) and isinstance(error.__cause__, ValueError | OSError)
    return error.__cause__ if wrapped else error  # pyright: ignore[reportReturnType]


def _misspelt(error: Exception, config_name: str) -> str | None:
    """For a key that conf/ does not have: its name and the nearest one that exists."""
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None) or getattr(cause, "key", None)
    if not isinstance(error, ConfigCompositionException) or "is not in struct" not in str(cause) or not key:
        return None
    options = [argument for argument in sys.argv[1:] if re.fullmatch(r"[\w/@]+=[\w/]+", argument)]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:  # with the options chosen, since they bring keys of their own
            known = set(_keys(hydra.compose(config_name, options)))
        except HydraException:
            known = set(_keys(hydra.compose(config_name)))
    # "D" means budget.D before it means anything that is merely spelt alike.
    near = [name for name in known if name.endswith(f".{key}")]
    near = near or difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    return f"unknown key '{key}'" + (f": did you mean '{near[0]}'?" if near else f" in {config_name}.yaml")


def _keys(cfg: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(cfg, DictConfig):
        for key in cfg:
            yield f"{prefix}{key}"
            if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, str(key)):
                yield from _keys(cfg[key], f"{prefix}{key}.")
