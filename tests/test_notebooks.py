"""The notebooks: each is what its source says, holds no outputs, runs to its end, and prints the truth."""

import re
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "analysis/notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?|inf)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Executes a notebook, by name, in a kernel that knows nothing of the user's own settings."""

    def executed(name: str) -> nbformat.NotebookNode:
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        where = {"metadata": {"path": str(FOLDER)}}
        return NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()

    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        yield executed


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


def printed(notebook: nbformat.NotebookNode) -> str:
    """What was printed; a warning, which goes to the other stream, fails, and so does a lack of figures."""
    streams = [out for out in outputs(notebook) if out.output_type == "stream"]
    assert [out.text for out in streams if out.name != "stdout"] == []
    figures = [
        out.data["image/svg+xml"] for out in outputs(notebook) if "image/svg+xml" in out.get("data", {})
    ]
    assert figures
    assert "<path" in figures[-1]
    return "".join(out.text for out in streams)


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_there_are_three():
    assert len(SOURCES) == 3
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_each_is_what_its_source_says_without_outputs(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    wanted = jupytext.read(source)
    assert cells(notebook) == cells(wanted), f"run: jupytext --to ipynb --update {source}"
    assert notebook.metadata.kernelspec == wanted.metadata.kernelspec
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_a_planted_law_comes_out_of_a_table_of_foreign_columns(run):
    told = printed(run("fit_your_own_table"))
    found = re.findall(rf"(\w+) = {NUMBER} \(95 % {NUMBER} to {NUMBER}\), planted {NUMBER}", told)
    assert [name for name, *_ in found] == ["E", "A", "B", "alpha", "beta"]
    for name, *numbers in found:
        value, low, high, planted = map(float, numbers)
        assert low < value < high, name
        assert low < planted < high, name
    assert "left out: 1 rows, status diverged" in told
    assert "42 rows are of 14 runs and not independent" in told
    assert "verdict: converged" in told
    now, after, naive = (
        float(re.findall(pattern, told)[0])
        for pattern in (r"\+- ([\d.]+) now", r"\+- ([\d.]+) after", r"20 tokens a parameter.*\+- ([\d.]+)")
    )
    assert after < naive < now


def test_counting_without_embeddings_makes_kaplan_s_exponent_of_chinchilla_s(run):
    told = printed(run("kaplan_and_chinchilla_reconciled"))
    planted, ours = told.split("C as counted", maxsplit=1)
    a = {
        way: float(value) for way, value in re.findall(rf"(N\w* and 6 N\w* D): a = {NUMBER}$", planted, re.M)
    }
    assert a["N and 6 N D"] == pytest.approx(0.78, abs=0.02)  # Pearce & Song 2024, with this surface
    assert a["N_total and 6 N_total D"] == pytest.approx(0.3658 / (0.3478 + 0.3658), abs=0.005)
    here = {way: float(value) for way, value in re.findall(rf"(N\w* and 6 N\w* D): a = {NUMBER} \(", ours)}
    assert here["N_total and 6 N_total D"] < here["N and 6 N D"]
    errors = {name: float(error) for name, error in re.findall(rf"^(.+): error of {NUMBER}%", told, re.M)}
    assert len(errors) == 3
    assert f"best forecaster: {min(errors, key=errors.__getitem__)}" in told


def test_three_architectures_differ_and_what_that_is_worth_is_said_with_its_doubt(run):
    told = printed(run("three_architectures_compared"))
    assert "causal_decoder, encoder_decoder, prefix_decoder differ: one law for all is rejected" in told
    pattern = rf"(\w+) at C = {NUMBER}: {NUMBER} \(95 % {NUMBER} to {NUMBER}\) times; (.*)"
    worth = re.findall(pattern, told)
    assert [group for group, *_ in worth] == ["encoder_decoder", "prefix_decoder"]
    for _, _, *numbers, said in worth:
        m, low, high = map(float, numbers)
        assert low < m < high
        assert m > 1  # with half the causal decoder's labels at equal D
        assert said.startswith("not determined") == (low <= 1 <= high)
    # Each group's own fit stands; of the joint one, what 18 runs a group leave open is named.
    assert len(re.findall(r"^\w+, 18 runs: converged$", told, re.M)) == 3
    assert re.search(r"^not determined: A\[causal_decoder\], ", told, re.M)


def test_the_kernel_is_of_this_python(run):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import sys; print(sys.prefix)")])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert outputs(notebook)[0].text.strip() == sys.prefix
