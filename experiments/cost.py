"""What models cost: python -m experiments.cost [model=gpt3], published ones or a plan of your own.

conf/cost.yaml says what there is to set. Writes OUT/cost.json and cost.md.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from analysis.models import Model, Text, compared, figures
from analysis.report.markdown import table
from experiments import tables
from experiments.door import door
from scalelaw.run import write_atomically

UNKNOWN = "undisclosed"
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


@door("cost")
def main(cfg: DictConfig) -> None:
    size, text = instantiate(cfg.bytes), instantiate(cfg.text)
    models = {name: _model(name, entry) for name, entry in cfg.model.items()}
    found = {name: figures(model, size) for name, model in models.items()}
    columns = [column(model, found[name]) for name, model in models.items()]
    header = [
        "",
        *(model.name if model.confirmed else f"{model.name} (unconfirmed)" for model in models.values()),
    ]
    rows = [[label, *(cells[label] for cells in columns)] for label in columns[0]]
    page = "\n\n".join([table(header, rows), *notes(models), of_text(text)])
    print(page)
    out = Path(HydraConfig.get().runtime.output_dir)
    result: dict[str, Any] = {
        name: one | {"stated": asdict(models[name].stated), "confirmed": models[name].confirmed}
        for name, one in found.items()
    }
    whole = {"models": result, "text": asdict(text) | text.told()}
    whole |= {"provenance": tables.origin("experiments.cost", cfg)}
    write_atomically(out / "cost.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    write_atomically(out / "cost.md", page + "\n")
    print(f"\nwritten to {out / 'cost.json'}")


def _model(name: Any, entry: DictConfig) -> Model:
    try:
        return instantiate(entry)
    except Exception as error:
        raise ValueError(f"model.{name}: {error.__cause__ or error}") from error


def column(model: Model, found: Mapping[str, Any]) -> dict[str, str]:
    """A model's figures in words, by the table's labels."""
    off, stated = compared(model, found), model.stated
    textbook = found["textbook"]
    error = None if textbook is None else textbook / found["parameters"] - 1
    return {
        "N, all parameters": _count(found["parameters"]),
        "stated": _beside(stated.parameters, off.get("parameters"), _count),
        "12 L E^2 + V E, the textbooks'": _beside(textbook, None if error is None else 1 + error, _count),
        "D, tokens": _count(found["tokens"]),
        "C, training FLOPs, counted": _flops(found["flops"]),
        "6 N D": _flops(found["flops_6nd"]),
        "C stated": _beside(stated.flops, off.get("flops"), _flops),
        "weights, GB": _giga(found["weights"]),
        "states of training, GB": _giga(found["training"]),
        "cache of a sequence, GB": _giga(found["cache"]),
        "device": model.hardware.name,
        "device-hours": _around(found, "hours"),
        "hours stated": _beside(stated.hours, off.get("hours"), _count),
        "MWh": _around(found, "mwh"),
        "MWh stated": _beside(stated.mwh, off.get("mwh"), _plain),
        "CO2, t": _around(found, "tonnes"),
        "CO2 stated": _beside(stated.tonnes, off.get("tonnes"), _plain),
    }


def notes(models: Mapping[str, Model]) -> list[str]:
    """What the figures rest on."""
    lines = [
        "In brackets: 95 % intervals from the doubt in utilisation, power, PUE and grid. Beside what is "
        "stated: how far our count is from it; beside the textbooks' N: how far that is from the exact one."
    ]
    for model in models.values():
        device, site = model.hardware, model.site
        if model.flops is not None:
            lines.append(
                f"{model.name}: {device.name} at {device.utilisation:.1%} of {device.peak:.3g} FLOP/s and "
                f"{device.watts:g} W, PUE {site.pue:g}, {site.carbon:g} g a kWh ({site.name})."
            )
        if not model.confirmed:
            lines.append(f"{model.name}: N and D are quoted and unconfirmed, and all that follows from them.")
    return lines


def of_text(text: Text) -> str:
    told = text.told()
    return (
        f"{text.size:.3g} bytes of text in {text.parameters:.3g} parameters are {told['raw']:.3g} bits a "
        f"parameter, or {told['compressed']:.3g} at {text.bits_per_byte:g} bits a byte; at "
        f"{text.capacity:g} bits a parameter {told['stored']:.0%} of it can be stored at most."
    )


def _beside(value: float | None, ratio: float | None, write: Any) -> str:
    if value is None:
        return "-"
    return write(value) + ("" if ratio is None else f" ({ratio - 1:+.1%})")


def _around(found: Mapping[str, Any], key: str) -> str:
    if found[key] is None:
        return UNKNOWN
    write = _count if key == "hours" else _plain
    low, high = found[f"{key}95"]
    return f"{write(found[key])} [{write(low)}, {write(high)}]"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _count(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    unit, word = next((pair for pair in UNITS if value >= pair[0]), (1, ""))
    return f"{value / unit:,.4g}{word}"


def _flops(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}"


def _giga(value: float | None) -> str:
    return UNKNOWN if value is None else _plain(value / 1e9)


if __name__ == "__main__":
    main()
