"""Preparing continues where it was stopped, and encodes only the file that has changed in a corpus."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.small_corpora import end_document
from textmill.data import Corpus, prepare
from textmill.data.preparing import chunks as chunking
from textmill.data.preparing.chunks import EncodedChunk, Encoding, chunk_key
from textmill.data.preparing.split import Fragment
from textmill.data.preparing.tokenizer_choice import TokenizerChoice
from textmill.data.reading.formats import text as text_format
from textmill.data.store.chunk_index import INDEX, ChunkIndex, IndexedWriter
from textmill.data.store.corpus import corpus_problems
from textmill.data.store.token_shards import ShardWriter
from textmill.data.store.unfinished_corpus import PREFIX
from textmill.errors import DataError, Interrupted
from textmill.machine.devices import cores
from textmill.tokenizers import Tokenizer, load_tokenizer, make_byte, train_bpe

LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of thousands of characters, so that small texts have many."""
    monkeypatch.setattr(text_format, "PART_BYTES", 4_000)
    monkeypatch.setattr(chunking, "MOST", 20_000)
    monkeypatch.setattr(chunking, "LARGE", 2_000)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Forty files of Python's library, small and large."""
    folder = tmp_path / "library"
    folder.mkdir()
    for path in sorted(LIBRARY.glob("*.py"))[:40]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were encoded, in the order in which it happened."""
    texts: list[str] = []
    encode_batch = Tokenizer.encode_batch

    def spy(self: Tokenizer, batch: list[str], workers: int | None = None) -> list[np.ndarray]:
        texts.extend(batch)
        return encode_batch(self, batch, workers)

    monkeypatch.setattr(Tokenizer, "encode_batch", spy)
    return texts


def contents(corpus: Corpus) -> list[tuple[bytes, list[int]]]:
    stores = [store for store in (corpus.train, corpus.validation) if store is not None]
    return [(store.read(0, len(store)).tobytes(), store.document_lengths().tolist()) for store in stores]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", ["argparse.py", "__future__.py", "antigravity.py"])
def test_one_byte_changed_in_one_file_encodes_that_file_alone(
    tmp_path: Path, library: Path, encoded: list[str], name: str
) -> None:
    """Of forty files the changed one is encoded, or the part of it that has changed; the corpus is as from nothing."""
    tokenizer = train_bpe([path.read_text() for path in sorted(library.iterdir())[:5]], 400)
    prepare(library, tokenizer=tokenizer, cache_dir=tmp_path / "cache")
    changed = library / name
    content, middle = changed.read_bytes(), changed.stat().st_size // 2
    changed.write_bytes(content[:middle] + b"#" + content[middle + 1 :])
    encoded.clear()
    again = prepare(library, tokenizer=tokenizer, cache_dir=tmp_path / "cache")
    assert encoded and "".join(encoded) in changed.read_text()
    fresh = prepare(library, tokenizer=tokenizer, cache_dir=tmp_path / "other")
    assert again.fingerprint == fresh.fingerprint and contents(again) == contents(fresh)
    assert again.report == fresh.report and again.train.num_bytes == fresh.train.num_bytes


@pytest.mark.usefixtures("small_batches")
def test_a_change_in_one_set_encodes_nothing_of_another(tmp_path: Path, encoded: list[str]) -> None:
    """Training and validation files, one of each, have no border in common."""
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "a", "b")}
    for name, path in files.items():
        path.write_text("".join(json.dumps({"text": f"{name} {number} " * 5}) + "\n" for number in range(50)))
    arguments: dict[str, Any] = {
        "tokenizer": "byte",
        "val_data": [f"{name}={files[name]}" for name in "ab"],
        "cache_dir": tmp_path / "cache",
    }
    prepare(files["train"], **arguments)
    encoded.clear()
    files["train"].write_text('{"text": "short"}\n{"text": "and short"}\n')
    prepare(files["train"], **arguments)
    assert encoded == ["short", "and short"]


@pytest.mark.usefixtures("small_batches")
def test_progress_waits_for_tokenizing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last pass is not done when all is read, only when ids are written: the end is said at the end."""
    (tmp_path / "a.txt").write_text("some words of a long text " * 8_000)
    shares: list[float] = [0.0]
    before: list[float] = []
    encode = Encoding.encode

    def noting(self: Encoding, fragments: list[Fragment]) -> EncodedChunk:
        before.append(shares[-1])
        return encode(self, fragments)

    monkeypatch.setattr(Encoding, "encode", noting)
    prepare(
        tmp_path / "a.txt",
        tokenizer="byte",
        workers=1,
        cache_dir=tmp_path / "cache",
        progress=lambda done, total: shares.append(done / total),
    )
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert len(before) > 4 and before[-1] < 1.0 and before[0] == pytest.approx(2 / 3, abs=0.01)


