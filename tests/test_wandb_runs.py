"""Runs from W&B: offline runs that the real client wrote, and a project that it reads from a small server."""

import math

import pytest
import wandb
from planted import TRUE, grid
from wandb_server import logged, serving

from analysis.laws.chinchilla import Chinchilla
from analysis.tables.runs import load, usable

SETTINGS = wandb.Settings(
    console="off", silent=True, disable_git=True, x_disable_stats=True, x_disable_meta=True, mode="offline"
)
COLUMNS = {"N": "model.params", "D": "tokens", "loss": "val/loss"}


def planted(N: float, D: float) -> float:
    return float(Chinchilla().predict(TRUE, {"N": N, "D": D})[0])


def train(
    folder, name: str, N: float, *, D: float = 4e8, points: int = 4, exit_code: int = 0, **more
) -> None:
    """One offline run that logs a planted loss at `points` equal steps up to D tokens."""
    config = {"model": {"params": N, "layers": [1, 2]}, "loss": "cross entropy", "seed": 3}
    folder.mkdir(exist_ok=True)
    session = wandb.init(
        project="p",
        id=name,
        name=f"name of {name}",
        dir=str(folder),
        config=config,
        tags=["t"],
        settings=SETTINGS,
    )
    for k in range(1, points + 1):
        tokens = D * k / points
        session.log({"train/loss": 9.0})
        session.log({"tokens": tokens, "val/loss": planted(N, tokens)} | more)
    session.summary["seed"] = 3
    session.finish(exit_code=exit_code)


def test_offline_runs_give_what_was_logged_last(tmp_path):
    for k, exit_code in enumerate((0, 0, 1)):
        train(tmp_path, f"r{k}", 1e6 * 2**k, exit_code=exit_code)
    table = load(tmp_path, COLUMNS)
    assert table.run.tolist() == ["r0", "r1", "r2"]
    assert table.N.tolist() == [1e6, 2e6, 4e6]
    assert table.loss.tolist() == [planted(N, 4e8) for N in table.N]
    assert table.C.tolist() == [6 * N * 4e8 for N in table.N]
    assert table.status.tolist() == table.state.tolist() == ["finished", "finished", "failed"]
    assert table.name.tolist() == [f"name of r{k}" for k in range(3)]
    # Said twice, and alike: one column.
    assert table.seed.tolist() == [3, 3, 3]
    assert table.tags.tolist() == [["t"]] * 3


def test_with_history_every_logged_loss_is_a_row_of_its_run(tmp_path):
    train(tmp_path, "r0", 1e6)
    train(tmp_path, "r1", 2e6)
    table = load(tmp_path, COLUMNS | {"final": "summary.val/loss"}, history=True)
    assert table.run.tolist() == ["r0"] * 4 + ["r1"] * 4
    assert table.D.tolist() == [1e8, 2e8, 3e8, 4e8] * 2
    assert table.loss.tolist() == [planted(N, D) for N, D in zip(table.N, table.D, strict=True)]
    # What a run came to is told in full only: it is not so at each of its steps.
    assert "summary.tokens" in table
    assert table.final.tolist() == [planted(1e6, 4e8)] * 4 + [planted(2e6, 4e8)] * 4


def test_a_run_that_was_resumed_is_one_run_and_one_that_was_killed_is_not_finished(tmp_path):
    train(tmp_path / "a", "r0", 1e6, D=2e8, points=2)
    train(tmp_path / "b", "r0", 1e6)
    train(tmp_path / "b", "r1", 2e6)
    (torn,) = (tmp_path / "b").rglob("run-r1.wandb")
    wandb.teardown()  # its writer is a process of its own
    torn.write_bytes(torn.read_bytes()[:-60])
    # Folders' names begin with the second they were made in.
    (first,) = (tmp_path / "a").rglob("offline-run-*")
    first.rename(first.with_name("offline-run-20000101_000000-r0"))
    table = load(tmp_path, COLUMNS | {"final": "summary.tokens"}, history=True)
    assert table.groupby("run").size().to_dict() == {"r0": 6, "r1": 4}
    assert table.groupby("run").status.unique().map(list).to_dict() == {"r0": ["finished"], "r1": ["crashed"]}
    assert set(table.final) == {4e8}
    torn.write_bytes(b"x" * 500)
    with pytest.raises(ValueError, match=r"run-r1\.wandb: W&B cannot read it \(.*\)$"):
        load(torn.parent, COLUMNS)


