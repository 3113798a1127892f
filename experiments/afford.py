"""What can I afford? python -m experiments.afford gpu_hours=100 hardware=h100 published=besiroglu

conf/afford.yaml says what else there is to set. Writes OUT/afford.json.
"""

import json
from dataclasses import asdict
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from analysis import costs
from analysis.costs import Cost, Hardware, Site
from analysis.designing.afford import Affordable, affordable
from experiments import tables
from experiments.door import door
from experiments.published import known
from scalelaw.run import write_atomically

UNITS = {"N_opt": "parameters", "D_opt": "tokens", "loss": "nats per token"}


@door("afford")
def main(cfg: DictConfig) -> None:
    hardware, site, law = instantiate(cfg.hardware), instantiate(cfg.site), known(cfg)
    C = costs.flops({key: cfg[key] for key in costs.BUYS}, hardware, site)
    found = affordable(law, C, flops=cfg.flops_per_token_parameter)
    spent = costs.cost(hardware.hours(C), hardware, site)
    console = Console(highlight=False)
    console.print(f"under {law.name}", soft_wrap=True)
    for line in (*told(found), *factors(spent, hardware, site)):
        console.print(line, soft_wrap=True)
    out = Path(HydraConfig.get().runtime.output_dir) / "afford.json"
    result = asdict(found) | {"law": law.name, "cost": asdict(spent)}
    result |= {"provenance": tables.origin("experiments.afford", cfg)}
    write_atomically(out, json.dumps(result, indent=1, allow_nan=False) + "\n")
    console.print(f"written to {out}", soft_wrap=True)


def told(found: Affordable) -> list[str]:
    """The optimum in words, a line each."""
    lines = [f"C      {found.C:.3g} FLOPs"]
    for name, unit in UNITS.items():
        pair = found.interval95.get(name)
        digits = ".3f" if name == "loss" else ".3g"
        between = "" if pair is None else f", 95 % interval {pair[0]:{digits}} to {pair[1]:{digits}}"
        lines.append(f"{name:6} {getattr(found, name):{digits}} {unit}{between}")
    if found.beyond:
        lines.append("no interval: C is outside the budgets that the fit has intervals for")
    elif not found.interval95:
        lines.append("no interval: the fit comes without one")
    return lines


def factors(spent: Cost, hardware: Hardware, site: Site) -> list[str]:
    """The cost in words, and the factors that it rests on."""
    price = "" if spent.price is None else f", {spent.price:,.4g} at {hardware.price:g} an hour"
    return [
        f"{spent.hours:,.4g} device-hours ({hardware.name}), {spent.kwh:,.4g} kWh, "
        f"{grams(spent.grams)} of CO2{price}",
        f"stated, not measured: {hardware.watts:g} W a device, PUE {site.pue:g}, {site.carbon:g} g of CO2 a "
        f"kWh ({site.name})",
    ]


def grams(amount: float) -> str:
    for unit, size in (("t", 1e6), ("kg", 1e3)):
        if amount >= size:
            return f"{amount / size:,.3g} {unit}"
    return f"{amount:.3g} g"


if __name__ == "__main__":
    main()
