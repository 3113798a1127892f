"""What README tells people to type works as it stands there."""

import json
import re
import shlex
import subprocess
from importlib import import_module

import pytest
from commands import ROOT, TINY, call

README = (ROOT / "README.md").read_text()
COMMANDS = [
    words
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    for line in block.splitlines()
    if (words := shlex.split(line, comments=True))
]
MAKE = [words[1] for words in COMMANDS if words[0] == "make"]
DOORS = [words[2:] for words in COMMANDS if words[0] == "python"]


def test_every_command_is_one_that_is_tested_below():
    assert len(MAKE) + len(DOORS) == len(COMMANDS)
    assert {"demo", "test"} <= set(MAKE)
    assert len(DOORS) >= 5


@pytest.mark.parametrize("target", MAKE)
def test_make_knows_the_target(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"pytest|experiments|ruff|pip|bench", done.stdout), done.stdout


def test_ci_runs_the_test_command_of_the_readme():
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("\nmake test")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder with the user's text and table that README's commands speak of."""
    words = " ".join(f"word{i % 17} and{i % 5}" for i in range(400))
    (tmp_path / "book.txt").write_text("\n\n".join([words[i : i + 300] for i in range(0, 3000, 100)]))
    rows = [
        f"{N},{D},{1.8 + 400 / N**0.34 + 400 / D**0.28}"
        for N in (1e6, 4e6, 16e6, 64e6)
        for D in (1e8, 4e8, 16e8, 64e8)
    ]
    (tmp_path / "table.csv").write_text("\n".join(["Model Size,D,loss", *rows]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", DOORS, ids=" ".join)
def test_the_command_runs(words, elsewhere, monkeypatch, capsys):
    module, *arguments = words
    command = import_module(module).main
    if "-m" in arguments or module == "experiments.report":
        # Minutes long, and run for real by `make demo` and the sweep tests: here only that it composes.
        arguments = [*(a for a in arguments if a != "-m" and "," not in a), "--cfg", "job"]
    elif module == "experiments.plan":
        arguments += ["time=none"]  # measuring has tests of its own, on smaller studies
    elif module == "experiments.train":
        text = [] if "data=text" in arguments else ["data=text", "data.path=book.txt"]
        arguments += [*text, *TINY]
    assert call(command, monkeypatch, *arguments) == 0, capsys.readouterr().err


def test_every_file_it_shows_is_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_figures_it_quotes_are_those_of_the_committed_results():
    fits = json.loads((ROOT / "docs/results/demo/fits.json").read_text())
    held = {run for extent in fits["held_out"].values() for run in extent["runs"]}
    predicted = [row for row in fits["predictions"] if row["run"] in held]
    errors = [abs(row["relative_error"]) for row in predicted]
    assert (
        f"absolute error of {100 * sum(errors) / len(errors):.1f} % (at most {100 * max(errors):.1f} %)"
        in README
    )
    assert len(predicted) == 9
    assert all(row["inside"] for row in predicted)
    for row in predicted:
        if row["C"] > 9e11:
            figures = [row[key] for key in ("loss", "predicted", "lo95", "hi95")]
            assert "{:.3f} | {:.3f} | {:.3f} to {:.3f}".format(*figures) in README, figures
    optimum = fits["frontier"]["causal_decoder"]["closed_form_6ND"]
    a, (low, high) = optimum["a"], optimum["interval95"]["a"]
    assert f"{a:.2f} [{low:.2f}, {high:.2f}]" in README