def test_more_corpora_than_open_files(tmp_path: Path) -> None:
    """Text that lies in ninety corpora is taken from them by a process that may not open as many files."""
    (tmp_path / "all").mkdir()
    for number in range(90):
        text = f"text number {number}, " * 20
        (tmp_path / "one.txt").write_text(text)
        (tmp_path / "all" / f"{number:02d}.txt").write_text(text)
        prepare(tmp_path / "one.txt", tokenizer="byte", val_split=0, cache_dir=tmp_path / "cache")
    tokenizer = make_byte()
    corpora = sorted((tmp_path / "cache" / "corpora").iterdir())
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)  # the lowest free descriptor tells how many are in use
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 80, most))
    try:
        with ChunkIndex(corpora, Encoding(tokenizer, None).key) as known:
            for path in (tmp_path / "all").iterdir():
                found = known.find(chunk_key([Fragment(0, path.read_text(), True)]))
                assert found is not None and found.ids.tolist() == list(path.read_bytes())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("tokenizer", ["bpe", "char", "unigram"])
def test_an_interrupted_preparation_goes_on(
    tmp_path: Path, library: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch, tokenizer: str
) -> None:
    """Stopped again and again while it encodes, it encodes no text twice, learns once, and makes the same corpus."""
    arguments: dict[str, Any] = {"tokenizer": tokenizer, "vocab_size": None if tokenizer == "char" else 400}
    whole = prepare(library, **arguments, cache_dir=tmp_path / "a")
    total = sum(map(len, encoded))
    encoded.clear()
    learned = 0
    make = TokenizerChoice.make

    def count(self: Any, *arguments: Any) -> Tokenizer:
        nonlocal learned
        learned += 1
        return make(self, *arguments)

    monkeypatch.setattr(TokenizerChoice, "make", count)
    limits = [total * 3 / 4, total / 2, total / 4]

    def stop() -> None:
        if sum(map(len, encoded)) > limits[-1]:
            raise Interrupted(signal.SIGTERM)

    said: list[str] = []
    while limits:
        with pytest.raises(Interrupted):
            prepare(library, **arguments, cache_dir=tmp_path / "b", interrupted=stop, say=said.append)
        assert not [path for path in tmp_path.glob("b/corpora/*") if not path.name.startswith(PREFIX)]
        limits.pop()
    assert sum("the same command continues from there" in sentence for sentence in said) == 3
    made = prepare(library, **arguments, cache_dir=tmp_path / "b")
    assert made.fingerprint == whole.fingerprint and contents(made) == contents(whole)
    assert made.notes == whole.notes and made.report == whole.report
    assert learned == 1
    # What was encoded and not yet written when the signal came is encoded again: at most two batches for each thread.
    assert sum(map(len, encoded)) <= total + 3 * 5 * cores() * chunking.MOST
    assert list(tmp_path.glob("b/corpora/*")) == [made.folder]


