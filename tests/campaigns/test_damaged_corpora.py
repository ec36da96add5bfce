"""One flipped bit anywhere in a prepared corpus is seen before its ids are used, or changes no result."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.disk_faults import flip_bits
from textmill import files
from textmill.cli.main import main
from textmill.data import Corpus, TextDataset, open_corpus, prepare
from textmill.data.store import corpus_files
from textmill.data.store.corpus import corpus_problems
from textmill.errors import DataError
from textmill.evaluation import evaluate_model
from textmill.report.verify_files import verify

PAGE = "REPORT.md"  # for people: nothing reads it


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A user's cache folder for each test: what was checked is noted there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("xdg")))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents."""
    path = tmp_path_factory.mktemp("text") / "rows.jsonl"
    rows = (f'{{"text": "document {number}: the cat sat on the mat and looked at the rat"}}\n' for number in range(40))
    path.write_text("".join(rows))
    return path


def made(text: Path, **settings: Any) -> Corpus:
    return prepare(text, val_data=[f"main={text}", f"more={text}"], tokenizer="bpe", vocab_size=300, **settings)


def contents(corpus: Corpus) -> list[Any]:
    """All that training and evaluation use of a corpus."""
    assert corpus.tokenizer is not None and corpus.validation is not None
    stores = [corpus.train, corpus.validation, *corpus.further.values()]
    ids = [store.read(0, len(store)).tolist() for store in stores]
    ends = [store.document_lengths().tolist() for store in stores]
    sizes = [(store.num_bytes, store.eos_id, store.max_id) for store in stores]
    return [ids, ends, sizes, corpus.tokenizer.content, corpus.tokenizer.roles, corpus.fingerprint, corpus.main]


SPELLINGS: dict[str, Callable[[Path], object]] = {
    "prepare": lambda folder: prepare(folder),
    "open_corpus": open_corpus,
    "TextDataset": lambda folder: TextDataset(folder, block_size=8),
    "a link": lambda folder: prepare(folder.parent / "link"),
    "a relative path": lambda folder: prepare(os.path.relpath(folder)),
}
"""How people name a folder that they prepared."""


