"""Preparing on file systems that have no locks, or flush no folders."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from pathlib import Path

import pytest

from textmill.cli.main import main
from textmill.data import prepare
from textmill.data.store.unfinished_corpus import PREFIX

NOT_SUPPORTED = sorted({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("The miller grinds corn.\n" * 100)
    return path


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_no_locks_are_not_another_process(number: int, book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is prepared at once, nothing is said of another process, and nothing is left beside the corpus."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said: list[str] = []
    corpus = prepare(book, tokenizer="byte", cache_dir=book.parent / "cache", say=said.append)
    assert corpus.train.num_tokens > 0 and not [sentence for sentence in said if "process" in sentence]
    assert [path.name for path in (book.parent / "cache" / "corpora").iterdir()] == [corpus.folder.name]


@pytest.mark.parametrize("number", NOT_SUPPORTED)
def test_folders_that_cannot_be_flushed(number: int, book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are flushed, and that folders are not supported there stops neither preparing nor training."""
    flushed, real = [], os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flushed.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    small = "--tokenizer byte --d-model 16 --num-layers 1 --num-heads 2 --max-seq-len 32 --max-steps 1 --device cpu"
    folders = ["--cache-dir", str(book.parent / "cache"), "--output-dir", str(book.parent / "run")]
    assert main(["train", str(book), *small.split(), *folders]) == 0
    assert flushed and (book.parent / "run" / "best_model").is_dir()


def test_a_begun_preparation_without_content_is_not_listed(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a process left that was killed at once, is no corpus; cleaning deletes it."""
    cache = book.parent / "cache"
    (cache / "corpora" / f"{PREFIX}one").mkdir(parents=True)
    (cache / "corpora" / f"{PREFIX}two").mkdir()
    (cache / "corpora" / f"{PREFIX}two" / "lock").write_bytes(b"")
    assert main(["cache", "list", "--cache-dir", str(cache), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["cache", "clean", "--cache-dir", str(cache)]) == 0
    assert "deleted 0 prepared corpora" in capsys.readouterr().out
    assert list((cache / "corpora").iterdir()) == []


def test_cleaning_leaves_a_preparation_alone_that_has_just_begun(book: Path) -> None:
    """Another process has locked the folder and made nothing yet."""
    root = book.parent / "cache" / "corpora" / f"{PREFIX}one"
    root.mkdir(parents=True)
    with (root / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["cache", "clean", "--cache-dir", str(book.parent / "cache")]) == 0
        assert (root / "lock").exists()