def test_a_refusal_leaves_nothing(tmp_path: Path, library: Path) -> None:
    """Text that cannot be used, in a file named by hand, takes the work on it away."""
    (library / "bad.py").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError):
        prepare([library, library / "bad.py"], tokenizer="byte", cache_dir=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/corpora/*"))


def test_what_was_left_is_checked_before_it_is_used(tmp_path: Path) -> None:
    """A chunk whose ids have changed, or whose file is short, or whose index is torn, is not found."""
    writer = ShardWriter(tmp_path / "half" / "train", 300, shard_bytes=8)
    indexed = IndexedWriter(writer, encoding := b"an encoding.....")
    chunks = {
        bytes([number] * 16): EncodedChunk(np.arange(7, dtype=np.uint16) + number, np.array([3, 7], np.uint32), 9, 1)
        for number in range(3)
    }
    for key, chunk in chunks.items():
        indexed.write(key, chunk)  # over files of four ids
    indexed.flush()
    found = ChunkIndex([tmp_path / "half", tmp_path / "nowhere"], encoding)
    assert len(ChunkIndex([tmp_path / "half"], b"another encoding")) == 0
    for key, chunk in chunks.items():
        same = found.find(key)
        assert same is not None and same.ids.tolist() == chunk.ids.tolist()
        assert (same.ends.tolist(), same.num_bytes, same.unknown) == ([3, 7], 9, 1)
    assert found.find(b"another key.....") is None
    path = tmp_path / "half" / "train" / "00002.bin"  # ids 8 to 11: the second chunk alone
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert [found.find(key) is None for key in chunks] == [False, True, False]
    path.unlink()
    assert [found.find(key) is None for key in chunks] == [False, True, False]
    torn = tmp_path / "half" / "train" / INDEX
    torn.write_bytes(torn.read_bytes()[:-50])
    assert len(ChunkIndex([tmp_path / "half"], encoding)) == 2
    torn.write_bytes(b"something else")
    assert len(ChunkIndex([tmp_path / "half"], encoding)) == 0


PLACES = [Path(str(number)) for number in range(10)]
documents = st.lists(st.text("ab ", min_size=1, max_size=60), min_size=1, max_size=60)


@settings(deadline=None)
@given(documents=documents, data=st.data())
def test_chunks_contain_everything_and_change_locally(documents: list[str], data: st.DataObject) -> None:
    """Chunks are the fragments in their order, and a changed document changes few of them, none of other files."""
    before = chunking.MOST, chunking.LARGE
    chunking.MOST, chunking.LARGE = 100, 20  # type: ignore[misc]
    try:
        files = [PLACES[number] for number in sorted(data.draw(st.integers(0, 9)) for _ in documents)]
        parts = [Fragment(0, text, True, file=file) for text, file in zip(documents, files)]
        made = list(chunking.chunks(parts))
        assert [part for chunk in made for part in chunk] == parts
        assert all(sum(len(part.text) for part in chunk) <= 100 for chunk in made)
        assert all(part.file is chunk[0].file for chunk in made for part in chunk)
        number = data.draw(st.integers(0, len(documents) - 1))
        altered = [*parts]
        altered[number] = parts[number]._replace(text="x" * len(parts[number].text))
        again = list(chunking.chunks(altered))
        new = [chunk for chunk in again if chunk not in made]
        assert all(chunk[0].file == files[number] for chunk in new)
        # Until the first border that lies where it lay; a large text is one, so each large text bounds the change.
        large = [at for at, part in enumerate(parts) if at > number and len(part.text) >= 20]
        if new and large:
            after = again[again.index(new[0]) :]
            same = [chunk for chunk in after if chunk[0] is parts[large[0]]]
            assert not same or same[0] in made
    finally:
        chunking.MOST, chunking.LARGE = before  # type: ignore[misc]


SCRIPT = """
import sys
from textmill.data import prepare
print(prepare(sys.argv[1], tokenizer=sys.argv[2], cache_dir=sys.argv[3]).fingerprint)
"""


def killed_and_made_again(data: Path, tokenizer: str, cache: Path, seconds: Iterator[float]) -> tuple[str, int]:
    """Return the fingerprint of a corpus whose preparation was killed after so many seconds, again and again."""
    kills = 0
    command = [sys.executable, "-c", SCRIPT, str(data), tokenizer, str(cache)]
    for wait in seconds:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        if process.wait() == 0:
            break
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip(), kills


def test_a_kill_leaves_what_was_done(tmp_path: Path) -> None:
    """SIGKILL while it encodes: the next process takes over what is written, and the corpus is the same."""
    data = tmp_path / "data"
    data.mkdir()
    for number, path in enumerate(sorted(LIBRARY.glob("*.py"))):
        (data / f"{number}.txt").write_bytes(path.read_bytes())
    train_bpe([path.read_text() for path in sorted(LIBRARY.glob("*.py"))[:9]], 1000).save(tmp_path / "tok")
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(data), str(tmp_path / "tok"), str(cache)])
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 200 for path in cache.glob(f"corpora/{PREFIX}*/now/train/{INDEX}")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    left = list(cache.glob("corpora/*"))
    assert [path.name.startswith(PREFIX) for path in left] == [True]
    tokenizer = load_tokenizer(tmp_path / "tok")
    assert len(ChunkIndex([left[0] / "now"], Encoding(tokenizer, tokenizer.eos_id).key)) > 0
    fresh = prepare(data, tokenizer=tmp_path / "tok", cache_dir=tmp_path / "fresh")
    again = prepare(data, tokenizer=tmp_path / "tok", cache_dir=cache)
    assert again.fingerprint == fresh.fingerprint and corpus_problems(again.folder) == []
    assert list(cache.glob("corpora/*")) == [again.folder]


@pytest.mark.slow
def test_fifty_kills_at_random_instants(tmp_path: Path) -> None:
    """Killed at fifty random instants, with a tokenizer to learn, the corpus is that of a process left alone."""
    data = tmp_path / "data.jsonl"
    with data.open("w") as file:
        for path in sorted(LIBRARY.rglob("*.py"))[:600]:
            file.write(json.dumps({"text": path.read_text(errors="replace")}) + "\n")
    expected = prepare(data, tokenizer="bpe", cache_dir=tmp_path / "fresh").fingerprint
    rng = np.random.default_rng(0)
    kills = 0
    for attempt in range(100):
        waits = iter(rng.uniform(0.3, 3.0, size=50 - kills).tolist())
        made, more = killed_and_made_again(data, "bpe", tmp_path / f"cache-{attempt}", waits)
        kills += more
        assert made == expected
        if kills >= 50:
            break
    assert kills >= 50


def test_eos_tokens_and_lengths_are_those_of_single_documents(tmp_path: Path) -> None:
    """A store written in chunks is the store written document by document."""
    texts = [f"Document {number} " * number for number in range(1, 40)]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    corpus = prepare(path, tokenizer="byte", val_split=0, cache_dir=tmp_path / "cache")
    writer = ShardWriter(tmp_path / "plain", 257, make_byte().eos_id)
    for text in texts:
        writer.write(make_byte().encode(text), len(text))
        end_document(writer)
    writer.close()
    for name in ("00000.bin", "documents.npy"):
        assert (corpus.folder / "train" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
