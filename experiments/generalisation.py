"""Loss and error on seen and unseen text: python -m experiments.generalisation runs=outputs/generalisation

conf/generalisation.yaml says what there is to set. Writes generalisation.json and .md beside the runs.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor

from analysis import generalisation
from analysis.report.markdown import table
from experiments.door import door
from experiments.saved import Saved, saved
from experiments.tables import number, origin, signed
from scalelaw.evaluate import CHUNK, conditional
from scalelaw.run import records, write_atomically

HEAD = (
    "architecture",
    "epochs",
    "N",
    "seeds",
    "seen",
    "unseen",
    "gap, nats a token",
    "gap in error",
    "bound",
)


@door("generalisation")
def main(cfg: DictConfig) -> None:
    rows, delta = int(number(cfg, "rows", whole=True, least=1)), number(cfg, "delta")
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta:g}: is a probability")
    folder = Path(cfg.runs)
    found = [measured(saved(at, Path(cfg.cache)), rows) for at, run in records(folder) if run.finished]
    if not found:
        raise ValueError(f"runs={folder}: holds no finished run")
    runs = pd.DataFrame(found)
    cells, grown = generalisation.gaps(runs, delta), generalisation.growth(runs)
    lines = generalisation.verdict(cells, grown)
    page = "\n\n".join([table(HEAD, [_cells(row) for _, row in cells.iterrows()]), *lines])
    print(page)
    growth = {f"{name}, {epochs}": it and asdict(it) for (name, epochs), it in grown.items()}
    clean = cells.astype(object).where(cells.notna(), None)
    result: dict[str, Any] = {
        "runs": found,
        "cells": clean.to_dict("records"),
        "growth": growth,
        "verdict": lines,
    }
    made = origin("experiments.generalisation", cfg)
    result |= {"provenance": made}
    write_atomically(folder / "generalisation.json", json.dumps(result, indent=1, default=float) + "\n")
    write_atomically(folder / "generalisation.md", f"{signed(made)}.\n\n{page}\n")


def measured(it: Saved, rows: int) -> dict[str, Any]:
    """A run's loss in nats a token and its error on `rows` windows that it was trained on, spread evenly over
    its training, and on as many of the validation text: the second half of each given the first."""
    run, source = it.run, it.source
    read = run.D // run.window  # windows, in the order of the stream
    positions = np.unique(np.arange(rows) * read // rows)
    seen = [source.windows(int(at), 1, window=run.window, seed=run.seed) for at in positions]
    texts = {"seen": torch.cat(seen), "unseen": source.validation(rows, window=run.window)}
    row: dict[str, Any] = {key: getattr(run, key) for key in ("run", "architecture", "seed", "N", "D")}
    row["unique_tokens"] = run.unique_tokens
    for name, windows in texts.items():
        row[f"{name}_loss"], row[f"{name}_error"] = _scored(it, windows)
    return row


def _scored(it: Saved, windows: Tensor) -> tuple[float, float]:
    prefix, nll, wrong, tokens = it.run.window // 2, 0.0, 0, 0
    with torch.no_grad():
        for chunk in windows.split(CHUNK):
            logits = it.model(conditional(chunk, prefix))[:, -(chunk.shape[1] - prefix) :]
            right = chunk[:, prefix:]
            log_p = logits.double().log_softmax(-1)
            nll -= float(log_p.gather(-1, right[..., None]).sum())
            wrong += int((log_p.argmax(-1) != right).sum())
            tokens += right.numel()
    return nll / tokens, wrong / tokens


def _cells(row: Any) -> tuple[str, ...]:
    return (
        row.architecture.replace("_", " "),
        f"{row.epochs}",
        f"{row.N:,}",
        f"{row.seeds}",
        f"{row.seen_loss:.3f}",
        f"{row.unseen_loss:.3f}",
        f"{row.gap_loss:+.3f}{_interval(row.loss_lo95, row.loss_hi95)}",
        f"{row.gap_error:+.3f}{_interval(row.error_lo95, row.error_hi95)}",
        f"{row.bound:.2f}" if row.bound < 1 else "none",
    )


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f" [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
