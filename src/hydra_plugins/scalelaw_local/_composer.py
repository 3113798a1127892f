"""The configs of a study's runs. Hydra composes one in a tenth of a second, and a study has hundreds, most of
which differ from another in plain values alone: those are composed once, and have their values set."""

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf


class Composer:
    """Composes as `ConfigLoader.load_sweep_config` does, on top of the master config `base`."""

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        self.loader, self.base = loader, base
        self.parser = OverridesParser.create()
        self.known: dict[tuple[str, ...], DictConfig] = {}
        self.groups: dict[str, bool] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        parsed = self.parser.parse_overrides(list(overrides))
        values = [override for override in parsed if self._plain(override)]
        # What is not a plain value decides how the rest is composed; of values the keys have to be the same.
        kind = tuple((o.key_or_group if o in values else o.input_line) or "" for o in parsed)
        if kind not in self.known:
            self.known[kind] = self.loader.load_sweep_config(self.base, list(overrides))
        config = copy.deepcopy(self.known[kind])
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value())
        own = [o for o in parsed if not o.is_hydra_override()]
        config.hydra.overrides.task = [o.input_line for o in own]
        naming = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            own, kv_sep=naming.kv_sep, item_sep=naming.item_sep, exclude_keys=naming.exclude_keys
        )
        return config

    def _plain(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self.groups:
            self.groups[key] = bool(self.loader.get_group_options(key, results_filter=None))
        value = override.value()
        scalar = isinstance(value, str | int | float | bool) or value is None
        plain = override.type == OverrideType.CHANGE and scalar and not override.is_hydra_override()
        return plain and not self.groups[key] and "${" not in str(value)
