import pytest
import torch

from scalelaw.checkpoint import Checkpoints, pack, unpack


def trained(seed: int, steps: int):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        go(model, optimizer)
    return model, optimizer


def go(model, optimizer):
    optimizer.zero_grad()
    model(torch.arange(3.0)).square().sum().backward()
    optimizer.step()


def test_a_restored_pair_goes_on_bit_for_bit(tmp_path):
    model, optimizer = trained(0, 5)
    Checkpoints(seconds=0, keep=1, weights=False).save(
        tmp_path, "abc", 5, pack(model, optimizer), {"step": 5}
    )
    tensors, state = Checkpoints(seconds=0, keep=1, weights=False).load(tmp_path, "abc")
    other, other_optimizer = trained(1, 0)
    unpack(tensors, other, other_optimizer)
    assert state == {"step": 5}
    for pair in ((model, optimizer), (other, other_optimizer)):
        go(*pair)
        go(*pair)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)


@pytest.mark.parametrize("harm", ["truncate", "flip a bit", "empty"])
def test_a_corrupt_checkpoint_is_named_and_the_one_before_it_used(tmp_path, caplog, harm):
    checkpoints = Checkpoints(seconds=0, keep=2, weights=False)
    for step in (1, 2):
        checkpoints.save(tmp_path, "abc", step, pack(*trained(0, step)), {"step": step})
    newest = max(tmp_path.glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[-3] ^= 1
    newest.write_bytes({"truncate": content[: len(content) // 2], "flip a bit": content, "empty": b""}[harm])
    tensors, state = checkpoints.load(tmp_path, "abc")
    assert state == {"step": 1}
    assert torch.equal(tensors["model.weight"], trained(0, 1)[0].weight)
    assert newest.name in caplog.text


def test_only_the_newest_are_kept_and_no_temporary_is_left(tmp_path):
    checkpoints = Checkpoints(seconds=0, keep=2, weights=False)
    for step in (9, 10, 11, 12):
        checkpoints.save(tmp_path, "abc", step, pack(*trained(0, 1)), {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"checkpoint-{s:09d}.safetensors" for s in (11, 12)]


def test_a_full_disk_is_an_oserror_and_costs_no_older_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(seconds=0, keep=1, weights=False)
    checkpoints.save(tmp_path, "abc", 1, pack(*trained(0, 1)), {"step": 1})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scalelaw.weights.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(tmp_path, "abc", 2, pack(*trained(0, 2)), {"step": 2})
    assert checkpoints.load(tmp_path, "abc")[1] == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_to_load_is_none(tmp_path):
    assert Checkpoints(seconds=0, keep=1, weights=False).load(tmp_path, "abc") is None


def test_a_checkpoint_of_another_run_is_not_gone_on_from(tmp_path, caplog):
    checkpoints = Checkpoints(seconds=0, keep=1, weights=False)
    checkpoints.save(tmp_path, "abc", 1, pack(*trained(0, 1)), {"step": 1})
    assert checkpoints.load(tmp_path, "xyz") is None
    assert "it is of run abc, not xyz" in caplog.text
    assert checkpoints.load(tmp_path, "abc") is not None


def test_an_altered_state_is_noticed_like_an_altered_tensor(tmp_path):
    checkpoints = Checkpoints(seconds=0, keep=1, weights=False)
    checkpoints.save(tmp_path, "abc", 1, pack(*trained(0, 1)), {"step": 1})
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert b'step\\": 1' in content
    path.write_bytes(content.replace(b'step\\": 1', b'step\\": 7'))
    assert checkpoints.load(tmp_path, "abc") is None


def save_parts(directory, step: int, parts: int, *, states=None, keep: int = 2):
    """Row `part` of a matrix in the file of each part; a count that all have in common."""
    matrix = torch.arange(3.0 * parts).view(parts, 3) + step
    for part in range(parts):
        tensors = {"matrix": matrix[part : part + 1], "count": torch.tensor(7.0)}
        state = {"step": step} if states is None else states[part]
        Checkpoints(seconds=0, keep=keep, weights=False).save(
            directory, "abc", step, tensors, state, part=(part, parts)
        )
    return matrix


def test_parts_are_put_together_in_the_order_of_their_numbers(tmp_path):
    matrix = save_parts(tmp_path, 1, 11)  # 10 comes after 9, not after 1
    tensors, state = Checkpoints(seconds=0, keep=1, weights=False).load(tmp_path, "abc")
    assert state == {"step": 1}
    assert set(tensors) == {"matrix", "count"}
    assert torch.equal(tensors["matrix"], matrix)
    assert tensors["count"] == 7


@pytest.mark.parametrize("harm", ["torn", "missing", "of another attempt"])
def test_a_checkpoint_with_an_unsound_part_is_passed_over_as_a_whole(tmp_path, caplog, harm):
    save_parts(tmp_path, 1, 2)
    attempts = [{"step": 2}, {"step": 2, "seconds": 9.0}] if harm == "of another attempt" else None
    save_parts(tmp_path, 2, 2, states=attempts)
    last = max(tmp_path.iterdir())
    if harm == "torn":
        last.write_bytes(last.read_bytes()[:-5])
    elif harm == "missing":
        last.unlink()
    assert Checkpoints(seconds=0, keep=1, weights=False).load(tmp_path, "abc")[1] == {"step": 1}
    said = {"missing": "1 of its 2 files", "of another attempt": "not written together"}
    assert said.get(harm, "cannot be used") in caplog.text


def test_the_last_whole_checkpoint_stays_until_all_parts_of_the_next_are_there(tmp_path):
    save_parts(tmp_path, 1, 2, keep=1)
    last = Checkpoints(seconds=0, keep=1, weights=False)
    for part in range(2):
        assert last.load(tmp_path, "abc")[1] == {"step": 1}
        last.save(tmp_path, "abc", 2, {"matrix": torch.zeros(1, 3)}, {"step": 2}, part=(part, 2))
    assert sorted(path.name[:20] for path in tmp_path.iterdir()) == ["checkpoint-000000002"] * 2
