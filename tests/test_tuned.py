"""Learning rate and batch from a law file: the config holds numbers, and a run is the same either way."""

import json
from typing import Any

import numpy as np
import pytest
from commands import ROOT, TINY, book, call  # noqa: F401 (a fixture)
from grids import best_batch, best_rate
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from analysis.tuning.grids import RECIPE
from analysis.tuning.powers import Power
from experiments.identity import identity, run_id
from experiments.sizes import sizes
from experiments.train import main as train
from scalelaw.counting import count
from scalelaw.run import records

CONF = str(ROOT / "conf")


def composed(*overrides: str) -> Any:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("train", list(overrides))


@pytest.fixture
def file(tmp_path):
    """The planted laws of tests/grids.py, as measured with the default recipe."""
    N, D, batch = (grid.ravel() for grid in np.meshgrid([5e3, 5e4, 2e5], [1e5, 3e5, 9e5], [64, 256, 1024]))
    points = {"N": N, "D": D, "batch_tokens": batch}
    laws = {
        "lr": Power.fit(points, best_rate(N, D, batch), ("N", "D", "batch_tokens")),
        "batch_tokens": Power.fit(points, best_batch(D), ("D",)),
    }
    config = composed()
    recipe: Any = {name: OmegaConf.to_container(config[name], resolve=True) for name in RECIPE}
    recipe["optimizer"].pop("lr")
    entry = {"recipe": recipe, "refused": {}, "laws": {name: law.to_json() for name, law in laws.items()}}
    path = tmp_path / "hparams.json"
    path.write_text(json.dumps({"schema": 1, "architectures": {"causal_decoder": entry}}))
    return path


def test_a_run_gets_the_rate_of_its_own_size_tokens_and_batch(file):
    for depth, D, rows in ((2, 2e5, 2), (6, 8e5, 4)):
        own = [f"shape.depth={depth}", f"budget.D={D}", f"rows={rows}", "window=64"]
        cfg = composed(*own, f"optimizer.lr=${{tuned:lr,{file}}}")
        N = count(instantiate(cfg.architecture)(instantiate(cfg.shape), 256))["non_embedding"]
        assert cfg.optimizer.lr == pytest.approx(best_rate(N, D, 64 * rows), rel=1e-3)
        # The same number by hand is the same run.
        assert run_id(identity(cfg)) == run_id(identity(composed(*own, f"optimizer.lr={cfg.optimizer.lr}")))


def test_the_batch_comes_first_and_the_rate_is_the_one_at_it(file):
    both = [f"rows=${{tuned:rows,{file}}}", f"optimizer.lr=${{tuned:lr,{file}}}"]
    cfg = composed("window=64", "budget.D=9e5", *both)
    assert cfg.rows == round(best_batch(9e5) / 64) == 6
    N = sizes(cfg, batch_tokens=64)["N"]
    assert cfg.optimizer.lr == pytest.approx(best_rate(N, 9e5, 6 * 64), rel=1e-3)


@pytest.mark.parametrize("architecture", ["causal_decoder", "prefix_decoder", "encoder_decoder"])
@pytest.mark.parametrize(
    "budget",
    [
        ["budget.D=5000"],
        ["budget=flops", "budget.C=3e8"],
        ["budget=tokens_per_parameter", "budget.ratio=0.05"],
    ],
)
def test_sizes_are_those_of_the_run_itself(tmp_path, monkeypatch, book, architecture, budget):  # noqa: F811
    tiny = [override for override in TINY if not override.startswith("budget")]
    own = ["data=text", book, *tiny, f"architecture={architecture}", "objective=prefix_lm", *budget]
    said = sizes(composed(*own, f"output={tmp_path}"), batch_tokens=32)
    assert call(train, monkeypatch, *own, f"output={tmp_path}") == 0
    ((_, run),) = records(tmp_path)
    assert (run.N, run.D) == (said["N"], said["D"])


def test_a_run_trains_at_the_rate_and_its_record_holds_the_number(tmp_path, monkeypatch, book, file):  # noqa: F811
    law = f"optimizer.lr=${{tuned:lr,{file}}}"
    assert call(train, monkeypatch, "data=text", book, *TINY, law, f"output={tmp_path}") == 0
    ((_, run),) = records(tmp_path)
    assert run.config["optimizer"]["lr"] == pytest.approx(best_rate(run.N, run.D, 32), rel=1e-3)


def test_beyond_the_study_a_warning_says_so(file, caplog):
    assert composed("budget.D=1e9", f"optimizer.lr=${{tuned:lr,{file}}}").optimizer.lr > 0
    assert "is extrapolated: D=1e+09 (fitted 1e+05 to 9e+05)" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimizer.transfer=none"], "the law was measured with optimizer"),
        (["schedule=cosine"], "the law was measured with schedule"),
        (["architecture=prefix_decoder"], "no law for architecture"),
        (["optimizer.lr=${tuned:decay,FILE}"], "only lr and rows have a law"),
        (["optimizer.lr=${tuned:lr,nowhere.json}"], "nowhere.json"),
    ],
)
def test_a_law_for_other_runs_ends_in_one_line(file, monkeypatch, capsys, overrides, said):
    words = [f"optimizer.lr=${{tuned:lr,{file}}}", *overrides]
    cfg = composed(*(word.replace("FILE", str(file)) for word in words))
    with pytest.raises((OmegaConfBaseException, OSError), match=said):
        print(cfg.optimizer.lr)
    capsys.readouterr()
    assert call(train, monkeypatch, *(word.replace("FILE", str(file)) for word in words)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