def test_a_loss_that_is_no_number_stays_a_row(tmp_path):
    train(tmp_path, "r0", 1e6, **{"val/loss": math.nan}, points=2)
    with pytest.raises(ValueError, match="row 1, column loss: is empty"):
        usable(load(tmp_path, COLUMNS), Chinchilla())
    assert len(load(tmp_path, COLUMNS, history=True)) == 2


@pytest.fixture
def project(monkeypatch, tmp_path):
    """team/p at a server of our own: five runs, three pages."""
    table = grid(5, 1)
    runs = [
        logged(
            f"r{k}",
            state="finished" if k else "crashed",
            tags=["sweep"],
            config={"model": {"params": N}, "loss": "cross entropy"},
            summary={"tokens": D, "val/loss": loss, "_wandb": {"runtime": 1}},
            history=[{"tokens": D * part, "val/loss": planted(N, D * part)} for part in (0.5, 1.0)]
            + [{"x": 1}],
        )
        for k, (N, D, loss) in enumerate(zip(*table.values(), strict=True))
    ]
    with serving({"team/p": runs}) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            monkeypatch.setenv(name, str(tmp_path))
        wandb.teardown()  # the client's helper process keeps the address that it began with
        yield table
        wandb.teardown()


def test_a_project_is_read_through_the_api(project):
    table = load("wandb://team/p", COLUMNS)
    assert table.run.tolist() == [f"r{k}" for k in range(5)]
    assert (table.N.tolist(), table.loss.tolist()) == (project["N"].tolist(), project["loss"].tolist())
    assert table.D.tolist() == project["D"].tolist()
    assert table.status.tolist() == ["crashed"] + ["finished"] * 4
    assert table.tags.tolist() == [["sweep"]] * 5
    assert not [name for name in table if name.startswith("_wandb")]
    assert table.attrs["source"] == "wandb://team/p"
    assert table.attrs["sha256"] == load("wandb://team/p", COLUMNS).attrs["sha256"]
    rows, dropped = usable(table, type("LawOfN", (Chinchilla,), {"inputs": ("N",)})())
    assert (len(rows), dropped) == (4, [{"why": "status crashed", "count": 1, "rows": [1]}])


def test_names_said_in_full_are_taken_and_those_of_two_things_are_not_guessed(project):
    full = load("wandb://team/p", {"N": "config.model.params", "loss": "summary.val/loss"})
    assert full.N.tolist() == project["N"].tolist()
    assert full.loss.tolist() == project["loss"].tolist()
    with pytest.raises(ValueError, match="no column params to take as N"):
        load("wandb://team/p", {"N": "params"})


def test_a_projects_history_is_every_logged_loss(project):
    table = load("wandb://team/p", COLUMNS, history=True)
    assert len(table) == 10
    assert table.loss.tolist() == [planted(N, D) for N, D in zip(table.N, table.D, strict=True)]
    assert sorted(table.D[table.run == "r2"]) == [project["D"][2] / 2, project["D"][2]]


REFUSED = {
    "wandb://team/q": r"^wandb://team/q: W&B did not give the runs \(Could not find project q\)$",
    "wandb://team/p/r0": r"^wandb://team/p/r0: a W&B project is written wandb://entity/project$",
}


@pytest.mark.parametrize("source", REFUSED)
def test_what_cannot_be_had_from_the_server_is_told_in_one_line(project, source):
    with pytest.raises(ValueError, match=REFUSED[source]):
        load(source, COLUMNS)
