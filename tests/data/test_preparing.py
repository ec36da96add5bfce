"""Preparing a corpus: true counts, one EOS token after each document, a cache that cannot be stale."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from textmill.data import Corpus, corpus_size_bytes, open_corpus, prepare
from textmill.data.preparing import learning_text
from textmill.data.preparing.learning_text import spread
from textmill.data.preparing.tokenizer_choice import suitable_vocab_size
from textmill.data.store.corpus import corpus_problems
from textmill.errors import CannotWriteError, ConfigError, DataError, Interrupted, MissingInputError, RunExistsError
from textmill.tokenizers import make_char

STORIES = [f"Story {number}: Es war einmal ein Bär №{number}.\nEnde." for number in range(60)]


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    path = tmp_path / "stories.jsonl"
    path.write_text("".join(json.dumps({"text": story}) + "\n" for story in STORIES))
    return path


def text_of(corpus: Corpus) -> tuple[str, str]:
    assert corpus.tokenizer is not None
    stores = [corpus.train, corpus.validation]
    train, validation = (
        corpus.tokenizer.decode(store.read(0, len(store)), skip_special_tokens=False) if store is not None else ""
        for store in stores
    )
    return train, validation


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe", "unigram"])
def test_one_text_is_split_like_nanogpt_and_has_no_eos_token(tmp_path: Path, shared: Path, tokenizer: str) -> None:
    """Tiny Shakespeare: the first nine tenths of the characters train, the rest validates, nothing is added or lost."""
    path = shared / "data/tinyshakespeare.txt"
    text = path.read_text(encoding="utf-8")
    corpus = prepare(path, tokenizer=tokenizer, cache_dir=tmp_path)
    n = int(len(text) * 0.9)
    assert text_of(corpus) == (text[:n], text[n:])
    assert corpus.validation is not None
    assert (corpus.train.num_bytes, corpus.validation.num_bytes) == (n, len(text) - n)
    assert corpus.train.eos_id is None
    if tokenizer == "char":  # nanoGPT's character ids: the sorted characters
        ids = {character: index for index, character in enumerate(sorted(set(text)))}
        assert corpus.train.read(0, 1000).tolist() == [ids[character] for character in text[:1000]]
        assert corpus.vocab_size == len(ids) + 1


@pytest.mark.parametrize("tokenizer", ["byte", "bpe", "unigram"])
def test_every_document_is_followed_by_an_eos_token(tmp_path: Path, stories: Path, tokenizer: str) -> None:
    """Both sides together are the documents, each with its EOS token; bytes are those of the texts alone."""
    corpus = prepare(stories, tokenizer=tokenizer, vocab_size=300, cache_dir=tmp_path)
    sides = [side.split("<|endoftext|>") for side in text_of(corpus)]
    assert all(side.pop() == "" for side in sides)
    assert sorted(sides[0] + sides[1]) == sorted(STORIES) and sides[1]
    assert corpus.validation is not None and corpus.tokenizer is not None
    for store, documents in zip((corpus.train, corpus.validation), sides):
        assert store.num_documents == len(documents)
        assert store.num_bytes == sum(len(document.encode()) for document in documents)
        assert store.eos_id == corpus.tokenizer.eos_id


def test_characters_need_no_eos_token_and_learn_from_training_text_only(tmp_path: Path) -> None:
    """A character that only the validation text has is unknown, counted and said."""
    (tmp_path / "a.txt").write_text("abc" * 30 + "zz" + "abc" * 2)
    said: list[str] = []
    corpus = prepare(tmp_path / "a.txt", tokenizer="char", cache_dir=tmp_path, say=said.append)
    assert corpus.vocab_size == 4 and corpus.train.eos_id is None
    assert any(
        "counted as unknown: 2 tokens of the validation text (each adds 32 bits" in sentence for sentence in said
    )


def test_the_text_of_special_tokens_is_text(tmp_path: Path) -> None:
    """A document that spells the EOS token out does not contain it."""
    (tmp_path / "a.txt").write_text("x<|endoftext|>y " * 20)
    corpus = prepare(tmp_path / "a.txt", tokenizer="byte", val_split=0, cache_dir=tmp_path)
    assert corpus.train.max_id < 256 and corpus.validation is None


def test_bpe_learns_from_training_text_only(tmp_path: Path) -> None:
    """A word that fills the validation text leaves no trace in the vocabulary."""
    (tmp_path / "train.txt").write_text("the cat sat on the mat " * 50)
    (tmp_path / "val.txt").write_text("xylophone " * 500)
    corpus = prepare(tmp_path / "train.txt", val_data=tmp_path / "val.txt", vocab_size=2000, cache_dir=tmp_path)
    assert corpus.tokenizer is not None and "xy" not in corpus.tokenizer.content
    assert text_of(corpus) == ("the cat sat on the mat " * 50, "xylophone " * 500)
    assert any("no more pairs to merge" in note and "2000" in note for note in corpus.notes)


def test_the_cache_answers_only_for_the_same(tmp_path: Path, stories: Path) -> None:
    """Same content and settings: the same folder. Any other content, order or setting: another."""

    def key(**change: Any) -> Corpus:
        settings: dict[str, Any] = {
            "data": stories,
            "tokenizer": "bpe",
            "vocab_size": 300,
            "cache_dir": tmp_path / "cache",
        }
        return prepare(**(settings | change))

    first = key()
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(stories.read_bytes())
    again = key(data=moved)
    assert again.folder == first.folder and again.sources == [str(moved)]
    folders = {first.folder}
    for change in (
        {"vocab_size": 301},
        {"tokenizer": "byte"},
        {"tokenizer": "char"},
        {"special_tokens": ["<x>"]},
        {"val_split": 0.2},
        {"val_split": 0},
        {"min_length": 5},
        {"encoding_errors": "replace"},
        {"data": [stories, moved]},
        {"tokenizer": make_char(STORIES)},
    ):
        folders.add(key(**change).folder)
    assert len(folders) == 11
    content = stories.read_text().replace("Story 7", "Story X")
    os.utime(stories, ns=(1, 1))
    stories.write_text(content)
    os.utime(stories, ns=(1, 1))  # same length, same date
    changed = key()
    assert changed.folder not in folders and changed.fingerprint != first.fingerprint


def test_a_damaged_cache_is_made_again(tmp_path: Path, stories: Path) -> None:
    """A shard that lost a byte, or a tokenizer that was exchanged, is noticed, said and repaired."""
    first = prepare(stories, tokenizer="byte", cache_dir=tmp_path)
    for name, content in (("train/00000.bin", b"xy"), ("tokenizer/tokenizer.json", make_char(["ab"]).content.encode())):
        (first.folder / name).write_bytes(content)
        said: list[str] = []
        again = prepare(stories, tokenizer="byte", cache_dir=tmp_path, say=said.append)
        assert any("damaged" in sentence for sentence in said)
        assert again.fingerprint == first.fingerprint and corpus_problems(again.folder) == []


def test_two_processes_prepare_the_same(tmp_path: Path, stories: Path) -> None:
    """The fingerprint is that of another process with another cache, and both may write one cache at a time."""
    script = (
        "import sys; from textmill.data import prepare;"
        "print(prepare(sys.argv[1], vocab_size=300, cache_dir=sys.argv[2]).fingerprint)"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", script, str(stories), str(tmp_path / "shared")], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    prints = {run.communicate()[0] for run in runs}
    assert {run.returncode for run in runs} == {0} and len(prints) == 1
    assert prepare(stories, vocab_size=300, cache_dir=tmp_path / "own").fingerprint == prints.pop().decode().strip()


def test_output_is_a_corpus_of_its_own(tmp_path: Path, stories: Path) -> None:
    """A prepared folder is data from then on; it is not overwritten by another corpus."""
    made = prepare(stories, tokenizer="byte", output=tmp_path / "out", cache_dir=tmp_path / "cache")
    assert made.folder == tmp_path / "out" and not (tmp_path / "cache").exists()
    used = prepare([tmp_path / "out"], tokenizer="char")
    assert used.fingerprint == made.fingerprint == open_corpus(tmp_path / "out").fingerprint
    assert used.tokenizer is not None and used.tokenizer.kind == "byte"
    assert corpus_size_bytes(tmp_path / "out") == sum(len(story.encode()) for story in STORIES)
    assert prepare(stories, tokenizer="byte", output=tmp_path / "out").fingerprint == made.fingerprint
    for change in ({"output": tmp_path / "out", "tokenizer": "char"}, {"output": tmp_path}):
        with pytest.raises(RunExistsError, match="contains something else"):
            prepare(stories, **change)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="is a prepared corpus"):
        prepare(tmp_path / "out", val_data=stories)


def test_what_interrupts_leaves_no_corpus_behind(tmp_path: Path, stories: Path) -> None:
    """At whichever reading it comes, the interruption passes through, and the next call ends what was begun."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    whole = prepare(stories, cache_dir=tmp_path / "other", vocab_size=300, interrupted=count)
    assert calls >= 4  # hashing, survey, BPE, encoding
    for when in range(1, calls):
        left = when

        def stop() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Interrupted(2)

        with pytest.raises(Interrupted):
            prepare(stories, cache_dir=tmp_path / "cache", vocab_size=300, interrupted=stop)
        assert all(path.name.startswith(".unfinished-") for path in tmp_path.glob("cache/corpora/*"))
    made = prepare(stories, cache_dir=tmp_path / "cache", vocab_size=300)
    assert made.fingerprint == whole.fingerprint and list(tmp_path.glob("cache/corpora/*")) == [made.folder]


