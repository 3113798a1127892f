"""What a study leaves for others to read: runs.csv, fits.json, and the rows a terminal shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.fits import undetermined, verdict
from analysis.law import plain
from analysis.report.holdout import FITTED, HELD_OUT, LEFT_OUT
from analysis.report.study import SURFACE, Study, each
from scalelaw.run import Run


def runs_csv(study: Study) -> str:
    """The runs table; the same runs give the same bytes."""
    table = study.runs.copy()
    for name in table:
        # A count that one architecture lacks has made its column a float: 13824.0 is no number of parameters.
        if name in ("N", "D") or str(name).startswith("N_"):
            table[name] = table[name].astype("Int64")
    return table.to_csv(index=False, lineterminator="\n")


def fits_json(study: Study) -> dict[str, Any]:
    """All fits and what they say, as plain JSON values without a time in them."""
    laws = {
        law: {a: fit.to_json() | {"undetermined": undetermined(fit)} for a, fit in fits.items()}
        | {a: {"law": law, "status": f"not fitted: {why}"} for a, why in study.refused[law].items()}
        for law, fits in study.fits.items()
    }
    budgets = decades(study)
    frontiers = {
        a: {"C": budgets.tolist()}
        | {
            k: v.tolist()
            for k, v in study.frontier(a, budgets)[["N", "D", "loss", "lo95", "hi95", "inside"]].items()
        }
        | {"closed_form_6ND": fit.optimum(budgets)}
        for a, fit in study.fits.get(SURFACE, {}).items()
    }
    return plain(
        {
            "fitted_on": {a: _extent(study.of(a, FITTED)) for a in study.architectures},
            "held_out": {a: _extent(study.of(a, HELD_OUT)) for a in study.architectures},
            "left_out": {
                row.run: {"status": row.status, "reason": row.reason}
                for row in each(study.runs.loc[study.runs.role == LEFT_OUT])
            }
            | {name: {"status": NO_RECORD, "reason": why} for name, why in study.unrecorded.items()},
            "laws": laws,
            "predictions": study.predictions.to_dict("records"),
            "frontier": frontiers,
            "isoflop": study.isoflop,
            "provenance": provenance(study.origins),
        }
    )


def _extent(its: pd.DataFrame) -> dict[str, Any]:
    if its.empty:
        return {"runs": []}
    return {"runs": its.run.tolist()} | {x: its[x].agg(["min", "max"]).tolist() for x in ("N", "D", "C")}


def provenance(runs: Sequence[Run]) -> dict[str, list]:
    """The different values that the runs' records hold of each thing that a repetition needs."""
    out: dict[str, list] = {
        name: sorted({getattr(run, name) for run in runs}) for name in ("study", "data", "seed")
    }
    for name in ("command", "commit", "machine", "python"):
        out[name] = sorted({str(run.provenance[name]) for run in runs if run.provenance.get(name)})
    return out


def decades(study: Study) -> np.ndarray:
    """Budgets to plan for: powers of ten from the cheapest run to one decade beyond the dearest."""
    low, high = np.log10(study.finished.C.min()), np.log10(study.finished.C.max())
    return 10.0 ** np.arange(np.ceil(low), np.floor(high) + 2)


NO_RECORD = "unknown"  # the status of a run that left no record
FITS_HEAD = ("law", "architecture", "fit", "runs", "scatter", "status")
HELD_OUT_HEAD = ("architecture", "N", "D", "measured", "predicted", "95 % interval", "error", "inside")


def fit_rows(study: Study) -> list[tuple[str, ...]]:
    """One row of text a fit, whether it could be had or not; columns FITS_HEAD."""
    rows = []
    for law, fits in study.fits.items():
        for a, fit in sorted(fits.items()):
            values = " ".join(f"{name}={value:.4g}" for name, value in fit.params.items())
            rows.append((law, a, values, str(fit.n), f"{fit.scale:.2%}", verdict(fit)))
        rows += [
            (law, a, "-", "-", "-", f"not fitted: {why}") for a, why in sorted(study.refused[law].items())
        ]
    return rows


def held_out_rows(study: Study) -> list[tuple[str, ...]]:
    """One row of text a held-out run; columns HELD_OUT_HEAD."""
    table = study.predictions
    if table.empty:
        return []
    return [
        (
            row.architecture,
            f"{row.N:.0f}",
            f"{row.D:.0f}",
            f"{row.loss:.4f}",
            f"{row.predicted:.4f}",
            "-" if row.inside is None else f"{row.lo95:.4f} .. {row.hi95:.4f}",
            f"{row.relative_error:+.2%}",
            "-" if row.inside is None else ("yes" if row.inside else "no"),
        )
        for row in each(table.loc[table.role == HELD_OUT])
    ]


def left_out_rows(study: Study) -> list[tuple[str, ...]]:
    """Name, status and reason of each run that is in no fit, those that left no record last."""
    rows = study.runs.loc[study.runs.role == LEFT_OUT]
    told = [(row.name, row.status, row.reason or "-") for row in each(rows)]
    return told + [(name, NO_RECORD, why) for name, why in study.unrecorded.items()]
