"""One fit by one fitter, in an interpreter of its own: a table in on stdin, parameters and CPU seconds out.

Run by `bench.peers` as `PYTHON bench/peer.py CONTESTANT`. Imports nothing of the project but for its own fit,
so that the peers' versions of anything may differ.
"""

import json
import logging
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version

NAMES = ("E", "A", "B", "alpha", "beta")


def scalelaw(table: dict, setting: dict) -> Callable[[], dict]:
    from analysis.laws.chinchilla import Chinchilla
    from analysis.solver.solve import solve

    knobs = {"delta": setting["delta"], "bootstrap": setting["resamples"], "seed": 0}
    knobs |= {"criterion": setting.get("criterion", "huber_log")}

    def fit() -> dict:
        found = solve(Chinchilla(), table, **knobs)
        return {"params": found.params, "intervals": found.interval95 or None, "verdict": found.status}

    return fit


def chinchilla(table: dict, setting: dict) -> Callable[[], dict]:
    """Its documentation's grid of starts, five values a parameter unless told otherwise; without its plot."""
    import numpy as np
    from chinchilla import Chinchilla  # pyright: ignore[reportMissingImports]
    from chinchilla._metrics import log_huber  # pyright: ignore[reportMissingImports]

    ranges = {"E": (1.0, 2.0), "a": (1.0, 10.0), "b": (1.0, 10.0), "alpha": (0.1, 0.7), "beta": (0.1, 0.7)}
    loss = {"loss_fn": lambda y, p: log_huber(y, p, setting["delta"])} if setting["huber"] else {}
    quiet = logging.CRITICAL
    fitter = Chinchilla(
        tempfile.mkdtemp(),
        param_grid={name: np.linspace(lo, hi, setting["starts"]) for name, (lo, hi) in ranges.items()},
        log_level=quiet,
        **loss,
    )
    for N, D, y in zip(table["N"], table["D"], table["loss"], strict=True):
        fitter.append(N=N, D=D, loss=y)
    fitter.visualizer.optim = lambda *_, **__: None

    def fit() -> dict:
        fitter.fit(parallel=False)
        return {"params": fitter.params, "intervals": None, "verdict": None}

    return fit


def simple_scaling_laws(table: dict, setting: dict) -> Callable[[], dict]:
    """Its default law, one row a run; its amplitudes are restated for N and D as they are."""
    import numpy as np
    import polars as pl  # pyright: ignore[reportMissingImports]
    import simple_scaling_laws as peer  # pyright: ignore[reportMissingImports]

    frame = pl.DataFrame(
        {
            "training_run_id": [f"run{i}" for i in range(len(table["N"]))],
            "model_size__n_params": table["N"],
            "dataset_size__n_tokens": table["D"],
            "test_loss__cross_entropy": table["loss"],
        }
    )

    def fit() -> dict:
        model = peer.fit(frame, law="separable-power", n_draws=max(setting["resamples"], 1), seed=0)
        target = model.primary_target
        unit = np.array([model.observed_domain[name]["reference"] for name in model.law.predictors])

        def raw(params: np.ndarray) -> dict:
            return model.law.raw_scale_params(params, unit)

        draws = [raw(one) for one in model.draws[target].params] if setting["resamples"] else []
        ends = {k: np.quantile([one[k] for one in draws], [0.025, 0.975]).tolist() for k in NAMES if draws}
        notes = sorted({note.code for note in model.warnings})
        return {
            "params": raw(model.fits[target].params),
            "intervals": ends or None,
            "verdict": ", ".join(notes) or "no warnings",
        }

    return fit


def seconds() -> float:
    """CPU seconds of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    asked = json.load(sys.stdin)
    talk, sys.stdout = sys.stdout, sys.stderr  # a fitter may print: what we say stays apart
    os.environ["MPLBACKEND"] = "Agg"
    package = asked["package"]
    try:
        fitter = {"scalelaw": scalelaw, "chinchilla": chinchilla, "simple-scaling-laws": simple_scaling_laws}
        fit = fitter[package](asked["table"], asked["setting"])
    except ModuleNotFoundError as error:
        json.dump({"absent": str(error)}, talk)
        return
    start = seconds()
    found = fit()
    used = seconds() - start
    found["params"] = {name: float(found["params"][name]) for name in NAMES}
    json.dump(found | {"seconds": used, "version": version(package)}, talk)


if __name__ == "__main__":
    main()
