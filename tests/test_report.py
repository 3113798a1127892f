"""The report of a planted study: what it fits, what it predicts, what it admits, and its bytes."""

import dataclasses
import html as escaping
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from study import PLANTED, write_study

from analysis.fits import undetermined, verdict
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import KaplanC, KaplanD, KaplanN
from analysis.report import results
from analysis.report import study_page as report
from analysis.report.caution import caution
from analysis.report.holdout import reach, roles
from analysis.report.html import Num, prose, sci, sig, table
from analysis.report.page import definitions
from analysis.report.recipe import check_common
from analysis.report.study import collect, decided
from scalelaw.run import Run, records

LAWS = {"chinchilla": Chinchilla(), "kaplan_N": KaplanN(), "kaplan_D": KaplanD(), "kaplan_C": KaplanC()}
CHOSEN = Path(__file__).parents[1] / "docs/results/adaptive/decisions.json"
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


def test_a_study_that_chose_its_own_runs_says_how(folder, study, page, tmp_path):
    """The rounds of the study of docs/studies.md: eight points unknown, then four runs at two points, ..."""
    assert study.decisions is None
    assert "How the runs were chosen" not in page
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    shutil.copy(CHOSEN, own)
    told = collect(own, laws=LAWS, **KNOBS | {"bootstrap": 0})
    text = report.page(told, title="Chosen")
    section = text[text.index('id="decisions"') :]
    section = section[: section.index("</section>")]
    rows = section.split("<tr")[2:]
    assert len(rows) == len(json.loads(CHOSEN.read_text())["rounds"])
    assert "53.5k on 70.9k" in rows[0]
    assert "53.5k on 70.9k, 2 times; 20.9k on 46.2k, 2 times" in rows[1]
    assert "0.277 (0.3)" in rows[1]
    assert "2.00 (2)" in rows[1]
    assert "It ended: " in section
    assert "of the cheapest run" in section


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: "",
        lambda told: json.dumps(told)[:900],
        lambda told: "[]",
        lambda told: json.dumps(told | {"rounds": None}),
        lambda told: json.dumps(told | {"rounds": [{}]}),
        lambda told: json.dumps(told | {"rounds": [told["rounds"][1] | {"fit": "converged"}]}),
        lambda told: json.dumps(told | {"rounds": [told["rounds"][1] | {"intervals": None}]}),
        lambda told: json.dumps(told | {"rounds": [told["rounds"][1] | {"chosen": [{"N": 1}]}]}),
        lambda told: json.dumps(told | {"rounds": [told["rounds"][1] | {"flops": "many"}]}),
    ],
)
def test_a_file_of_decisions_that_is_none_is_named_and_left_out(tmp_path, spoil):
    path = tmp_path / "decisions.json"
    path.write_text(spoil(json.loads(CHOSEN.read_text())))
    unread: dict[str, str] = {}
    assert decided(tmp_path, unread) is None
    assert unread[str(path)].startswith(f"{path}: no record of decisions")


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


def test_objectives_of_one_architecture_are_fitted_apart(tmp_path):
    """The same losses under another name are another fit; a run without the common loss is in none."""
    root = write_study(tmp_path, architectures=("causal_decoder", "prefix_decoder"))
    for folder, run in list(records(root)):
        if run.architecture == "causal_decoder":
            other = dataclasses.replace(run, run=f"x{run.run}", objective="fill_in_the_middle")
            other.save(folder.with_name(f"x{folder.name}"))
    masked = {"run": "e", "architecture": "encoder", "objective": "masked_lm", "loss": None}
    dataclasses.replace(run, **masked).save(root / "runs" / "e")
    study = collect(root, laws={"chinchilla": Chinchilla()}, **(KNOBS | {"bootstrap": 0}))
    assert study.architectures == [
        "causal_decoder causal_lm",
        "causal_decoder fill_in_the_middle",
        "prefix_decoder",
    ]
    fits = study.fits["chinchilla"]
    same = (fits["causal_decoder causal_lm"], fits["causal_decoder fill_in_the_middle"])
    assert same[0].params == same[1].params
    left = study.runs[study.runs.role == "left out"]
    assert left.run.tolist() == ["e"]
    report.page(study, title="objectives")


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


def rewrite(folder, k, **changes):
    """Change fields of the k-th record of a study."""
    path = sorted(folder.rglob("run.json"))[k]
    dataclasses.replace(Run.load(path.parent), **changes).save(path.parent)


RECIPE = {"optimizer": {"lr": 0.003, "betas": [0.9, 0.95]}, "data": {"tokenizer": "bytes"}, "seed": 0}


@pytest.fixture
def trio(tmp_path):
    """Three runs of one recipe, which differ in seed, shape, budget, architecture and objective only."""
    root = write_study(tmp_path / "trio", architectures=("causal_decoder",), depths=(2,))
    for k in range(3):
        varied = {name: {"_target_": k} for name in ("architecture", "objective", "shape", "budget")}
        data = {"train_sha256": "aa", "validation_sha256": "bb", "source": {"version": str(k)}}
        rewrite(root, k, config=RECIPE | varied | {"seed": k}, provenance={"data": data})
    return root


