"""A finished run's weights: what is read back is the model that the record tells of."""

import pytest
from commands import TINY, book, call  # noqa: F401 (a fixture)
from training import job, run

from experiments.saved import saved
from experiments.train import main as train
from scalelaw import weights
from scalelaw.contracts import BadInput
from scalelaw.evaluate import Evaluation
from scalelaw.objectives.prefix_lm import PrefixLM
from scalelaw.run import RECORD, records


@pytest.mark.parametrize("architecture", ["causal_decoder", "prefix_decoder", "encoder_decoder"])
def test_a_saved_model_has_the_loss_its_record_says(tmp_path, monkeypatch, book, architecture):  # noqa: F811
    options = [
        "data=text",
        book,
        f"architecture={architecture}",
        "objective=prefix_lm",
        "checkpoints.weights=true",
    ]
    assert call(train, monkeypatch, *TINY, *options, f"output={tmp_path}") == 0
    ((directory, record),) = records(tmp_path)
    found = saved(directory, tmp_path / "data")
    evaluation = Evaluation(points=2, curve_rows=2, rows=4, prefix=None)
    assert (
        evaluation.final(found.model, found.source, record.window, PrefixLM(prefix=None, per_row=False))[
            "loss"
        ]
        == record.loss
    )
    assert found.run == record


def test_weights_are_kept_only_on_request_and_refused_where_they_do_not_fit(tmp_path):
    run(tmp_path)
    model = job(tmp_path).architecture(job(tmp_path).shape, 16)
    with pytest.raises(BadInput, match=r"checkpoints\.weights=true"):
        weights.load(tmp_path, model)
    weights.save(tmp_path, "abc", dict(weights.whole(model)))
    smaller = job(tmp_path).architecture(job(tmp_path).shape, 15)
    with pytest.raises(BadInput, match=r"model.safetensors holds another model: .*embedding"):
        weights.load(tmp_path, smaller)
    path = tmp_path / weights.WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInput, match="cannot be read"):
        weights.load(tmp_path, model)


def test_only_a_finished_run_has_a_model(tmp_path, monkeypatch, book):  # noqa: F811
    assert (
        call(train, monkeypatch, *TINY, "data=text", book, f"output={tmp_path}", "checkpoints.weights=true")
        == 0
    )
    ((directory, _),) = records(tmp_path)
    (directory / RECORD).write_text((directory / RECORD).read_text().replace('"finished"', '"interrupted"'))
    with pytest.raises(BadInput, match="is interrupted"):
        saved(directory, tmp_path / "data")
