"""The report of a planted study: what it fits, what it predicts, what it admits, and its bytes."""

import dataclasses
import html as escaping
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from study import PLANTED, write_study

from analysis import report, results
from analysis.chinchilla import Chinchilla
from analysis.holdout import roles
from analysis.html import Num, prose, sci, sig, table
from analysis.kaplan import KaplanC, KaplanD, KaplanN
from analysis.study import collect

LAWS = {"chinchilla": Chinchilla(), "kaplan_N": KaplanN(), "kaplan_D": KaplanD(), "kaplan_C": KaplanC()}
KNOBS = {"held_out": 1, "bootstrap": 200, "delta": 1e-3, "seed": 0, "isoflop_width": 1.3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("demo"), wreck="prefix_decoder")


@pytest.fixture(scope="module")
def study(folder):
    return collect(folder, laws=LAWS, **KNOBS)


@pytest.fixture(scope="module")
def fits(study):
    return json.loads(json.dumps(results.fits_json(study), allow_nan=False))


@pytest.fixture(scope="module")
def page(study):
    return report.page(study, title="Scaling laws: demo")


def test_planted_exponents_are_in_fits_json(fits):
    for architecture, planted in PLANTED.items():
        fit = fits["laws"]["chinchilla"][architecture]
        assert fit["status"] == "converged"
        for name in ("alpha", "beta", "E"):
            low, high = fit["interval95"][name]
            margin = (
                high - low
            ) / 2  # 15 noisy runs: an interval misses now and then, twice its width does not
            assert low - margin < planted[name] < high + margin, (architecture, name)
        assert abs(fit["params"]["beta"] - planted["beta"]) < 0.03
        assert abs(fit["params"]["alpha"] - planted["alpha"]) < 0.06


def test_the_held_out_rungs_are_not_fitted_and_are_predicted(fits):
    held = [row for row in fits["predictions"] if row["role"] == "held out"]
    assert {row["N"] for row in held} == {592704}
    assert len(held) == 9
    named = {run for entry in fits["held_out"].values() for run in entry["runs"]}
    assert named == {row["run"] for row in held}
    fitted = {run for entry in fits["fitted_on"].values() for run in entry["runs"]}
    assert not named & fitted
    assert all(entry["N"][1] == 373248 for entry in fits["fitted_on"].values())
    assert sum(row["inside"] for row in held) >= 8
    for row in held:
        assert row["inside"] == (row["lo95"] <= row["loss"] <= row["hi95"])
        assert row["relative_error"] == pytest.approx(row["predicted"] / row["loss"] - 1)
        assert abs(row["relative_error"]) < 0.02


def test_a_diverged_run_is_listed_with_its_reason_and_is_in_no_fit(study, fits, page):
    (gone,) = fits["left_out"]
    assert fits["left_out"][gone] == {"status": "diverged", "reason": "loss was nan at step 40"}
    assert gone not in {run for entry in fits["fitted_on"].values() for run in entry["runs"]}
    assert fits["laws"]["chinchilla"]["prefix_decoder"]["n"] == 14
    assert fits["laws"]["chinchilla"]["causal_decoder"]["n"] == 15
    assert "loss was nan at step 40" in page
    assert "53 of 54" in page
    assert results.left_out_rows(study)[0][1:] == ("diverged", "loss was nan at step 40")


def test_the_page_is_one_file_with_every_figure_and_no_link_out(page):
    assert page.count("<figure>") == page.count("<svg ") == 7
    for name in ("curves", "compute", "isoflop", "surface", "held-out", "side-by-side", "kaplan"):
        assert f'id="{name}"' in page
    loading = re.findall(r'(?:src|href|data|action)="([^"]*)"|url\(([^)]*)\)|@import', page)
    assert all((a or b).startswith("#") for a, b in loading)
    assert "<link" not in page
    assert len(page) < 2_000_000


def test_the_header_shows_the_words_that_all_commands_share():
    assert report._common(["x -m study=demo depth=2", "x -m study=demo depth=3"]) == "x -m study=demo …"
    assert report._common(["x", "x"]) == report._common(["x"]) == "x"


def test_ids_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_optimum_beyond_the_data_is_called_extrapolated(study, fits, page):
    frontier = fits["frontier"]["causal_decoder"]
    top = fits["fitted_on"]["causal_decoder"]["N"][1]
    assert not frontier["inside"][-1]
    assert frontier["N"][-1] > top
    assert "extrapolated" in page
    assert study.extrapolates("causal_decoder")


def test_the_same_runs_give_the_same_bytes(folder, study, page, fits):
    again = collect(folder, laws=LAWS, **KNOBS)
    assert results.runs_csv(again) == results.runs_csv(study)
    assert json.loads(json.dumps(results.fits_json(again))) == fits
    assert report.page(again, title="Scaling laws: demo") == page


