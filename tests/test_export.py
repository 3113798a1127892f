"""Out to Hugging Face's format and back: the logits of both sides, and every bit on the way round."""

import json
import subprocess
import sys

import pytest
import torch
from commands import TINY, book, call  # noqa: F401 (a fixture)
from tiny import ARCHITECTURES, VOCAB, batch, model

from experiments.adopt import main as adopt
from experiments.export import main as export
from experiments.generate import main as generate
from experiments.saved import saved
from experiments.train import main as train
from scalelaw import huggingface
from scalelaw.contracts import SEPARATOR, BadInput, Batch
from scalelaw.data.tokens import Bpe, Bytes
from scalelaw.models.causal_decoder import CausalDecoder
from scalelaw.models.llama import from_llama, to_llama
from scalelaw.run import Run, records

transformers = pytest.importorskip("transformers")

WINDOW, CLOSE = 19, 1e-5
TEXT = "The state of the Union, 1826 — naïve façade; 日本 \t and so on.\n\nIt's 3 o'clock."


def written(folder, *, tie: bool):
    ours = model(CausalDecoder, tie=tie)
    config, tensors = to_llama(ours, window=WINDOW)
    huggingface.write(folder, config, tensors, None)
    return ours


@pytest.mark.parametrize("tie", [False, True])
def test_transformers_reads_what_is_written_and_has_our_logits(tmp_path, tie):
    ours, given = written(tmp_path / "out", tie=tie), batch([1, 1, 1], WINDOW)
    theirs, said = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(theirs).__name__ == "LlamaForCausalLM"
    assert (theirs.config.max_position_embeddings, theirs.config.eos_token_id) == (WINDOW, SEPARATOR)
    with torch.no_grad():
        logits = theirs(given.tokens).logits
        assert logits.std() > 0.5
        torch.testing.assert_close(ours(given), logits, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_we_read_what_transformers_writes_and_have_its_logits(tmp_path, tie, dtype):
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=3,
            num_attention_heads=3,
            rms_norm_eps=1e-5,
            initializer_range=0.2,
            tie_word_embeddings=tie,
        )
    ).to(dtype)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="12KB")  # in several files
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    ours, given = from_llama(*huggingface.read(tmp_path / "theirs")), batch([1, 1, 1], WINDOW)
    # Read again: `to` has rounded their rotary angles, too.
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32)
    with torch.no_grad():
        logits = theirs(given.tokens).logits
        assert logits.std() > 0.5
        torch.testing.assert_close(ours(given), logits, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("tie", [False, True])
def test_the_way_round_keeps_every_bit(tmp_path, tie):
    ours = written(tmp_path / "out", tie=tie)
    back = from_llama(*huggingface.read(tmp_path / "out"))
    assert (back.shape, back.head is None) == (ours.shape, tie)
    one, other = ours.state_dict(), back.state_dict()
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    huggingface.write(tmp_path / "again", *to_llama(back, window=WINDOW), None)
    for name in (huggingface.CONFIG, huggingface.WEIGHTS):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("kind", ARCHITECTURES[1:])
def test_what_has_no_counterpart_is_not_written(kind):
    with pytest.raises(BadInput, match=f"{kind.__name__} has no counterpart"):
        to_llama(model(kind), window=WINDOW)


CHANGES = [
    {"rms_norm_eps": 1e-6},
    {"hidden_act": "gelu"},
    {"attention_bias": True},
    {"num_key_value_heads": 1},
    {"head_dim": 16},
    {"rope_theta": 500_000.0},
    {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10_000.0}},
    {"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.0}},
    {"model_type": "mistral"},
    {"intermediate_size": 48},
    {"num_hidden_layers": 3},
    {"num_hidden_layers": 5},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_llama_that_ours_cannot_be_is_refused(tmp_path, change):
    config, tensors = to_llama(model(CausalDecoder), window=WINDOW)
    key = next(iter(change))
    names = {"intermediate_size": "disagree", "num_hidden_layers": r"model\.layers\.[34]"}
    names |= {"rope_parameters": "rope_theta|rope_type", "rope_scaling": "rope_type"}
    with pytest.raises(BadInput, match=names.get(key, key)):
        from_llama(config | change, tensors)


def test_files_that_are_not_there_or_torn_are_named(tmp_path):
    written(tmp_path / "out", tie=False)
    with pytest.raises(BadInput, match="not empty"):
        written(tmp_path / "out", tie=False)
    path = tmp_path / "out" / huggingface.WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadInput, match=r"model\.safetensors cannot be read"):
        huggingface.read(tmp_path / "out")
    with pytest.raises(BadInput, match=r"config\.json cannot be read"):
        huggingface.read(tmp_path)


def test_a_tokenizer_goes_with_its_tokens(tmp_path):
    bpe = Bpe(vocab_size=280)
    bpe.train([TEXT * 3, "the state of the state"])
    config, tensors = to_llama(model(CausalDecoder), window=WINDOW)
    for tokenizer in (Bytes(), bpe):
        huggingface.write(tmp_path / tokenizer.name, config, tensors, tokenizer)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / tokenizer.name)
        [ours] = tokenizer.encode([TEXT])
        assert theirs(TEXT)["input_ids"] == ours.tolist()
        assert theirs.decode(ours.tolist()) == TEXT == tokenizer.decode(ours)
        assert theirs.eos_token_id == SEPARATOR
        assert len(theirs) == tokenizer.vocab_size
        assert theirs.decode([*ours.tolist(), SEPARATOR], skip_special_tokens=True) == TEXT


