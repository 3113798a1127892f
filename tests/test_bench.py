"""The measurements run, and their files say what they say they say. No speed is asserted: machines differ."""

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training import run

from analysis.tables.runs import load
from scalelaw.objectives.causal_lm import CausalLM

ROOT = Path(__file__).parents[1]


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)  # bench is not installed
    return importlib.import_module(f"bench.{name}")


@pytest.fixture
def small(monkeypatch):
    return module("size", monkeypatch).Size(width=64, depth=2, rows=2, window=16, vocabulary=32)


@pytest.fixture(autouse=True)
def kernels():
    """Ours asks torch for deterministic kernels, which stays with the process."""
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def test_contestants_of_a_family_agree_on_tokens_and_within_ten_per_cent_on_parameters(monkeypatch):
    pytest.importorskip("transformers")
    contestants = module("contestants", monkeypatch)
    size = module("size", monkeypatch).Size(width=64, depth=2, rows=2, window=256, vocabulary=4096)
    assert {tuple(w.shape) for w in size.windows()} == {(2, 257)}
    found: dict[str, dict[str, int]] = {"decoder": {}, "encoder-decoder": {}}
    for name, it in contestants.CONTESTANTS.items():
        if it.absent(size) is None and not it.compiled:
            found[it.family][name] = it.build(size).parameters
    # Ours runs compiled only, and even to ask for that takes the compiler.
    mine = module("ours", monkeypatch).build("encoder-decoder", size)
    found["encoder-decoder"]["scalelaw encoder-decoder"] = contestants.count(mine)
    takes_part = ("scalelaw causal decoder", "nanoGPT", "Hugging Face Llama", "Hugging Face GPT-2")
    assert {f"{who}, fp32" for who in takes_part} <= found["decoder"].keys()
    assert len(found["encoder-decoder"]) >= 2
    for counts in found.values():
        assert max(counts.values()) <= 1.10 * min(counts.values()), counts


def test_turns_are_taken_by_all_who_are_there_and_the_median_is_kept(small, monkeypatch):
    pytest.importorskip("transformers")
    contestants, speed = (module(name, monkeypatch) for name in ("contestants", "speed"))
    gone = contestants.Contestant("gone", "fp32", "decoder", lambda size: None, "no_such_package")
    monkeypatch.setitem(contestants.CONTESTANTS, gone.name, gone)
    names = [name for name, it in contestants.CONTESTANTS.items() if not it.compiled]
    names = [name for name in names if name == gone.name or contestants.CONTESTANTS[name].package is None]
    names += ["Hugging Face Llama, fp32", "Hugging Face T5, fp32"]
    found = speed.turns(vars(small), names, rounds=3, seconds=0.0)["contestants"]
    assert found.pop(gone.name) == {"absent": "no_such_package is not installed"}
    assert list(found) == [name for name in names if name != gone.name]
    for name, figures in found.items():
        assert figures["steps"] == 1
        assert figures["tokens_per_second"] == sorted(figures["rounds"])[1] > 0
        assert ("flops_per_token" in figures) == name.startswith("scalelaw")


def test_a_trainer_takes_the_steps_it_is_asked_for(small, monkeypatch):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    contestants = module("contestants", monkeypatch)
    turn = contestants.CONTESTANTS["Hugging Face Llama, Trainer"].build(small)
    before = [parameter.detach().clone() for parameter in turn.model.parameters()]
    assert turn(2) > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, turn.model.parameters(), strict=True))


@pytest.mark.parametrize("architecture", ["causal decoder", "prefix decoder", "encoder-decoder"])
def test_the_counted_flops_are_those_torch_counts(architecture, small, monkeypatch):
    ours = module("ours", monkeypatch)
    model = ours.build(architecture, small)
    batch = ours.objective(architecture, small)(small.windows()[0], torch.Generator().manual_seed(0))
    # The counter does not know the CPU's fused attention.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(batch)
    assert ours.flops(architecture, small) == 3 * counter.get_total_flops()


def test_the_unchunked_reference_loss_equals_the_fused_one(monkeypatch):
    memory, ours = module("memory", monkeypatch), module("ours", monkeypatch)
    # 512 positions of a vocabulary of 4,096 are more logits than a chunk has.
    size = module("size", monkeypatch).Size(width=64, depth=2, rows=8, window=64, vocabulary=4096)
    torch.manual_seed(0)
    model = ours.build("causal decoder", size)
    batch = CausalLM()(size.windows()[0], torch.Generator())
    slopes = []
    for loss in (model.nll, lambda batch: memory.unchunked(model, batch)):
        model.zero_grad()
        nll = loss(batch)
        nll.backward()
        slopes.append((nll.item(), model.embedding.weight.grad.clone()))
    (fused, a), (unchunked, b) = slopes
    assert fused == pytest.approx(unchunked, rel=1e-6)
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_the_fused_loss_needs_less_memory(monkeypatch):
    memory = module("memory", monkeypatch)
    size = module("size", monkeypatch).Size(width=64, depth=1, rows=8, window=64, vocabulary=32768)
    found = memory.losses(size)
    # Logits in float32 and their gradient: twice 512 x 32,768 x 4 bytes, which the fused loss never holds.
    assert found["unchunked"] - found["fused"] > 512 * 32768 * 4


