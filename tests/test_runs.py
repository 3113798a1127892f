"""Tables from files and records: what is read, what is filled in, what is refused and in which words."""

import datetime
import decimal
import gzip
import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import as_table, grid
from pyarrow import parquet
from training import run

from analysis.fits import fit, fit_each
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanC
from analysis.tables.runs import best_along, check_positive, load, usable
from scalelaw.run import Run, read_metrics

QUICK = {"delta": 1e-3, "bootstrap": 0, "seed": 0}


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_every_kind_of_file_gives_the_same_numbers_to_the_last_bit(tmp_path):
    table = pd.DataFrame(grid(4, 3))
    rows = table.to_dict("records")
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "a.parquet")
    table.set_index("N").to_parquet(tmp_path / "indexed.parquet")
    written(tmp_path / "a.json", json.dumps(rows))
    written(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "shuffled.csv.gz", index=False)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 8
    for path in paths:
        read = load(path)[["N", "D", "loss"]]
        pd.testing.assert_frame_equal(
            read.reset_index(drop=True), table.sort_values(["N", "D"], ignore_index=True)
        )


def test_objects_within_json_are_columns_with_dots(tmp_path):
    row = {"model": {"params": 1e6, "shape": {"width": 64}}, "tokens": 10**8, "loss": 3}
    table = load(
        written(tmp_path / "t.jsonl", json.dumps(row)), {"N": "model.params", "width": "model.shape.width"}
    )
    assert table[["N", "width"]].iloc[0].tolist() == [1e6, 64]


