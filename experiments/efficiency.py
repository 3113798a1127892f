"""What architectures cost at equal N and equal C: python -m experiments.efficiency

conf/efficiency.yaml says what there is to set. Writes OUT/results.json, table.md and efficiency.svg.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from analysis.efficiency import CAUSAL, REFERENCE, Claim, Ratio, claims, speeds
from analysis.law import plain
from analysis.plots import efficiency as plot
from analysis.plots.style import look, svg
from analysis.report.markdown import table
from experiments import tables
from experiments.door import door
from experiments.turns import CLIP, Setting, contestants, turns
from scalelaw.peak import rate
from scalelaw.run import write_atomically
from scalelaw.step import PRECISIONS, check

SQUARE = 1024  # a product that is as fast as any on most machines
HEAD = ("architecture", "equal", "prefix + target", "blocks a stack", "N", "MFLOP a token", "tokens/s")
HEAD += ("of the peak", "activations, MB a row", "cache, kB a sequence")


@door("efficiency")
def main(cfg: DictConfig) -> None:
    torch.set_num_threads(int(tables.number(cfg, "threads", whole=True, least=1)))
    tables.number(cfg, "rounds", whole=True, least=2)
    setting = Setting(**{str(key): cfg[key] for key in Setting.__dataclass_fields__})
    check(setting.precision, setting.device, CLIP)
    makes, shape = instantiate(cfg.architectures), instantiate(cfg.shape)
    splits, growth = _splits(cfg.splits), [(T // 2, T - T // 2) for T in cfg.growth]
    every = {split: contestants(makes, shape, split, setting) for split in (*splits, *growth)}
    peak = _peak(shape, setting)
    rows = turns([(it, split) for split in splits for it in every[split]], setting)
    pair = {(CAUSAL, "N"), (REFERENCE, "reference")}
    both = [(it, split) for split in growth for it in every[split] if (it.architecture, it.match) in pair]
    grown = turns(both, setting)
    found = claims(rows, grown)
    origin = tables.origin("experiments.efficiency", cfg)
    page = "\n\n".join([_heading(origin, peak, setting), judged(found), told(rows, peak), told(grown, peak)])
    print(page)
    out = Path(HydraConfig.get().runtime.output_dir)
    result: dict[str, Any] = {"peak": peak, "splits": rows, "growth": grown}
    result["claims"] = [asdict(claim) | {"verdict": claim.verdict} for claim in found]
    write_atomically(
        out / "results.json", json.dumps(plain(result | {"provenance": origin}), indent=1) + "\n"
    )
    write_atomically(out / "table.md", page + "\n")
    with look():
        write_atomically(out / "efficiency.svg", svg(plot.draw(rows, peak), "efficiency") + "\n")
    print(f"\nwritten to {out}")


def _splits(given: Any) -> list[tuple[int, int]]:
    splits: Any = OmegaConf.to_container(given)
    windows = {sum(split) for split in splits}
    if len(splits) < 2 or len(windows) != 1:
        raise ValueError(f"splits={splits}: takes two or more splits of one window")
    return [(prefix, target) for prefix, target in splits]


def _peak(shape: Any, setting: Setting) -> float:
    """FLOP/s of the fastest product, of the model's own sizes or a large square."""
    kind = PRECISIONS[setting.precision] or torch.float32
    own = [(setting.batch_tokens, shape.width, n) for n in (3 * shape.width, 2 * shape.ffn_width)]
    shapes = [*own, (SQUARE, SQUARE, SQUARE)]
    return max(rate(m, k, n, kind, setting.device) for m, k, n in shapes)


def _heading(origin: dict[str, Any], peak: float, setting: Setting) -> str:
    return (
        f"{tables.signed(origin)}, seed {setting.seed}, {setting.rounds} rounds, {setting.precision}; "
        f"the fastest matrix product {peak / 1e9:.0f} GFLOP/s."
    )


def judged(found: list[Claim]) -> str:
    """A line a claim."""
    return table(
        ("claim", "ratio of", "found", "verdict"),
        [(claim.says, claim.what, _written(claim.found), claim.verdict) for claim in found],
    )


def told(rows: list[dict[str, Any]], peak: float) -> str:
    return table(HEAD, [_cells(row, peak) for row in rows])


def _cells(row: dict[str, Any], peak: float) -> tuple[str, ...]:
    speed, window = speeds(row, peak), row["prefix"] + row["target"]
    rate, use = speed["tokens_per_second"], speed["utilisation"]
    return (
        row["architecture"].replace("_", " "),
        row["match"],
        f"{row['prefix']} + {row['target']}",
        f"{row['depth']}",
        f"{row['N']:,}",
        f"{row['flops'] / window / 1e6:.2f}",
        f"{rate.value:,.0f} [{rate.low:,.0f}, {rate.high:,.0f}]",
        f"{use.value:.1%} [{use.low:.1%}, {use.high:.1%}]",
        f"{row['activations'] / 1e6:.2f}",
        f"{row['cache'] / 1e3:.0f}",
    )


def _written(ratio: Ratio) -> str:
    if math.isnan(ratio.value):
        return "too noisy"
    if ratio.low == ratio.high:
        return f"{ratio.value:.3f}"
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


if __name__ == "__main__":
    main()
