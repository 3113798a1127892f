"""Each mistake of a user's: one clear line, a non-zero exit."""

import pytest
from commands import TINY, book, call  # noqa: F401 (a fixture)

from experiments.train import main as train


def told(capsys, monkeypatch, *arguments: str) -> str:
    """The one line on stderr of a command that must fail."""
    assert call(train, monkeypatch, *arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bugdet.D=1e6"], "unknown key 'bugdet': did you mean 'budget'?"),
        (["optimizer.lrr=1"], "unknown key 'optimizer.lrr': did you mean 'optimizer.lr'?"),
        (["D=0"], "unknown key 'D': did you mean 'budget.D'?"),
        (["budget.D=0"], "budget.D must be a positive number, not 0"),
        (["budget=flops", "budget.C=-1e9"], "budget.C must be a positive number"),
        (["budget=flops", "budget.D=1e6"], "unknown key 'budget.D': did you mean 'budget.C'?"),
        (["architecture=transformer"], "Could not find 'architecture/transformer' Available options"),
        (["data=text"], "data.path"),
        (["data=text", "data.path=nowhere.txt"], "data.path=nowhere.txt: no such file"),
        (["objective=prefix_lm", "objective.prefix=200"], "objective.prefix=200 with a window of 16 tokens"),
        (["architecture=encoder_decoder"], "prefix 0"),
        (["evaluation.prefix=16"], "evaluation.prefix = 16 leaves no target"),
        (["shape.depth=0"], "depth must be a whole number of at least 1"),
        (["precision=int8"], "precision is one of float32, bfloat16"),
        (["optimizer.lr=0"], "optimizer.lr must be positive"),
        (["budget.D=1e6,2e6"], "Ambiguous value"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, monkeypatch, book, arguments, said):  # noqa: F811
    defaults = [] if arguments[0].startswith("data") else ["data=text", book]
    given = {argument.split(".")[0].split("=")[0] for argument in arguments}
    tiny = [argument for argument in TINY if argument.split(".")[0].split("=")[0] not in given]
    assert said in told(capsys, monkeypatch, f"output={tmp_path / 'out'}", *defaults, *tiny, *arguments)
    assert not (tmp_path / "out" / "single").exists() or not list((tmp_path / "out" / "single").iterdir())


@pytest.mark.parametrize("content", ["", "   \n\n  "])
def test_an_empty_corpus_is_one_line(tmp_path, capsys, monkeypatch, content):
    (tmp_path / "empty.txt").write_text(content)
    line = told(
        capsys, monkeypatch, *TINY, "data=text", f"data.path={tmp_path / 'empty.txt'}", f"output={tmp_path}"
    )
    assert "empty.txt" in line


def test_a_run_says_what_it_did_and_where(tmp_path, capsys, monkeypatch, book):  # noqa: F811
    assert call(train, monkeypatch, "data=text", book, *TINY, f"output={tmp_path}") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "finished" in line
    assert "nats/token" in line
    assert (tmp_path / line.split(str(tmp_path) + "/")[1]).exists()
