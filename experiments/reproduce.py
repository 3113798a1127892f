"""Recompute published figures: python -m experiments.reproduce tables=FOLDER hydra.run.dir=OUT"""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from analysis.reproductions import Figure, reproduce
from experiments.door import door
from scalelaw.run import write_atomically


@door("reproduce")
def main(cfg: DictConfig) -> None:
    figures = reproduce(Path(cfg.tables), **cfg.fit)
    for study, group in itertools.groupby(figures, key=lambda figure: figure.study):
        _show(Console(), study, group)
    out = Path(HydraConfig.get().runtime.output_dir) / "reproduce.json"
    result = {"settings": OmegaConf.to_container(cfg), "figures": [figure.to_json() for figure in figures]}
    write_atomically(out, json.dumps(result, indent=1, allow_nan=False) + "\n")
    Console().print(f"written to {out}", soft_wrap=True)


def _show(console: Console, study: str, figures: Iterable[Figure]) -> None:
    """A table on a terminal; elsewhere one line a figure."""
    figures = list(figures)
    if not console.is_terminal:
        for f in figures:
            print(f"{study}: {f.what}: published {f.published:.8g}, ours {f.ours:.8g}: {f.verdict}")
        return
    sources = ", ".join(dict.fromkeys(figure.source for figure in figures))
    table = Table("", "published", "ours", "verdict", title=study, caption=sources, title_justify="left")
    for f in figures:
        table.add_row(f.what, f"{f.published:.8g}", f"{f.ours:.8g}", f.verdict)
    console.print(table)


if __name__ == "__main__":
    main()