def agree(root):
    check_common(root, [Run.load(path.parent) for path in sorted(root.rglob("run.json"))])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"config": RECIPE | {"optimizer": {"lr": 0.004, "betas": [0.9, 0.95]}}},
            r"optimizer.lr (0.003, 0.004)",
        ),
        ({"config": RECIPE | {"data": {"tokenizer": "bpe"}}}, "data.tokenizer (bytes, bpe)"),
        ({"config": RECIPE | {"clip": 1.0}}, "clip (absent, 1.0)"),
        (
            {"provenance": {"data": {"train_sha256": "aa", "validation_sha256": "cc"}}},
            "data.validation_sha256 (bb, cc)",
        ),
    ],
)
def test_runs_of_different_recipes_are_refused_in_one_line(trio, changes, told):
    agree(trio)
    rewrite(trio, 2, **changes)
    with pytest.raises(ValueError) as refusal:
        collect(trio, laws=LAWS, **KNOBS)
    assert str(refusal.value) == (
        f"runs under {trio} differ in {told}: a law needs one recipe; give the others a folder of their own"
    )
    rewrite(trio, 2, status="failed", reason="killed")
    agree(trio)  # what is in no law need not share its recipe
    rewrite(trio, 2, status="finished", config={}, provenance={})
    agree(trio)


def test_an_interval_over_decades_is_no_green_verdict(study):
    surfaces = study.fits["chinchilla"]
    sure = {name: (0.9 * v, 1.1 * v) for name, v in surfaces["causal_decoder"].params.items()}
    a = surfaces["causal_decoder"].params["A"]

    def seen(**intervals):
        return dataclasses.replace(surfaces["causal_decoder"], interval95=sure | intervals)

    assert undetermined(seen()) == []
    assert verdict(seen()) == "converged"
    assert undetermined(seen(A=(a, 99 * a), alpha=(0.2, 0.99))) == []
    assert undetermined(seen(A=(a, 101 * a), alpha=(0.2, 1.01), beta=(0.0, 0.4))) == ["A", "alpha", "beta"]
    assert undetermined(seen(alpha=(-0.1, 0.4), B=(1.0, np.inf))) == ["B", "alpha"]
    wide = seen(A=(1e-6, 5e20), alpha=(0.0, 5.0))
    doubted = {**study.fits, "chinchilla": {**surfaces, "causal_decoder": wide}}
    doubt = dataclasses.replace(study, fits=doubted)
    told = "optimum found; not determined by these runs: A, alpha"
    assert f'<span class="warn">{told}</span>' in report.page(doubt, title="doubt")
    assert doubt.label("causal_decoder") == "causal decoder (undetermined: A, alpha)"
    assert ("chinchilla", "causal_decoder", told) in [(r[0], r[1], r[-1]) for r in results.fit_rows(doubt)]
    laws = results.fits_json(doubt)["laws"]
    assert laws["chinchilla"]["causal_decoder"]["undetermined"] == ["A", "alpha"]
    assert verdict(dataclasses.replace(wide, status="converged at a bound: E")) == "converged at a bound: E"


def test_the_glossary_says_how_the_intervals_were_drawn(page):
    assert "every run has a weight drawn at random" in page
    assert "resampled with replacement" not in page  # 15 runs a law: no pairs
    assert "resampled with replacement" in definitions({"pairs"})
    assert "No intervals were drawn." in definitions({None})


def test_the_page_says_that_an_architecture_comes_with_its_objective(study, page):
    told = caution(study)
    assert (
        "causal decoder with causal_lm, encoder decoder with prefix_lm, prefix decoder with prefix_lm" in told
    )
    assert "1.00 (causal decoder), 0.50 (encoder decoder), 0.50 (prefix decoder)" in told
    assert "skip one rectangle" not in told  # the planted architectures cost the same
    assert page.count("fewer labels") == 2  # intro and caption
    cheaper = study.runs.assign(
        C=study.runs.C.where(study.runs.architecture != "prefix_decoder", study.runs.C * 0.9)
    )
    told = caution(dataclasses.replace(study, runs=cheaper))
    assert "(by 10%, median over common sizes), as its two attention parts skip one rectangle" in told


def test_the_kaplan_caption_claims_no_converged_runs(page):
    assert "holds back" not in page
    assert "not Kaplan&#x27;s converged L(N)" in page


def test_the_test_says_how_far_it_extrapolates(study, page):
    its = study.of("causal_decoder")
    C = its.C.max() / its.C[its.role == "fitted"].max()
    assert f"Causal decoder: N up to 1.59 times the largest fitted, C up to {C:.3g} times" in page
    assert C > 2
    # 80 tokens a parameter at the largest size: more than any fitted run read.
    assert "D outside the fitted range in 1 of 3 runs" in page
    level = its.assign(C=1e11)
    assert "C not beyond the fitted range" in reach(
        level[level.role == "fitted"], level[level.role == "held out"]
    )
    small = its.assign(D=its.D.clip(upper=its.D[its.role == "fitted"].max()))
    assert reach(small[small.role == "fitted"], small[small.role == "held out"]).endswith(
        "D within the fitted range"
    )


def test_a_run_killed_without_a_record_is_listed_with_its_last_words(tmp_path):
    root = write_study(tmp_path, architectures=("causal_decoder",))
    (root / "runs" / "gone").mkdir()
    (root / "runs" / "gone" / "log.txt").write_text("step 1\nKilled: <memory>\n\n")
    (sorted(root.rglob("run.json"))[0].parent / "log.txt").write_text("well\n")  # has a record
    study = collect(root, laws=LAWS, **{**KNOBS, "bootstrap": 0})
    why = "no record; last words: Killed: <memory>"
    assert results.left_out_rows(study) == [("gone", "unknown", why)]
    assert results.fits_json(study)["left_out"] == {"gone": {"status": "unknown", "reason": why}}
    page = report.page(study, title="killed")
    assert "Runs that did not finish" in page
    assert escaping.escape(why) in page
    assert "18 of 19" in page
    assert "1 of 19 runs; none" in page


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