def test_progress_reaches_its_end(tmp_path: Path, stories: Path) -> None:
    """Progress never goes back and ends at the total, from files and from the cache."""
    for _ in range(2):
        heard: list[tuple[int, int]] = []
        prepare(stories, cache_dir=tmp_path, vocab_size=300, progress=lambda *at, heard=heard: heard.append(at))
        done = [at for at, _ in heard]
        assert done == sorted(done) and heard[-1][0] == heard[-1][1] == 4 * stories.stat().st_size


def test_a_file_that_grows_meanwhile_is_refused(tmp_path: Path, stories: Path) -> None:
    """Ids of half the old and half the new text are never kept."""

    def grow(done: int, total: int) -> None:
        if done > total / 2:
            with stories.open("a") as file:
                file.write('{"text": "more"}\n')

    with pytest.raises(DataError, match=r"stories\.jsonl\S* changed while it was read"):
        prepare(stories, tokenizer="byte", cache_dir=tmp_path / "cache", progress=grow)
    assert not list(tmp_path.glob("cache/corpora/*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "empty or blank"), (" \n\t ", "empty or blank"), ("x", "needs? two"), ("ab", "both sides need two")],
)
def test_texts_too_small_to_train_on(tmp_path: Path, content: str, message: str) -> None:
    """Empty, blank and tiny files: one line, exit code 65, nothing written."""
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        prepare(tmp_path / "a.txt", tokenizer="byte", cache_dir=tmp_path / "cache")
    assert caught.value.exit_code == 65 and "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/corpora/*"))