def test_runs_csv_has_one_row_a_run_and_whole_counts(study):
    lines = results.runs_csv(study).splitlines()
    assert len(lines) == 55
    head = lines[0].split(",")
    row = dict(zip(head, lines[1].split(","), strict=True))
    assert {"run", "architecture", "N", "N_total", "D", "C", "C_6ND", "loss", "status", "role"} <= set(head)
    assert row["N"] == "13824"
    assert float(row["C_6ND"]) == 6 * int(row["N"]) * int(row["D"])


def test_a_fit_that_cannot_be_had_says_so_on_the_page(tmp_path):
    root = write_study(tmp_path, architectures=("causal_decoder",), depths=(2, 3))
    study = collect(root, laws=LAWS, **KNOBS)
    status = results.fits_json(study)["laws"]["chinchilla"]["causal_decoder"]["status"]
    assert status.startswith("not fitted: ")
    assert "cannot tell how the loss depends on N" in status  # one size is left to fit
    page = report.page(study, title="small")
    assert status in escaping.unescape(page)


def test_a_fit_that_did_not_converge_says_so_in_table_and_figures(study):
    doubted = "converged at a bound: B"
    surfaces = study.fits["chinchilla"]
    bad = dataclasses.replace(surfaces["causal_decoder"], status=doubted)
    seen = dataclasses.replace(study, fits={**study.fits, "chinchilla": {**surfaces, "causal_decoder": bad}})
    assert seen.label("causal_decoder") == "causal decoder (converged at a bound)"
    assert seen.label("prefix_decoder") == "prefix decoder"
    page = report.page(seen, title="doubt")
    assert f'<span class="bad">{doubted}</span>' in page
    assert ("chinchilla", "causal_decoder", doubted) in [(r[0], r[1], r[-1]) for r in results.fit_rows(seen)]


def test_holding_out_everything_is_refused(study):
    with pytest.raises(ValueError, match="held_out=6 leaves nothing to fit: no architecture has more than 6"):
        roles(study.runs, held_out=6)
    with pytest.raises(ValueError, match="cannot be negative"):
        roles(study.runs, held_out=-1)
    two = roles(study.runs, held_out=2)
    assert set(study.runs.N[two == "held out"]) == {373248, 592704}


def test_an_architecture_with_one_size_is_refused_by_name_and_the_others_are_reported(tmp_path):
    root = write_study(tmp_path, architectures=("causal_decoder",))
    write_study(root, architectures=("prefix_decoder",), depths=(2,))
    study = collect(root, laws=LAWS, **{**KNOBS, "bootstrap": 0})
    assert list(study.fits["chinchilla"]) == ["causal_decoder"]
    page = report.page(study, title="uneven")
    assert page.count("not fitted: all its finished sizes are held out") == len(LAWS)


def test_an_empty_or_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="no run record below it"):
        collect(tmp_path, laws=LAWS, **KNOBS)
    with pytest.raises(ValueError, match="no such folder"):
        collect(tmp_path / "nowhere", laws=LAWS, **KNOBS)


def test_numbers_keep_their_zeros_and_their_signs():
    assert sig(1.7, 4) == "1.700"
    assert sig(592704.0, 4) == "592704"
    assert sig(-0.327) == "−0.3270"
    assert sig(float("nan")) == "–"
    assert sci(2.18e14) == "2.18&thinsp;×&thinsp;10<sup>14</sup>"
    assert prose("N^alpha < C^0.53 at 2.2e+14, N_opt") == (
        "N<sup>α</sup> &lt; C<sup>0.53</sup> at 2.2&thinsp;×&thinsp;10<sup>14</sup>, N<sub>opt</sub>"
    )
    assert "&lt;b&gt;" in table(["a"], [["<b>"]])
    assert 'data-v="2"' in table(["a"], [[Num("two", 2.0)]])


def test_the_door_writes_three_files_and_prints_plain_lines(folder):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "experiments.report"]
    done = subprocess.run(
        [*command, f"runs={folder}", "bootstrap=50"], capture_output=True, text=True, cwd=root, check=True
    )
    assert {"runs.csv", "fits.json", "report.html"} <= {p.name for p in folder.iterdir()}
    lines = [line for line in done.stdout.splitlines() if "N 592704" in line]
    assert len(lines) == 9
    assert all("predicted" in line and "95 % interval" in line and "error" in line for line in lines)
    assert sum("status converged" in line for line in done.stdout.splitlines()) >= 3
    assert np.isfinite(json.loads((folder / "fits.json").read_text())["predictions"][0]["lo95"])
    missing = subprocess.run([*command, f"runs={folder}/no"], capture_output=True, text=True, cwd=root)
    assert missing.returncode == 1
    assert missing.stderr.strip().splitlines() == [f"error: runs={folder}/no: no such folder"]
    assert not (folder / "no").exists()
