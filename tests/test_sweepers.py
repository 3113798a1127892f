"""Hydra's own sweepers, on the project's launcher."""

from commands import TINY, book, call  # noqa: F401 (a fixture)
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from experiments.train import main as train
from scalelaw.run import records


def test_the_basic_sweeper_runs_the_product_and_hears_of_every_loss(tmp_path, monkeypatch, book):  # noqa: F811
    """An optimising sweeper, such as Optuna's, takes each job's return value for what it makes small."""
    heard = []
    [local] = [kind for kind in Plugins.instance().discover(Launcher) if kind.__name__ == "LocalLauncher"]
    launch = local.launch

    def listening(self, *arguments, **named):
        heard.extend(launch(self, *arguments, **named))
        return heard

    monkeypatch.setattr(local, "launch", listening)
    arguments = ["-m", "hydra/sweeper=basic", "data=text", book, *TINY, "seed=0,1", f"output={tmp_path}"]
    assert call(train, monkeypatch, *arguments) == 0
    losses = {run.name: run.loss for _, run in records(tmp_path)}
    assert len(losses) == 2
    assert {result.task_name: result.return_value for result in heard} == losses
