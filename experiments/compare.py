"""What groups of runs share and what a FLOP buys each: python -m experiments.compare table=RUNS"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from analysis.api import compare
from analysis.comparing.multipliers import Multiplier
from analysis.comparing.valleys import valleys
from analysis.law import plain
from experiments import tables
from experiments.door import door
from scalelaw.run import write_atomically


@door("compare")
def main(cfg: DictConfig) -> None:
    table, law = tables.read(cfg), instantiate(cfg.law)
    asked: Any = OmegaConf.to_container(cfg.compare)
    budgets = asked.pop("budgets") or _budgets(table.C)
    found = compare(table, law, budgets=budgets, **asked)
    for sentence in found.verdict:
        print(sentence)
    for one in found.multipliers.values():
        print("\n".join(_said(one)))
    made = valleys(found, table, budgets=budgets, factor=tables.number(cfg, "factor"))
    for one in made:
        against = (
            ""
            if one.ratio is None
            else f", {one.ratio:.2f}{_ends(one.ratio95, '.2f')} of {found.reference}'s"
        )
        print(
            f"{one.group} at C = {one.C:.2g}: N {one.factor:g} times off the best, {one.N_opt:.3g}, costs "
            f"{one.excess:.3f}{_ends(one.excess95, '.3f')} nats a token{against}"
        )
    out = Path(HydraConfig.get().runtime.output_dir) / "compare.json"
    result = {"provenance": tables.origin("experiments.compare", cfg)} | found.to_json()
    result["valleys"] = plain([one.to_json() for one in made])
    write_atomically(out, json.dumps(result, indent=1, allow_nan=False) + "\n")
    print(f"written to {out}")
    tables.own_up(table.attrs["unread"])


def _budgets(C: Any) -> list[float]:
    """The ends of what was trained, and the middle."""
    return np.geomspace(C.min(), C.max(), 3).tolist()


def _said(one: Multiplier) -> list[str]:
    rows: Any = one.table.itertuples()
    return [
        f"{one.group} needs {row.m:.2f} [{row.m_lo95:.2f}, {row.m_hi95:.2f}] times the compute of "
        f"{one.reference} at C = {row.C:.2g} ({row.status})"
        for row in rows
    ]


def _ends(pair: tuple[float, float] | None, form: str) -> str:
    return "" if pair is None else f" [{pair[0]:{form}}, {pair[1]:{form}}]"


if __name__ == "__main__":
    main()
