"""Tables from files and records: what is read, what is filled in, what is refused and in which words."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import as_table, grid

from analysis.chinchilla import Chinchilla
from analysis.fits import fit, fit_each
from analysis.kaplan import KaplanC
from analysis.runs import best_along, load, usable
from scalelaw.run import Run

QUICK = {"delta": 1e-3, "bootstrap": 0, "seed": 0}


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_the_three_kinds_of_file_give_one_table(tmp_path):
    table = pd.DataFrame(grid(4, 3))
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True, double_precision=15)
    table.to_parquet(tmp_path / "a.parquet")
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "b.csv.gz", index=False)
    read = [load(tmp_path / name) for name in ("a.csv", "a.jsonl", "a.parquet", "b.csv.gz")]
    for other in read[1:]:
        np.testing.assert_allclose(other[["N", "D", "loss"]], read[0][["N", "D", "loss"]], rtol=1e-14)
    assert set(read[0].loss) == set(table.loss)


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


HEAD = "N,D,loss\n"
GOOD = "".join(f"{1e6 * 2**k},{1e8 * 3**j},{3 + 1 / (1 + k + j)}\n" for k in range(4) for j in range(3))
BAD = {
    "empty": ("", "t.csv: empty"),
    "header only": (HEAD, "t.csv: no rows"),
    "string": (HEAD + GOOD + "1e6,abc,3\n", "t.csv, row 13, column D: 'abc' is not a number"),
    "nan": (HEAD + GOOD + "1e6,1e8,nan\n", "t.csv, row 13, column loss: is empty"),
    "blank": (HEAD + "1e6,,3\n" + GOOD, "t.csv, row 1, column D: is empty"),
    "zero": (HEAD + GOOD + "0,1e8,3\n", "t.csv, row 13, column N: is 0, not a positive number"),
    "negative": (HEAD + GOOD + "1e6,1e8,-3\n", "t.csv, row 13, column loss: is -3, not a positive number"),
    "infinite": (HEAD + GOOD + "1e6,inf,3\n", "t.csv, row 13, column D: is inf, not a positive number"),
    "twice": ("N,D,loss,N\n1,2,3,4\n", "t.csv: column N appears 2 times"),
    "missing": ("N,loss\n1e6,3\n2e6,2\n", "t.csv: no column D; it has N, loss"),
    "three rows": (HEAD + "1e6,1e8,3\n2e6,2e8,2.9\n4e6,1e8,2.8\n", "t.csv: 3 rows for the 5 parameters"),
    "one N": (
        HEAD + "".join(f"1e6,{k}e8,{3 + 1 / k}\n" for k in range(1, 9)),
        "t.csv, column N: 1e+06 in every row, so chinchilla cannot tell how the loss depends on N",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_told_in_one_line(tmp_path, name):
    text, message = BAD[name]
    path = written(tmp_path / "t.csv", text)
    with pytest.raises(ValueError) as caught:
        fit(load(path), Chinchilla(), **QUICK)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no\.csv: no such file"):
        load(tmp_path / "no.csv")
    with pytest.raises(ValueError, match=r"t\.xlsx: a table is"):
        load(written(tmp_path / "t.xlsx", "x"))
    with pytest.raises(ValueError, match=r"t\.parquet: cannot be read as parquet"):
        load(written(tmp_path / "t.parquet", "x"))
    with pytest.raises(ValueError, match=r"t\.csv: no column Params to take as N; it has N, D, loss"):
        load(written(tmp_path / "t.csv", HEAD + GOOD), {"N": "Params"})


CELLS = st.sampled_from(["1e6", "2e7", "3e8", "0", "-1", "", "nan", "inf", "x", "1e400", " 5e6 ", '"', "é"])


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=8))
def test_any_text_is_a_fit_or_one_line(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    written(path, HEAD + "\n".join(",".join(row) for row in rows))
    try:
        told = json.dumps(fit(load(path), Chinchilla(), **QUICK).to_json(), allow_nan=False)
    except ValueError as error:
        told = str(error)
        if "t.csv" not in told:
            raise
    assert "\n" not in told


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