def test_bench_measures_the_parts_it_is_asked_for(tmp_path, monkeypatch):
    bench, table = module("__main__", monkeypatch), module("table", monkeypatch)
    plan = bench.Plan(
        ladder=((64, 1, 2),),
        windows=((8, 2),),
        vocabularies=(16,),
        window=8,
        vocabulary=32,
        rows=2,
        large_vocabulary=64,
        squares=(32,),
        compiled=(),
        rounds=3,
        seconds=0.0,
        depths=(2,),
        steps=9,
        kinds=("budgets",),
        overhead=2,
        resamples=10,
    )
    out = tmp_path / "speed.json"
    words = ["--parts", "peaks", "speed", "fitting", "--contestants", "nanoGPT, fp32", "decoder, fp32"]
    bench.main([*words, "--out", str(out)], plan)
    result = json.loads(out.read_text())
    assert set(result) == {"provenance", "peaks", "speed", "fitting"}
    assert result["provenance"]["command"].startswith("python -m bench --parts peaks")
    [row] = result["speed"]
    assert set(row["contestants"]) == {"nanoGPT, fp32", "scalelaw causal decoder, fp32"}
    peak = result["peaks"]["bfloat16"]
    assert peak["flops_per_second"] == max(p["flops_per_second"] for p in peak["all"]) > 0
    assert [fit["bootstrap"] for fit in result["fitting"]] == [0, 10]

    speeds = {name: it["tokens_per_second"] for name, it in row["contestants"].items()}
    mine, peer = speeds["scalelaw causal decoder, fp32"], speeds["nanoGPT, fp32"]
    said = table.block(result)
    assert f"| nanoGPT, its best | {mine / peer:.2f} |" in said
    assert ("nanoGPT, fp32, by" in said) == (peer > mine)
    assert (tmp_path / "speed.svg").read_text().startswith("<svg")


def test_sweeps_beside_scripts_train_as_many_runs(monkeypatch):
    sweep = module("sweep", monkeypatch)
    for name, (axes, runs) in sweep.studies((3, 2), 90).items():
        assert len(runs) == 6, name
        tokens = {int(D) for D in re.findall(r"budget.D:\[?([\d, ]+)", axes)[0].split(",") if D.strip()}
        assert {steps * sweep.STEP_TOKENS for _, steps in runs} == tokens


@pytest.mark.slow
def test_a_sweep_and_the_scripts_beside_it(monkeypatch):
    sweep = module("sweep", monkeypatch)
    found = sweep.throughput((2,), 9, ("budgets",))["budgets"]
    assert found["runs"] == 3
    assert found["steps"] == [1, 3, 9]
    assert set(found["seconds"]) == {"scalelaw", "scripts, one after the other", "scripts, one a core"}
    assert sweep.overhead(2)["seeds"]["runs"] == 2


def test_the_gpu_measurement_runs_tiny_on_a_cpu(tmp_path, monkeypatch):
    gpu = module("gpu", monkeypatch)
    out = tmp_path / "gpu.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert len(result["models"]) == 3
    assert all(row["tokens_per_second"] > 0 for row in result["models"])
    assert [row["size"]["vocabulary"] for row in result["stacked"]] == [64, 128]
    assert all(row["models"] == 16 and row["ratio"] > 0 for row in result["stacked"])


def test_a_size_that_does_not_fit_costs_no_other_its_figure(tmp_path, monkeypatch, capsys):
    gpu = module("gpu", monkeypatch)
    build = gpu.ours.build

    def full(architecture, size):
        if architecture == "prefix decoder":
            raise torch.OutOfMemoryError("out of memory\nby a lot")
        return build(architecture, size)

    monkeypatch.setattr(gpu.ours, "build", full)
    out = tmp_path / "gpu.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--out", str(out)]) == 1
    result = json.loads(out.read_text())
    failed = "OutOfMemoryError: out of memory"
    assert [row.get("failed") for row in result["models"]] == [None, failed, None]
    assert len(result["stacked"]) == 2
    assert f"prefix decoder   d = 32    V = 64     failed: {failed}" in capsys.readouterr().out


def test_the_table_of_the_page_is_that_of_the_committed_result(monkeypatch):
    table = module("table", monkeypatch)
    text = table.PAGE.read_text()
    assert text == table.page(text, table.RESULT)


def test_copied_records_are_collected_into_as_many_rows(monkeypatch, tmp_path):
    bench = module("records", monkeypatch)
    run(tmp_path / "original")
    (tmp_path / "runs").mkdir()
    rewrite = json.loads((tmp_path / "original" / "run.json").read_text())
    rewrite["config"]["budget"] = {"D": 1}
    (tmp_path / "original" / "run.json").write_text(json.dumps(rewrite))
    bench.copies(tmp_path / "original", tmp_path / "runs", 30)
    bench.forget(tmp_path / "runs")
    assert bench.collect(str(tmp_path / "runs"), False)["rows"] == 30
    assert bench.collect(str(tmp_path / "runs"), True)["rows"] == 30 * 3
    table = load(tmp_path / "runs")
    assert table.run.nunique() == table.seed.nunique() == 30
    assert sorted(table.N.unique()) == sorted({12 * d * (8 * d) ** 2 for d in range(2, 26)})
