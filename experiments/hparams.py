"""Laws of the best learning rate and batch: python -m experiments.hparams runs=outputs/hparams"""

import json
from pathlib import Path

from omegaconf import DictConfig

from analysis.plots import tuning
from analysis.plots.style import look, svg
from analysis.report.results import provenance
from analysis.tuning import grids, hparams
from analysis.tuning.hparams import Tuned
from experiments.door import door
from experiments.tables import origin, own_up
from scalelaw.run import records, write_atomically


@door("hparams")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.runs)
    unread: dict[str, str] = {}
    runs = [run for _, run in records(folder, unread)]
    tuned = hparams.tune(runs, transfer=cfg.transfer)
    for name, found in tuned.items():
        _tell(name, found)
    result = {
        "schema": hparams.SCHEMA,
        "provenance": origin("experiments.hparams", cfg) | {"runs": provenance(runs)},
        "architectures": {name: found.to_json() for name, found in tuned.items()},
    }
    write_atomically(folder / "hparams.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    with look():
        figure = tuning.draw(
            grids.table(runs, transfer=cfg.transfer), {name: found.cells for name, found in tuned.items()}
        )
        write_atomically(folder / "hparams.svg", svg(figure, "hparams") + "\n")
    print(f"written to {folder}: hparams.json, hparams.svg")
    own_up(unread)


def _tell(name: str, found: Tuned) -> None:
    for cell in found.cells:
        for tried in cell.batches:
            best = tried.rate
            print(
                f"{cell.name}, batch {tried.batch_tokens}: best lr {best.value:.4g} ({best.status}), "
                f"loss {best.loss:.4f}"
            )
        rate = "" if cell.rate is None else f", lr {cell.rate:.4g} there"
        print(f"{cell.name}: best batch {cell.batch.value:.0f} tokens ({cell.batch.status}){rate}")
    for law, power in found.laws.items():
        print(f"{name}, {law} = {power.formula()}, scatter {power.scatter:.1%}")
    for law, why in found.refused.items():
        print(f"{name}, {law}: {why}")
    for said in found.undertuned:
        print(f"warning: {said}")


if __name__ == "__main__":
    main()
