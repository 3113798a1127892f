"""The table of precisions: planted differences come out, and a run without a partner is told."""

import json

import pytest
from study import write_run

from bench.precision import rungs

SHIFTS = {("float32", 0): 0.0, ("float32", 1): 0.01, ("bfloat16", 0): 0.001, ("bfloat16", 1): 0.012}


def write(root, precision: str, seed: int, shift: float) -> None:
    where = root / f"{precision}-{seed}"
    write_run(where, "causal_decoder", 4, 53_536, 100_000, shift)
    (path,) = where.rglob("run.json")
    record = json.loads(path.read_text())
    record |= {"seed": seed, "config": {"precision": precision}}
    path.write_text(json.dumps(record))


def test_differences_are_paired_by_seed(tmp_path):
    for (precision, seed), shift in SHIFTS.items():
        write(tmp_path, precision, seed, shift)
    (row,) = rungs(tmp_path)
    assert (row["N"], row["seeds"]) == (53_536, 2)
    assert row["seed_sd"] == pytest.approx(row["loss"] * 0.01 / 2**0.5, rel=0.01)
    assert row["mean_difference"] == pytest.approx(row["loss"] * 0.0015, rel=0.02)
    assert row["largest_difference"] == pytest.approx(row["loss"] * 0.002, rel=0.02)


def test_a_seed_of_one_precision_alone_is_an_error(tmp_path):
    for (precision, seed), shift in list(SHIFTS.items())[:3]:
        write(tmp_path, precision, seed, shift)
    with pytest.raises(ValueError, match=r"N=53536: float32 has seeds \[0, 1\], bfloat16 \[0\]"):
        rungs(tmp_path)