def test_a_validation_share_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    """An explicit share is never enlarged behind the back."""
    (tmp_path / "a.txt").write_text("twenty characters...")
    with pytest.raises(DataError, match=r"both sides need two.*--val-split"):
        prepare(tmp_path / "a.txt", tokenizer="byte", val_split=0.05, cache_dir=tmp_path)
    assert prepare(tmp_path / "a.txt", tokenizer="byte", cache_dir=tmp_path).validation is not None
    with pytest.raises(ConfigError, match="val_split"):
        prepare(tmp_path / "a.txt", val_split=1.0)


def test_validation_text_that_was_trained_on_is_said(tmp_path: Path, stories: Path) -> None:
    """The same file on both sides is allowed and does not pass in silence."""
    said: list[str] = []
    prepare(stories, val_data=stories, tokenizer="byte", cache_dir=tmp_path, say=said.append)
    assert any("60 training documents are in the validation text too" in sentence for sentence in said)


def test_skipped_documents_are_counted_and_said(tmp_path: Path) -> None:
    """Blank and short documents are passed over, how many is said, and said again from the cache."""
    lines = ["", "  ", "short", "long enough for us", "and another long one"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    for _ in range(2):
        said: list[str] = []
        corpus = prepare(tmp_path / "a.jsonl", tokenizer="byte", min_length=10, cache_dir=tmp_path, say=said.append)
        assert corpus.train.num_bytes + (corpus.validation.num_bytes if corpus.validation else 0) == 38
        assert any("3 of 5 documents: shorter than 10" in sentence for sentence in said)


def test_sizes_that_contradict_the_tokenizer(tmp_path: Path, stories: Path) -> None:
    """A vocabulary bound below the tokenizer's is an error; above it is the model's business."""
    with pytest.raises(ConfigError, match="vocab_size 200 is smaller than the 257 tokens of the byte tokenizer"):
        prepare(stories, tokenizer="byte", vocab_size=200, cache_dir=tmp_path)
    assert prepare(stories, tokenizer="byte", vocab_size=512, cache_dir=tmp_path).vocab_size == 257
    with pytest.raises(ConfigError, match="special_tokens has no effect"):
        prepare(stories, tokenizer=make_char(["a"]), special_tokens=["<x>"])
    with pytest.raises(MissingInputError, match="no tokenizer at"):
        prepare(stories, tokenizer=str(tmp_path / "nowhere"))


def test_a_cache_that_cannot_be_written(tmp_path: Path, stories: Path) -> None:
    """The error names the place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match="file/corpora"):
        prepare(stories, tokenizer="byte", cache_dir=tmp_path / "file")


def test_the_cache_lies_where_the_user_wants_it(tmp_path: Path, stories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME names the cache folder when nothing else does; a relative one is ignored."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert prepare(stories, tokenizer="byte").folder.is_relative_to(tmp_path / "xdg" / "textmill")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert prepare(stories, tokenizer="byte").folder.is_relative_to(tmp_path / "home" / ".cache" / "textmill")


def test_a_large_text_is_sampled_for_bpe(tmp_path: Path, stories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit BPE learns from parts of all of the text, and it is said how much."""
    texts = ["x" * size for size in (5, 1, 9, 3) * 100]
    sampled = list(spread(iter(texts), 0.25))
    assert abs(sum(map(len, sampled)) / 1800 - 0.25) < 0.02
    monkeypatch.setattr(learning_text, "MOST_TEXT_FOR_BPE", 500)
    said: list[str] = []
    prepare(stories, cache_dir=tmp_path, say=said.append)
    assert any("BPE learns from" in sentence for sentence in said)
    sizes = [suitable_vocab_size(10**power) for power in range(3, 11)]
    assert sizes == sorted(sizes) and sizes[0] == 512 and sizes[-1] == 32768


def test_a_tokenizer_that_must_see_whole_documents_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents that were read in parts are joined for tokenizers that treat the start of a text specially."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    from textmill.data.reading.formats import text as text_format
    from textmill.tokenizers import Tokenizer

    words = {word: index for index, word in enumerate(["▁one", "▁two", "▁three", "<unk>"])}
    backend = Backend(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    monkeypatch.setattr(text_format, "PART_BYTES", 8)
    (tmp_path / "a.txt").write_text("one two three " * 20 + "two")
    corpus = prepare(tmp_path / "a.txt", tokenizer=Tokenizer.from_backend(backend), val_split=0, cache_dir=tmp_path)
    assert corpus.train.read(0, 61).tolist() == [*[0, 1, 2] * 20, 1]


MEMORY_SCRIPT = """
import sys
from pathlib import Path
from textmill.data import prepare
corpus = prepare(sys.argv[1], tokenizer=sys.argv[2], val_split=0.01, cache_dir=sys.argv[3])
# The peak that getrusage tells of is that of the process that started this one, where that was larger.
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(corpus.train.num_bytes + corpus.validation.num_bytes, peak)
"""

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe", "unigram"])
def test_a_huge_line_needs_little_memory(tmp_path: Path, tokenizer: str) -> None:
    """A hundred megabytes on one line are prepared within 300 MB."""
    size = 100_000_000
    (tmp_path / "line.txt").write_bytes(b"one huge line of many words that goes on ".ljust(50, b"x") * (size // 50))
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path / "line.txt"), tokenizer, str(tmp_path / "cache")]
    num_bytes, peak_kib = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert num_bytes == size and peak_kib < 300_000


@linux
@pytest.mark.slow
def test_a_hundred_thousand_tiny_files(tmp_path: Path) -> None:
    """A folder of a hundred thousand files of a sentence each is prepared within 300 MB, every file a document."""
    for number in range(100_000):
        if number % 1000 == 0:
            (tmp_path / f"data/{number // 1000:03d}").mkdir(parents=True)
        (tmp_path / f"data/{number // 1000:03d}/{number:06d}.txt").write_text(f"Tiny file {number} says little.\n")
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path / "data"), "byte", str(tmp_path / "cache")]
    num_bytes, peak_kib = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert num_bytes == sum(len(f"Tiny file {number} says little.\n") for number in range(100_000))
    assert peak_kib < 300_000


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.json", "rows.csv", "rows.jsonl.gz"])
def test_huge_tables_need_little_memory(tmp_path: Path, name: str) -> None:
    """A hundred megabytes of rows, as an array, as a table and packed, are prepared within 300 MB."""
    text = "a row of several words that goes on and on " * 20
    count = 100_000_000 // len(text)
    forms = {
        "rows.json": ("[", '{{"text": "{0:06d} {1}"}},\n', '{"text": "the end of it"}]'),
        "rows.csv": ("text\n", '"{0:06d} {1}"\n', "the end of it\n"),
        "rows.jsonl.gz": ("", '{{"text": "{0:06d} {1}"}}\n', '{"text": "the end of it"}\n'),
    }
    begin, row, end = forms[name]
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
        file.write(begin)
        file.writelines(row.format(number, text) for number in range(count))
        file.write(end)
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path / name), "byte", str(tmp_path / "cache")]
    num_bytes, peak_kib = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert num_bytes == count * (len(text) + 7) + len("the end of it") and peak_kib < 300_000