def test_the_hash_is_of_the_bytes_of_a_file(tmp_path):
    path = written(tmp_path / "t.csv", "N,D,loss\n1e6,1e8,3\n")
    assert load(path).attrs["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load(path).attrs["rows"] == 1


def test_rows_keep_their_number_in_the_file_and_come_sorted(tmp_path):
    path = written(tmp_path / "t.csv", "N,D,loss\n3e6,1e8,3\n1e6,2e8,4\n1e6,1e8,5\n")
    assert load(path).index.tolist() == [3, 2, 1]


def test_columns_are_mapped_and_compute_filled_in(tmp_path):
    path = written(tmp_path / "t.csv", "Model Size,Training FLOP,N,loss\n1e6,6e14,7,3\n")
    table = load(path, {"N": "Model Size", "C": "Training FLOP"})
    assert table[["N", "D", "C"]].iloc[0].tolist() == [1e6, 1e8, 6e14]
    assert table.attrs["filled"] == "D = C / (6 N)"
    table = load(written(tmp_path / "u.csv", "N,D,loss\n1e6,1e8,3\n"))
    assert table.C.iloc[0] == 6e14
    assert table.attrs["filled"] == "C = 6 N D"
    table = load(written(tmp_path / "v.csv", "N,D,C,loss\n1e6,1e8,7e14,3\n"))
    assert table.C.iloc[0] == 7e14
    assert table.attrs["filled"] is None


def test_a_column_may_serve_twice_columns_may_swap_and_the_rest_comes_along(tmp_path):
    path = written(tmp_path / "t.csv", "D,N,loss,label,spread\n1e6,1e8,3,x,0.1\n")
    mapping = {"N": "D", "D": "N", "run": "label", "cluster": "label", "noise": "spread"}
    table = load(path, mapping)
    assert table[["N", "D", "run", "cluster", "noise"]].iloc[0].tolist() == [1e6, 1e8, "x", "x", 0.1]
    assert not {"label", "spread"} & set(table)


def test_a_folder_of_records_is_a_table(tmp_path):
    for k, status in enumerate(["finished", "diverged"]):
        labels = {"architecture": "causal_decoder", "objective": "causal_lm", "data": "sotu", "study": "s"}
        counts = {"depth": 2, "width": 64, "window": 64, "batch_tokens": 1024, "steps": 9, "step": 9}
        tokens = {"D": 10**6, "D_target": 10**6, "unique_tokens": 10**6, "C": 1e12, "C_6ND": 6e11}
        Run(
            **labels,
            **counts,
            **tokens,
            run=f"r{k}",
            name=f"n{k}",
            status=status,
            seed=0,
            N=10**5 * (2 - k),
            N_total=10**6,
            parameters={"head": 9},
            learning_rate=1e-3,
            loss=2.5 if status == "finished" else None,
            loss_objective=None,
            bits_per_byte=None,
        ).save(tmp_path / f"run{k}")
    table = load(tmp_path)
    assert table.run.tolist() == ["r1", "r0"]
    assert table.N_head.tolist() == [9, 9]
    rows, dropped = usable(table, KaplanC())
    assert rows.run.tolist() == ["r0"]
    assert [(item["why"], item["count"]) for item in dropped] == [("status diverged", 1)]


def test_the_history_of_a_folder_is_a_row_an_evaluation(tmp_path):
    config = {"schedule": {"_target_": "scalelaw.optim.WarmupStableDecay", "warmup": 0.25}}
    record = run(tmp_path / "a", config=config)
    table = load(tmp_path, history=True)
    seen = [row for row in read_metrics(tmp_path / "a") if "loss" in row]
    assert len(table) == len(seen) == 3
    for name, theirs in {"step": "step", "D": "tokens", "C": "flops", "loss": "loss"}.items():
        assert sorted(table[name]) == sorted(row[theirs] for row in seen)
    last = table.loc[table.step.idxmax()]
    assert (last.D, last.C, last.loss) == (record.D, record.C, record.loss)
    assert (last.C_6ND, last.bits_per_byte) == (record.C_6ND, record.bits_per_byte)
    assert table.bits_per_byte.notna().sum() == 1
    assert set(table.run) == {record.run}
    assert set(table.warmup_steps) == {0.25 * record.steps}
    assert set(table.schedule_tokens) == {record.D}
    assert set(table.schedule) == {"WarmupStableDecay"}
    with pytest.raises(ValueError, match=r"t\.csv: history is for folders of runs and W&B"):
        load(written(tmp_path / "t.csv", "N,loss\n1,2\n"), history=True)


def test_the_hash_of_a_folder_is_of_what_its_records_say(tmp_path):
    run(tmp_path / "here" / "a")
    shutil.copytree(tmp_path / "here" / "a", tmp_path / "there" / "b")
    here, there = (load(tmp_path / name).attrs["sha256"] for name in ("here", "there"))
    assert here == there
    assert load(tmp_path / "here", history=True).attrs["sha256"] != here
    text = (tmp_path / "there" / "b" / "run.json").read_text()
    written(tmp_path / "there" / "b" / "run.json", text.replace('"seed": 0', '"seed": 1'))
    assert load(tmp_path / "there").attrs["sha256"] != here


GOOD = [{"N": 1e6 * 2**k, "D": 1e8 * 3**j, "loss": 3 + 1 / (1 + k + j)} for k in range(4) for j in range(3)]
LAST = {"N": 1e6, "D": 1e8, "loss": 3.0}


def changed(**cells):
    return [*GOOD, LAST | cells]


# What is wrong with rows, and what has to be said of it, whatever kind of file they come from.
BAD = {
    "header only": ([], "no rows"),
    "string": (changed(D="abc"), ", row 13, column D: 'abc' is not a number"),
    "thousands": (
        changed(N="1,300,000,000"),
        ", row 13, column N: '1,300,000,000' is not a number: write 1300000000",
    ),
    "suffix": (changed(N="7B"), ", row 13, column N: '7B' is not a number: write 7e9"),
    "small suffix": (changed(D="1.5 k"), ", row 13, column D: '1.5 k' is not a number: write 1.5e3"),
    "underscores": (changed(N="1_000"), ", row 13, column N: '1_000' is not a number: write 1000"),
    "empty": (changed(loss=None), ", row 13, column loss: is empty"),
    "nan": (changed(loss=np.nan), ", row 13, column loss: is empty"),
    "first": ([LAST | {"D": None}, *GOOD], ", row 1, column D: is empty"),
    "zero": (changed(N=0), ", row 13, column N: is 0, not a positive number"),
    "negative": (changed(loss=-3), ", row 13, column loss: is -3, not a positive number"),
    "infinite": (changed(D=np.inf), ", row 13, column D: is inf, not a positive number"),
    "missing": ([{"N": 1e6, "loss": 3}, {"N": 2e6, "loss": 2}], ": no column D; it has N, loss"),
    "three rows": (GOOD[:2] + GOOD[3:4], ": 3 rows for the 5 parameters"),
    "one N": (
        [{"N": 1e6, "D": k * 1e8, "loss": 3 + 1 / k} for k in range(1, 9)],
        ", column N: 1e+06 in every row, so chinchilla cannot tell how the loss depends on N",
    ),
    "unfinished": (
        [row | {"status": "crashed"} for row in GOOD],
        ": no row is left: 12 dropped (status crashed)",
    ),
}
WRITERS = {
    "csv": lambda path, rows: pd.DataFrame(rows, columns=None if rows else ["N"]).to_csv(path, index=False),
    "jsonl": lambda path, rows: written(path, "\n".join(map(json.dumps, rows))),
    "parquet": lambda path, rows: (
        pd.DataFrame(rows, columns=None if rows else ["N"])
        .astype({name: str for name in ("N", "D") if any(isinstance(row.get(name), str) for row in rows)})
        .to_parquet(path)
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_told_in_one_line(tmp_path, name, kind):
    rows, message = BAD[name]
    path = tmp_path / f"t.{kind}"
    WRITERS[kind](path, rows)
    with pytest.raises(ValueError) as caught:
        fit(load(path), Chinchilla(), **QUICK)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


UNREADABLE = {
    "t.csv": {
        "": "t.csv: empty",
        "N,D,loss,N\n1,2,3,4\n": "t.csv: column N appears 2 times",
        # Cells beyond the header: a reader may take the first column for names of rows, and shift the rest.
        "N,D,loss\n1,300,2e9,3\n1,300,2e9,3\n": "t.csv, row 1: 4 cells for 3 columns",
        "N,D,loss\n1e6,2e9,3\n1,300,2e9,3\n": "t.csv, row 2: 4 cells for 3 columns",
        'N,D,loss\n1e6,"2e9,3\n': "t.csv: cannot be read as csv",
    },
    "t.jsonl": {
        '{"N": 1, "D": 2, "N": 3}': "t.jsonl, line 1: column N appears twice",
        '{"a": {"b": 1}, "a.b": 2}': "t.jsonl, line 1: column a.b appears 2 times",
        '{"N": 1}\n{"N": ': "t.jsonl, line 2: not JSON",
        '{"N": 1}\n[1, 2]': "t.jsonl, line 2: not an object",
    },
    "t.json": {'{"N": [1, 2]}': "t.json: a table in JSON is a list of objects", "[": "t.json: not JSON"},
    "t.parquet": {"x": "t.parquet: cannot be read as parquet"},
    "t.csv.gz": {"x": "t.csv.gz: cannot be read as csv"},
    "t.xlsx": {"x": "t.xlsx: a table is .csv, .tsv, .json, .jsonl or .parquet"},
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, of in UNREADABLE.items() for text in of])
def test_what_is_no_table_is_told_in_one_line(tmp_path, name, text):
    with pytest.raises(ValueError) as caught:
        load(written(tmp_path / name, text))
    assert UNREADABLE[name][text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_columns_of_one_name_are_refused_in_parquet_and_in_memory(tmp_path):
    twice = pa.table([pa.array([1.0]), pa.array([2.0])], names=["N", "N"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet: column N appears 2 times"):
        load(tmp_path / "t.parquet")
    table = pd.concat([as_table(**grid(3, 3)), pd.Series(1.0, range(1, 10), name="N")], axis=1)
    with pytest.raises(ValueError, match="table: column N appears 2 times"):
        usable(table, Chinchilla())


def test_places_without_runs_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"no\.csv: no such file"):
        load(tmp_path / "no.csv")
    with pytest.raises(ValueError, match=r"no rows: no run record \(run.json\) and no W&B run"):
        load(tmp_path)


def test_a_column_that_is_not_there_is_looked_for_under_other_names(tmp_path):
    path = written(tmp_path / "t.csv", "Model Size,tokens,train_loss,val/loss,n_layers\n1e6,1e8,3,3,2\n")
    expected = {"N": "Model Size", "D": "tokens", "loss": "val/loss"}
    for name, theirs in expected.items():
        with pytest.raises(
            ValueError, match=f"t.csv: no column {name}; perhaps columns.{name}='{theirs}'; it has"
        ):
            check_positive(load(path), name)
    with pytest.raises(ValueError, match=r"no column vocabulary; it has Model Size, tokens, train_loss"):
        check_positive(load(path), "vocabulary")
    with pytest.raises(
        ValueError, match=r"no column model size to take as N \(perhaps 'Model Size'\); it has"
    ):
        load(path, {"N": "model size"})


def test_any_column_can_be_asked_to_be_positive(tmp_path):
    path = written(tmp_path / "t.csv", "N,loss,weight,width\n1e6,3,1,64\n2e6,2,0,wide\n")
    table = load(path)
    assert check_positive(table, "N").tolist() == [1e6, 2e6]
    with pytest.raises(ValueError, match=r"t\.csv, row 2, column weight: is 0, not a positive number"):
        check_positive(table, "weight")
    with pytest.raises(ValueError, match=r"t\.csv, row 2, column width: 'wide' is not a number"):
        check_positive(table, "width")


HEAD = "N,D,loss\n"
CELLS = st.sampled_from(["1e6", "2e7", "3e8", "0", "-1", "", "nan", "inf", "x", "1e400", " 5e6 ", '"', "é"])


def fitted_or_told(load_table) -> str:
    """The fit as JSON without NaN, or the one line that says why there is none; anything else is raised."""
    try:
        told = json.dumps(fit(load_table(), Chinchilla(), **QUICK).to_json(), allow_nan=False)
    except ValueError as error:
        told = str(error)
        if not told.startswith("table") and "/t." not in told:
            raise
    assert "\n" not in told
    return told


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=8))
def test_any_text_is_a_fit_or_one_line(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    written(path, HEAD + "\n".join(",".join(row) for row in rows))
    fitted_or_told(lambda: load(path))


NUMBER = st.sampled_from([1e6, 2e7, 3e8, 4.5, 2, 0, -1, 10**30, 10**400, float("nan"), float("inf")])
ODD = st.sampled_from([None, True, "", "7B", "x\ny", "1e6", [], [1.0], {}, {"a": 1}, {"a": {"b": "c"}}])
JSON_ROW = st.dictionaries(
    st.sampled_from(["N", "D", "C", "loss", "status", "run", "architecture"]), NUMBER | ODD
)


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(JSON_ROW, max_size=8), good=st.integers(0, 12))
def test_any_json_is_a_fit_or_one_line(tmp_path_factory, rows, good):
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    written(path, "\n".join(map(json.dumps, GOOD[:good] + rows)))
    fitted_or_told(lambda: load(path))


COLUMNS = {
    "float": NUMBER.map(lambda value: float(min(value, 1e300))),
    "int": st.integers(-2, 10**9),
    "text": st.sampled_from(["a", "1e6", "", "7B", "finished", "é\n"]),
    "bool": st.booleans(),
    "date": st.sampled_from([datetime.datetime(2026, 1, 1), datetime.datetime(1999, 1, 1)]),
    "list": st.lists(st.floats(allow_nan=True), max_size=2),
    "decimal": st.sampled_from([decimal.Decimal("1.5"), decimal.Decimal("NaN"), None]),
    "complex": st.sampled_from([1j, 2 + 0j]),
    "object": NUMBER | ODD,
}


@st.composite
def frames(draw):
    """A table whose columns are each of one kind, as pandas or Parquet may hand them over."""
    size = draw(st.integers(0, 9))
    table = pd.DataFrame(index=range(size))
    for name in draw(st.sets(st.sampled_from(["N", "D", "C", "loss", "status", "run", "weight"]))):
        cells = draw(st.lists(COLUMNS[draw(st.sampled_from(sorted(COLUMNS)))], min_size=size, max_size=size))
        column = pd.Series(cells, dtype=object)
        kinds = {type(cell) for cell in cells}
        table[name] = column.infer_objects() if draw(st.booleans()) else column
        if kinds in ({str}, {int}) and draw(st.booleans()):
            table[name] = column.astype("category")
    return table


@settings(max_examples=60, deadline=None)
@given(table=frames())
def test_any_frame_is_a_fit_or_one_line(tmp_path_factory, table):
    fitted_or_told(lambda: table)
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    try:
        table.to_parquet(path)
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        return  # Parquet knows columns of one kind only
    fitted_or_told(lambda: load(path))


def test_unfinished_runs_are_left_out_with_a_note(tmp_path):
    table = as_table(**grid(4, 4)).assign(status="finished")
    table.loc[[2, 5], "status"] = ["diverged", None]
    table.loc[2, "loss"] = np.nan
    found = fit(table, Chinchilla(), **QUICK)
    assert found.n == 14
    assert [(item["why"], item["rows"]) for item in found.dropped] == [
        ("status diverged", [2]),
        ("status missing", [5]),
    ]


def test_architectures_are_fitted_apart_and_one_that_cannot_be_is_told():
    parts = [
        as_table(**grid(5, 3)).assign(architecture="b"),
        as_table(**grid(5, 3, true=[1.2, 90, 300, 0.3, 0.3])).assign(architecture="a"),
        as_table(**grid(1, 3)).assign(architecture="c"),
    ]
    fits, refused = fit_each(pd.concat(parts, ignore_index=True), Chinchilla(), **QUICK)
    assert list(fits) == ["a", "b"]
    assert fits["a"].params["E"] == pytest.approx(1.2, rel=1e-8)
    assert fits["b"].params["E"] == pytest.approx(1.7, rel=1e-8)
    assert list(refused) == ["c"]


def test_best_along_keeps_what_nothing_beats():
    table = as_table(N=[1, 1, 2, 2, 3], D=[1, 2, 1, 2, 1], loss=[5, 4, 4.5, 3, 3])
    assert best_along(table, "N").index.tolist() == [2, 4]


def test_a_run_without_the_common_loss_is_dropped_and_told():
    """As a masked LM's: finished, with its objective's loss alone. Any other empty loss is an error still."""
    table = pd.DataFrame(grid(3, 3)).assign(status="finished", loss_objective=2.0)
    table.loc[4, "loss"] = np.nan
    rows, dropped = usable(table, Chinchilla())
    assert len(rows) == len(table) - 1
    why = "no common loss: nothing taught to continue a text"
    assert dropped == [{"why": why, "count": 1, "rows": [4]}]
    table.loc[4, "loss_objective"] = np.nan
    with pytest.raises(ValueError, match="row 4, column loss"):
        usable(table, Chinchilla())