@pytest.mark.parametrize("trials", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_a_prepared_folder_is_refused(text: Path, tmp_path: Path, trials: int) -> None:
    """However the folder is named, 65 names the file and what to do; `verify` finds it; put back, it is whole again."""
    folder = made(text, cache_dir=tmp_path / "cache", output=tmp_path / "mine").folder
    (tmp_path / "link").symlink_to(folder)
    whole, spelled = contents(open_corpus(folder)), list(SPELLINGS.items())
    for number, path in enumerate(flip_bits(folder, trials, seed=3)):
        name, use = spelled[number % len(spelled)]
        if path.name == PAGE:
            assert contents(open_corpus(folder)) == whole
            continue
        with pytest.raises(DataError) as raised:
            use(folder)
        assert raised.value.exit_code == 65, name
        assert path.name in str(raised.value) and "restore it from a copy, or delete" in str(raised.value), name
        assert [finding for finding in verify(folder) if finding.problems]
    assert contents(open_corpus(folder)) == whole and corpus_problems(folder) == []


@pytest.mark.parametrize("trials", [16, pytest.param(500, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_the_cache_is_mended(text: Path, tmp_path: Path, trials: int) -> None:
    """The same text gives the same ids whatever was damaged: the corpus is made again, which is said in one line."""
    corpus = made(text, cache_dir=tmp_path)
    whole = contents(corpus)
    for path in flip_bits(corpus.folder, trials, seed=4):
        said: list[str] = []
        assert contents(made(text, cache_dir=tmp_path, say=said.append)) == whole
        damaged = [sentence for sentence in said if "is damaged and is made again" in sentence]
        assert len(damaged) == (path.name != PAGE) and (not damaged or path.name in damaged[0])


def test_a_flipped_bit_in_an_index_of_chunks_changes_no_other_corpus(text: Path, tmp_path: Path) -> None:
    """Chunks are taken from corpora in the cache, damaged or not: only what matches its hash, numbers included."""
    more = tmp_path / "more.jsonl"
    more.write_text('{"text": "one document more"}\n')
    earlier = prepare(text, tokenizer="byte", val_split=0, cache_dir=tmp_path / "cache")
    whole = contents_of_side(prepare([text, more], tokenizer="byte", val_split=0, cache_dir=tmp_path / "other"))
    for _ in flip_bits(earlier.folder / "train", 15, seed=5):
        corpus = prepare([text, more], tokenizer="byte", val_split=0, cache_dir=tmp_path / "cache")
        assert contents_of_side(corpus) == whole
        shutil.rmtree(corpus.folder)


def contents_of_side(corpus: Corpus) -> list[Any]:
    train = corpus.train
    return [train.read(0, len(train)).tolist(), train.document_lengths().tolist(), train.num_bytes, corpus.report]


def read_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed from now on."""
    names: list[str] = []
    real = files.file_problem

    def noted(path: Path, recorded: dict[str, Any]) -> str | None:
        names.append(path.name)
        return real(path, recorded)

    monkeypatch.setattr(files, "file_problem", noted)
    return names


def test_a_file_is_read_again_only_if_it_has_changed(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its first opening a corpus is opened without hashing; a changed date alone has that one file hashed."""
    folder = made(text, cache_dir=tmp_path / "cache").folder
    monkeypatch.setattr(corpus_files, "SETTLED", 0)
    read = read_names(monkeypatch)
    open_corpus(folder)
    assert sorted(read) == sorted(path.name for path in folder.rglob("*") if path.name in read) and "00000.bin" in read
    read.clear()
    open_corpus(folder)
    assert read == []
    os.utime(folder / "train" / "documents.npy")
    open_corpus(folder)
    assert read == ["documents.npy"]


def test_a_changed_file_with_its_old_date_is_read_again(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size and date of modification are as before, as some tools leave them: the damage is seen."""
    folder = made(text, cache_dir=tmp_path / "cache").folder
    monkeypatch.setattr(corpus_files, "SETTLED", 0)
    open_corpus(folder)
    shard = folder / "train" / "00000.bin"
    before, content = shard.stat(), shard.read_bytes()
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    shard.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"00000\.bin has changed"):
        open_corpus(folder)


def test_a_file_that_has_just_changed_is_not_noted(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within one tick of the clock look the same: nothing is noted in the first seconds."""
    folder = made(text, cache_dir=tmp_path / "cache").folder
    read = read_names(monkeypatch)
    for _ in range(2):
        read.clear()
        open_corpus(folder)
        assert "00000.bin" in read


def test_a_cache_that_cannot_be_written_costs_no_more_than_time(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be noted, a corpus is read at every opening."""
    folder = made(text, cache_dir=tmp_path / "cache").folder
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(corpus_files, "SETTLED", 0)
    read = read_names(monkeypatch)
    open_corpus(folder)
    open_corpus(folder)
    assert read.count("prepared.json") == 0 and read.count("tokenizer.json") == 2


def test_a_side_that_is_lost_is_missed(text: Path, tmp_path: Path) -> None:
    """A corpus without its validation folder is not one without validation."""
    folder = made(text, cache_dir=tmp_path / "cache").folder
    shutil.rmtree(folder / "validation")
    with pytest.raises(DataError, match=r"validation/.* is missing, and 3 more"):
        open_corpus(folder)


def test_the_learned_tokenizer_of_a_stopped_preparation_is_checked(text: Path, tmp_path: Path) -> None:
    """A bit of it that flipped before the next process starts has it learned again, to the same corpus."""
    from textmill.data.store.unfinished_corpus import UnfinishedCorpus

    corpus = made(text, cache_dir=tmp_path / "cache")
    assert corpus.tokenizer is not None
    kept = UnfinishedCorpus("key", tmp_path, None, tmp_path / "kept")
    kept.keep_learned(corpus.tokenizer, ["said"])
    found = kept.learned()
    assert found is not None and (found[0].content, found[1]) == (corpus.tokenizer.content, ["said"])
    for _ in flip_bits(tmp_path / "kept", 30, seed=6):
        assert kept.learned() is None
    assert kept.learned() is not None


TINY = [
    *("--d-model", "16", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "8", "--batch-size", "1"),
    *("--max-steps", "2", "--device", "cpu", "--sample-steps", "0", "--tokenizer", "byte"),
]


def flip_first_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def test_a_run_whose_store_is_damaged(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the cache: evaluated and resumed as before, said in a line. A folder of the user's: 65, nothing trained."""
    cache, run = tmp_path / "cache", tmp_path / "run"
    train = ["train", *TINY, "--cache-dir", str(cache), "--output-dir"]
    assert main([*train, str(run), str(text)]) == 0
    [shard] = cache.glob("corpora/*/validation/00000.bin")
    whole, expected = shard.read_bytes(), evaluate_model(run / "final")["loss"]
    for act in (
        lambda: evaluate_model(run / "final")["loss"] == expected,
        lambda: main(["train", "--output-dir", str(run), "--resume", "--max-steps", "3"]) == 0,
    ):
        flip_first_bit(shard)
        capsys.readouterr()
        assert act(), capsys.readouterr()
        assert shard.read_bytes() == whole
    assert "the cached corpus is damaged and is made again" in (run / "train.log").read_text()

    mine = tmp_path / "mine"
    assert main(["prepare", str(text), "--tokenizer", "byte", "--output", str(mine)]) == 0
    flip_first_bit(mine / "train" / "00000.bin")
    capsys.readouterr()
    assert main([*train, str(tmp_path / "refused"), str(mine)]) == 65
    said = capsys.readouterr().err
    assert f"{mine}/train/00000.bin has changed (its SHA-256 differs): restore it from a copy, or delete {mine}" in said
    assert not (tmp_path / "refused").exists()