@pytest.fixture
def folder(tmp_path, monkeypatch, book):  # noqa: F811
    """A trained run, and it exported: (run, folder)."""
    options = ["data=text", book, f"output={tmp_path}", "checkpoints.weights=true"]
    assert call(train, monkeypatch, *TINY, *options, "architecture.tie_embeddings=true") == 0
    ((directory, _),) = records(tmp_path)
    words = [f"run={directory}", f"to={tmp_path / 'llama'}", f"cache={tmp_path / 'data'}"]
    assert call(export, monkeypatch, *words) == 0
    return directory, tmp_path / "llama"


def test_a_run_goes_out_and_comes_back_with_its_loss(tmp_path, monkeypatch, book, folder, capsys):  # noqa: F811
    run, out = folder
    words = [f"from={out}", f"to={tmp_path / 'back'}", "data=text", book, f"output={tmp_path}"]
    measured = ["window=16", "evaluation.rows=4"]
    assert call(adopt, monkeypatch, *words, *measured) == 0, capsys.readouterr().err
    ours, back = Run.load(run), Run.load(tmp_path / "back")
    assert (back.loss, back.bits_per_byte) == (ours.loss, ours.bits_per_byte)
    assert (back.parameters, back.D, back.C) == (ours.parameters, 0, 0.0)
    one, other = (saved(each, tmp_path / "data").model.state_dict() for each in (run, tmp_path / "back"))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)

    def said(each) -> str:
        capsys.readouterr()
        assert call(generate, monkeypatch, f"run={each}", "prompt=the", f"cache={tmp_path / 'data'}") == 0
        return capsys.readouterr().out

    assert said(run) == said(tmp_path / "back")

    assert call(adopt, monkeypatch, *words, *measured) == 1
    assert "is a run already" in capsys.readouterr().err
    other_tokens = ["data/tokenizer=bpe", "data.tokenizer.vocab_size=270", f"to={tmp_path / 'other'}"]
    assert call(adopt, monkeypatch, *words, *measured, *other_tokens) == 1
    assert "vocabulary of 270" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    tokens = json.loads((out / "tokenizer.json").read_text())
    a, b = "ab"
    vocab = tokens["model"]["vocab"]
    vocab[a], vocab[b] = vocab[b], vocab[a]
    (out / "tokenizer.json").write_text(json.dumps(tokens))
    assert call(adopt, monkeypatch, *words, *measured, f"to={tmp_path / 'other'}") == 1
    assert "other tokens" in capsys.readouterr().err


TASK = """
task: planted
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{next}}}}"
target_delimiter: ""
metric_list: [{{metric: perplexity}}, {{metric: acc}}]
"""


@pytest.mark.slow
def test_lm_evaluation_harness_measures_what_we_do(tmp_path, folder):
    """On a task of our own on the disk: its log-likelihoods are ours."""
    pytest.importorskip("lm_eval")
    run, out = folder
    items = [("the law of", " all"), ("states that", " was"), ("made in", " peace")]
    data = tmp_path / "items.jsonl"
    data.write_text("\n".join(json.dumps({"text": t, "next": n}) for t, n in items))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "planted.yaml").write_text(TASK.format(data=data))
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--batch_size", "1"]
    command += ["--model_args", f"pretrained={out},dtype=float32", "--tasks", "planted"]
    command += ["--include_path", str(tmp_path / "tasks"), "--output_path", str(tmp_path / "results")]
    env = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    [path] = (tmp_path / "results").rglob("results_*.json")
    found = json.loads(path.read_text())["results"]["planted"]
    ours, nats = saved(run, tmp_path / "data").model, []
    for text, word in items:
        given, target = (Bytes().encode([part])[0].tolist() for part in (text, word))
        read = torch.tensor([given + target])
        labels = torch.full_like(read, -100)
        labels[0, len(given) - 1 : -1] = read[0, len(given) :]
        with torch.no_grad():
            nats.append(float(ours.nll(Batch.of(read, labels, torch.tensor([0])))))
    assert found["perplexity,none"] == pytest.approx(torch.tensor(nats).mean().exp().item(), rel=1e-4)
