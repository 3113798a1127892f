"""Records and metrics files that time, crashes and other versions have been at."""

import dataclasses
import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from commands import call
from study import write_study
from training import LABELS, ROWS, WINDOW, CausalLM, Stopping, run

from analysis.fits import fit
from analysis.laws.chinchilla import Chinchilla
from analysis.tables.runs import load
from scalelaw import run as record_module
from scalelaw.budget import Tokens
from scalelaw.checkpoint import Checkpoints
from scalelaw.contracts import BadInput
from scalelaw.run import (
    METRICS,
    RECORD,
    SCHEMA,
    NewerRecord,
    Run,
    folders,
    intact,
    migrate,
    read_metrics,
    records,
)

OLD = Path(__file__).parent / "records"


def rewritten(directory: Path, **changes) -> None:
    content = json.loads((directory / RECORD).read_text())
    (directory / RECORD).write_text(json.dumps(content | changes))


# Schemas


def test_there_is_a_file_of_every_schema_that_was_and_each_still_loads():
    assert sorted(OLD.iterdir()) == [OLD / f"schema-{k}" for k in range(1, SCHEMA)]
    for directory in OLD.iterdir():
        content = json.loads((directory / RECORD).read_text())
        assert directory.name == f"schema-{content['schema']}"
        read = Run.load(directory)
        assert read.schema == SCHEMA
        assert read.finished
        # Nothing that was recorded is lost or altered on the way.
        kept = dataclasses.asdict(read)
        assert {name: kept[name] for name in content if name != "schema"} == {
            name: value for name, value in content.items() if name != "schema"
        }


def test_the_row_of_an_old_record_is_the_row_it_had():
    content = json.loads((OLD / "schema-1" / RECORD).read_text())
    nested = ("parameters", "timing", "provenance", "config", "schema")
    flat = {name: value for name, value in content.items() if name not in nested}
    counts = {f"N_{name}": count for name, count in content["parameters"].items()}
    row = Run.load(OLD / "schema-1").row()
    assert row == flat | counts
    assert list(row) == list(flat | counts)  # the same bytes in runs.csv


def test_migrations_are_taken_one_by_one(monkeypatch):
    steps = {1: lambda c: c | {"b": c["a"] + 1}, 2: lambda c: c | {"c": c["b"] * 10}}
    monkeypatch.setattr(record_module, "MIGRATIONS", steps)
    monkeypatch.setattr(record_module, "SCHEMA", 3)
    assert migrate({"schema": 1, "a": 1}) == {"schema": 3, "a": 1, "b": 2, "c": 20}
    assert migrate({"schema": 2, "b": 5}) == {"schema": 3, "b": 5, "c": 50}
    with pytest.raises(ValueError, match="there is no schema 0"):
        migrate({"schema": 0})


def test_a_record_of_a_later_version_is_refused_and_never_written_over(tmp_path):
    run(tmp_path)
    provenance = Run.load(tmp_path).provenance | {"versions": {"scalelaw": "7.1"}}
    rewritten(tmp_path, schema=SCHEMA + 5, provenance=provenance, new_field=1)
    before = (tmp_path / RECORD).read_bytes()
    said = rf"run\.json is a record of schema {SCHEMA + 5}, and .* reads up to {SCHEMA}: .* \(7\.1\)"
    with pytest.raises(NewerRecord, match=said):
        Run.load(tmp_path)
    with pytest.raises(BadInput, match=said):
        run(tmp_path)
    assert (tmp_path / RECORD).read_bytes() == before


def test_a_record_says_when_and_where_and_its_row_does_not(tmp_path):
    made = run(tmp_path / "a")
    assert made.started is not None
    assert made.ended is not None
    assert made.started <= made.ended
    assert made.ended.endswith("+00:00")
    assert made.host
    assert not {"started", "ended", "host"} & made.row().keys()
    assert run(tmp_path / "b").row() == made.row()


# Metrics


