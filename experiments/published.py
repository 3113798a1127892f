"""A law whose parameters are known, from conf/published or from the user's own fit.json."""

import json
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from analysis.designing.afford import Known


def known(cfg: DictConfig) -> Known:
    """`cfg.fit` where it is given, else `cfg.published`. Raises ValueError naming the file, OSError."""
    if cfg.fit is None:
        plain: Any = OmegaConf.to_container(cfg.published, resolve=True)
        return Known(**plain | {"law": instantiate(cfg.published.law)})
    try:
        content = json.loads(Path(cfg.fit).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise ValueError(f"fit={cfg.fit}: is not what experiments.fit writes ({error})") from error
    return Known.of_fit(content, name=f"fit={cfg.fit}", part=cfg.part)
