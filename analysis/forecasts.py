"""What a fitted law says of runs that were not made, and of runs that were made larger than those fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import fits
from analysis.law import Fit, Law, plain

COLUMNS = ("loss", "mean_lo95", "mean_hi95", "run_lo95", "run_hi95")


def forecast(fit: Fit, points: pd.DataFrame) -> pd.DataFrame:
    """The points with `loss` (nats per token), the 95 % interval of the law's mean and that of a new run.

    points: the law's inputs by column (C is filled in as 6 N D where it is wanted and missing).
    `extrapolates` says which points lie beyond the fitted table. Raises ValueError for a missing or unusable
    input, and when the fit carries no resamples.
    """
    if fit.samples is None:
        raise ValueError("a forecast needs intervals: fit with bootstrap > 0")
    if endless := [name for name, value in fit.params.items() if not np.isfinite(value)]:
        raise ValueError(f"no forecast: {endless[0]} of {fit.law.name} is infinite, its parameters are open")
    out = points.rename(columns={"loss": "loss_observed"})
    if "C" in fit.law.inputs and "C" not in out and {"N", "D"} <= set(out):
        out["C"] = 6 * out.N * out.D
    out["loss"] = fit.predict(out)
    for kind in ("mean", "run"):
        out[f"{kind}_lo95"], out[f"{kind}_hi95"] = fit.predict_interval(out, kind=kind).T
    logs = fit.law.logs(out)[:, : len(fit.law.inputs)]
    out["extrapolates"] = fit.scatter.outside(logs)
    return out


# Where the table is cut: the fit sees this share of the rows, the smallest, and forecasts the others.
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
# Resamples behind each hold-out's intervals: their ends then move by a tenth of their width.
RESAMPLES = 200
# Rows an audit looks at: more take as long as the fit itself, once for every cut.
MOST = 1000
# From so many rows on a hold-out's intervals are drawn without fitting again: they are mostly scatter.
AT_ONCE = 60


@dataclass(frozen=True)
class HoldOut:
    """One cut: fitted to the rows up to it along `axis`, compared with those above."""

    axis: str
    cut: float
    reach: float
    """The largest row's value over the cut."""
    fitted: int
    held_out: int
    error: float
    """Mean |relative error| of the predicted loss."""
    bias: float
    """Mean relative error; above 0 the forecast is too high."""
    inside: float
    """Share of the held-out rows in the 95 % interval for a new run."""
    status: str
    """The fit's own verdict."""


@dataclass(frozen=True)
class Audit:
    """A law's record as a forecaster on one table."""

    law: str
    parameters: int
    cuts: list[HoldOut]
    errors: np.ndarray
    """|log error| of every forecast, over all cuts."""
    aicc: float
    note: str
    """What was left out of the audit, in a sentence; empty when nothing was."""

    @property
    def score(self) -> float:
        """Mean |log error| over all forecasts; NaN without any."""
        return float(self.errors.mean()) if len(self.errors) else float("nan")

    @property
    def inside(self) -> float:
        """Share of forecasts inside their 95 % interval for a new run."""
        held = np.array([cut.held_out for cut in self.cuts], float)
        return (
            float(np.average([cut.inside for cut in self.cuts], weights=held)) if len(held) else float("nan")
        )

    def to_json(self) -> dict[str, Any]:
        return plain(
            {
                "law": self.law,
                "parameters": self.parameters,
                "score": self.score,
                "inside": self.inside,
                "forecasts": len(self.errors),
                "aicc": self.aicc,
                "cuts": [asdict(cut) for cut in self.cuts],
                "note": self.note,
            }
        )


def audit(
    table: pd.DataFrame, law: Law, *, axes: Sequence[str], resamples: int = RESAMPLES, **knobs: Any
) -> Audit:
    """Hold out the largest rows along each axis (C, N, D, ...), at rolling cuts, and forecast them.

    A cut that leaves too few rows or one size is skipped, and the note says so. resamples: behind each
    forecast's interval; 0: none, and `inside` is NaN. knobs: those of `analysis.fits.fit`. Raises ValueError
    when the table itself cannot be fitted.
    """
    whole = fits.fit(table, law, **knobs | {"bootstrap": 0, "profile": False})
    used = table.loc[whole.used]
    notes = []
    if len(used) > MOST:
        used = used.iloc[np.linspace(0, len(used) - 1, MOST).astype(int)]
        notes.append(f"audited on {MOST} of {len(table)} rows")
    cuts, errors = [], []
    for axis in [name for name in axes if name in used]:
        values = used[axis].to_numpy(float)
        for cut in np.unique(np.quantile(values, SHARES, method="lower")):
            below, above = used.loc[values <= cut], used.loc[values > cut]
            if above.empty:
                continue
            try:
                how = {"interval": "asymptotic"} if len(below) >= AT_ONCE else {}
                one = fits.fit(below, law, **knobs | {"bootstrap": resamples, "profile": False} | how)
            except ValueError as error:
                notes.append(f"{axis} up to {cut:.3g} could not be fitted ({error})")
                continue
            with np.errstate(all="ignore"):  # parameters without a finite unit predict nothing
                off = np.log(one.predict(above) / above.loss.to_numpy(float))
            inside = np.nan
            if resamples:
                low, high = one.predict_interval(above, kind="run").T
                inside = float(((low <= above.loss) & (above.loss <= high)).mean())
            cuts.append(
                HoldOut(
                    axis=axis,
                    cut=float(cut),
                    reach=float(values.max() / cut),
                    fitted=one.n,
                    held_out=len(above),
                    error=float(np.abs(np.expm1(off)).mean()),
                    bias=float(np.expm1(off).mean()),
                    inside=inside,
                    status=one.status,
                )
            )
            errors.append(np.abs(off))
    joined = np.concatenate(errors) if errors else np.array([])
    return Audit(law.name, len(law.names), cuts, joined, fits.aicc(whole), "; ".join(notes))


def choose(
    table: pd.DataFrame, laws: Mapping[str, Law], *, axes: Sequence[str], **knobs: Any
) -> tuple[str, dict[str, Audit], dict[str, str]]:
    """The law that forecasts best, every law's audit, and why others could not take part.

    The least mean |log error| over the same hold-outs wins; a law within one standard error of it (paired, of
    the mean difference) that has fewer parameters is preferred (Breiman et al. 1984). Raises ValueError when
    no law can be audited.
    """
    audits, refused = {}, {}
    for name, law in laws.items():
        try:
            found = audit(table, law, axes=axes, resamples=0, **knobs)
        except ValueError as error:
            refused[name] = str(error)
            continue
        if not np.isfinite(found.errors).all():
            refused[name] = "some of its forecasts are not numbers: its parameters are open"
        elif len(found.errors):
            audits[name] = found
        else:
            refused[name] = f"no forecast: {found.note or 'the table has no axis to hold out along'}"
    most = max((len(a.errors) for a in audits.values()), default=0)
    for name in [name for name, a in audits.items() if len(a.errors) < most]:
        refused[name] = f"could not make every forecast that others made: {audits.pop(name).note}"
    if not audits:
        raise ValueError("; ".join(f"{name}: {why}" for name, why in refused.items()))
    best = min(audits, key=lambda name: audits[name].score)
    rivals = [name for name in audits if _close(audits[name].errors, audits[best].errors)]
    return min(rivals, key=lambda name: (audits[name].parameters, audits[name].score)), audits, refused


def _close(errors: np.ndarray, best: np.ndarray) -> bool:
    """Whether the mean difference is within its standard error."""
    difference = errors - best
    return bool(difference.mean() <= difference.std() / np.sqrt(len(difference)))