class EveryFourth(Checkpoints):
    calls = 0

    def due(self):
        self.calls += 1
        return self.calls % 4 == 0


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run stopped after step 10 of 12, with checkpoints of steps 8 and 10; the rows it would have had."""
    root = tmp_path_factory.mktemp("torn")
    run(root / "whole")
    run(
        root / "cut",
        objective=Stopping(CausalLM(), 10),
        checkpoints=EveryFourth(seconds=0, keep=2, weights=False),
    )
    assert [int(path.stem[-3:]) for path in sorted((root / "cut").glob("checkpoint-*"))] == [8, 10]
    assert [row["step"] for row in read_metrics(root / "cut")][-2:] == [8, 10]
    return root / "cut", read_metrics(root / "whole"), Run.load(root / "whole").row()


def resumed(cut: tuple, damaged: bytes, target: Path) -> list[int]:
    """Damage the metrics, go on, compare; the steps whose rows were taken from the damaged file."""
    source, rows, row = cut
    shutil.copytree(source, target)
    (target / METRICS).write_bytes(damaged)
    kept = [row.get("step") for row in intact(target)[0]]
    assert run(target).row() == row
    assert read_metrics(target) == rows
    shutil.rmtree(target)
    return kept


def test_rows_up_to_the_first_torn_byte_are_read_wherever_that_is(cut, tmp_path):
    whole = (cut[0] / METRICS).read_bytes()
    rows, lines = read_metrics(cut[0]), whole.split(b"\n")
    for end in range(len(whole) + 1):
        (tmp_path / METRICS).write_bytes(whole[:end])
        # A row is whole without its line feed, too.
        count = sum(len(b"\n".join(lines[: k + 1])) <= end for k in range(len(rows)))
        assert intact(tmp_path) == (rows[:count], None)
        assert read_metrics(tmp_path) == rows[:count]


@pytest.mark.parametrize("stride", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_goes_on_to_the_same_rows_from_metrics_cut_at_any_byte(cut, tmp_path, stride):
    whole = (cut[0] / METRICS).read_bytes()
    start = len(whole) - sum(map(len, whole.splitlines(keepends=True)[-3:]))
    found = [resumed(cut, whole[:end], tmp_path / "run") for end in range(start, len(whole) + 1, stride)]
    assert {kept[-1] for kept in found} >= {6, 8}  # before either checkpoint, and between the two


@pytest.mark.parametrize(
    "damage",
    {
        "half a character": lambda whole: whole + '{"step": 11, "é'.encode()[:-1],
        "zeros of a power cut": lambda whole: whole + b'{"step": 11' + bytes(4000),
        "zeros over rows the checkpoints count on": lambda whole: whole[:-300] + bytes(300),
        "a torn line in the middle": lambda whole: whole.replace(b'"tokens"', b'"tok\n', 1),
        "two writers": lambda whole: whole + whole,
        "rows of no step": lambda whole: whole + b'{"loss": 1}\n',
        "no rows at all": lambda whole: b"",
        "not even text": lambda whole: bytes(range(256)) * 9,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_run_goes_on_to_the_same_rows_from(damage, cut, tmp_path):
    resumed(cut, damage[1]((cut[0] / METRICS).read_bytes()), tmp_path / "run")


def test_a_torn_line_that_whole_ones_follow_is_an_error_with_its_place(cut, tmp_path):
    lines = (cut[0] / METRICS).read_bytes().split(b"\n")
    for torn in (lines[2][:30], bytes(50), b"[1]", "é".encode()[:1]):
        (tmp_path / METRICS).write_bytes(b"\n".join([*lines[:2], torn, *lines[3:]]))
        with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3: not a row"):
            read_metrics(tmp_path)
        assert intact(tmp_path)[0] == read_metrics(cut[0])[:2]


def test_a_checkpoint_that_counts_no_rows_is_taken_as_it_is(cut, tmp_path):
    """As versions before this one wrote them."""
    source, rows, _ = cut
    shutil.copytree(source, tmp_path / "run")
    tensors, state = Checkpoints(seconds=0, keep=2, weights=False).load(tmp_path / "run", LABELS.run)
    del state["rows"], state["started"]
    Checkpoints(seconds=0, keep=1, weights=False).save(tmp_path / "run", LABELS.run, 10, tensors, state)
    assert run(tmp_path / "run", objective=Counting()).finished
    assert Counting.calls == 3  # two steps, and the loss on its own objective
    assert read_metrics(tmp_path / "run") == rows


class Counting(CausalLM):
    calls = 0

    def __call__(self, windows, generator):
        Counting.calls += 1
        return super().__call__(windows, generator)


def test_rows_that_did_not_reach_the_disk_are_no_finished_run(tmp_path, monkeypatch):
    def lost(metrics):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr("scalelaw.metrics.Metrics.sync", lost)
    record = run(tmp_path)
    assert (record.status, record.reason) == ("failed", "OSError: [Errno 122] Disk quota exceeded")
    assert Run.load(tmp_path) == record


# Folders


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path / "study", architectures=("causal_decoder",), noise=0.004)


def spoil(folder: Path) -> dict[str, str]:
    """Three records of eighteen that nobody can read; file to what is said of it."""
    paths = sorted(folder.rglob(RECORD))[:3]
    paths[0].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:500])
    rewritten(paths[2].parent, schema=SCHEMA + 1)
    why = ("Expecting value", "is not a run record", f"a record of schema {SCHEMA + 1}")
    return dict(zip(map(str, paths), why, strict=True))


def test_one_bad_record_costs_its_own_row_and_is_named(folder):
    spoilt, unread = spoil(folder), {}
    assert len(list(records(folder, unread))) == 15
    assert unread.keys() == spoilt.keys()
    for path, why in spoilt.items():
        assert path in unread[path]
        assert why in unread[path]
    with pytest.raises(ValueError, match="is not a run record"):
        list(records(folder))
    table = load(folder)
    assert len(table) == 15
    assert table.attrs["unread"] == unread


def test_the_fit_says_how_many_were_left_out(folder):
    spoil(folder)
    found = fit(load(folder), Chinchilla(), delta=1e-3, bootstrap=0, seed=0)
    assert found.n == 15
    (left,) = found.to_json()["dropped"]
    assert left["count"] == 3
    assert left["why"].startswith("files that cannot be read: ")


def test_a_folder_of_nothing_but_bad_records_is_an_error(folder):
    for path in folder.rglob(RECORD):
        path.write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"no rows: 18 files cannot be read: .*run\.json"):
        load(folder)


@pytest.mark.parametrize("history", [False, True])
def test_the_commands_name_it_write_their_result_and_end_with_1(folder, history, monkeypatch, capsys):
    spoilt = spoil(folder)
    metrics = sorted(folder.rglob(METRICS))[5]
    metrics.write_bytes(metrics.read_bytes().replace(b"\n", b'{"torn\n', 1))
    out = folder.parent / "fit"
    asked = [f"table={folder}", f"history={history}", "bootstrap=0", "profile=false", "audit=false"]
    assert call(import_module("experiments.fit").main, monkeypatch, *asked, f"hydra.run.dir={out}") == 1
    told = capsys.readouterr()
    assert told.err.count("left out: ") == (4 if history else 3)
    assert all(path in told.err for path in spoilt)
    assert (f"{metrics}, line 1: not a row" in told.err) == history
    fits = json.loads((out / "fit.json").read_text())
    dropped = [d for one in fits.values() if isinstance(one, dict) for d in one.get("dropped", [])]
    assert [d["count"] for d in dropped if "cannot be read" in d["why"]] == [4 if history else 3]


def test_the_report_shows_it_among_the_runs_that_did_not_finish(folder, monkeypatch, capsys):
    spoilt = spoil(folder)
    asked = [f"runs={folder}", "bootstrap=0"]
    assert call(import_module("experiments.report").main, monkeypatch, *asked) == 1
    told = capsys.readouterr().err
    assert all(path in told for path in spoilt)
    left = json.loads((folder / "fits.json").read_text())["left_out"]
    assert left.keys() == {Path(path).parent.name for path in spoilt}
    assert "15 of 18" in (folder / "report.html").read_text()


def test_the_folders_of_a_tracker_are_not_searched_those_of_other_runs_are(tmp_path):
    run(tmp_path / "outer")
    run(tmp_path / "outer" / "inner", budget=Tokens(D=6 * ROWS * WINDOW))
    for place in ("outer/wandb/offline", "wandb/named_so"):
        run(tmp_path / place, budget=Tokens(D=6 * ROWS * WINDOW))
    found = [str(path.relative_to(tmp_path)) for path, _ in records(tmp_path)]
    assert found == ["outer", "outer/inner", "wandb/named_so"]
    assert [path for path, _ in records(tmp_path / "outer" / "inner")] == [tmp_path / "outer" / "inner"]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(OSError, match="gone"):
        list(folders(tmp_path / "gone"))
    unread = {}
    assert list(folders(tmp_path / "gone", unread)) == []
    assert list(unread) == [str(tmp_path / "gone")]
