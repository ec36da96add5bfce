"""One odd file in a folder: it is skipped as a whole, said and listed, and the others are read."""

from __future__ import annotations

import gzip
import json
import os
import socket
from pathlib import Path

import pytest

from support.small_corpora import kept
from textmill.cli.main import main
from textmill.data import prepare
from textmill.data.preparing import corpus_cache_key
from textmill.data.reading import odd_files, read_documents
from textmill.data.sources.file_selection import select_files
from textmill.errors import DataError, MissingInputError
from textmill.files import read_bytes
from textmill.runs.layout import CORPUS_REPORT, PREPARED
from textmill.tokenizers.new_tokenizers import make_byte

ODD = {
    "latin.c": "/* größer */ int main;\n".encode("latin-1") * 20,
    "wide.txt": "no byte order mark".encode("utf-16-le"),
    "without.jsonl": b'{"text": "a row that is fine"}\n{"body": "no text"}\n',
    "cut.txt.gz": gzip.compress(b"words and more words " * 99)[:-20],
    "picture.txt": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "broken.json": b'[{"text": "one"}, {"text": ',
}
GOOD = {f"good{number}.txt": f"story {number} of the miller and his mill" for number in range(5)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Five texts and one odd file of each sort, array, socket and pipe included."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    for name, content in ODD.items():
        (folder / "sub" / name).write_bytes(content)
    for name, text in GOOD.items():
        (folder / name).write_text(text)
    (folder / "fixture.npy").write_bytes(b"\x93NUMPY\x01\x00")
    os.mkfifo(folder / "pipe.txt")
    return folder


@pytest.mark.parametrize("tokenizer", ["byte", "bpe"])
@pytest.mark.parametrize("pattern", ["", "**/*"])
def test_the_others_are_read(tree: Path, tmp_path: Path, pattern: str, tokenizer: str) -> None:
    """All good texts and nothing of an odd file; each odd one is counted, and is in the record with its reason."""
    said: list[str] = []
    corpus = prepare(tree / pattern, val_split=0, tokenizer=tokenizer, cache_dir=tmp_path / "cache", say=said.append)
    assert kept(corpus) == list(GOOD.values())
    expected = set(ODD) - (set() if pattern else {"broken.json"})  # which a folder takes for settings
    (sentence,) = [sentence for sentence in said if "cannot be read" in sentence]
    assert sentence.startswith(f"{len(expected)} files") and sentence.endswith(f"and {len(expected) - 3} more")
    recorded = json.loads(read_bytes(corpus.folder / PREPARED))["skipped"]
    listed = [next(name for name in ODD if name in fault) for fault in recorded["it cannot be read"]]
    assert sorted(listed) == sorted(expected)
    report = (corpus.folder / CORPUS_REPORT).read_text()
    assert all(name in report for name in ODD) and "fixture.npy" in report
    said.clear()
    again = prepare(tree / pattern, val_split=0, tokenizer=tokenizer, cache_dir=tmp_path / "cache", say=said.append)
    assert again.folder == corpus.folder and sentence in again.notes  # said again by whoever opens it


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_is_named_is_refused(tree: Path, tmp_path: Path, name: str) -> None:
    """Alone, beside its folder, and before it: whoever names a file wants it read."""
    path = tree / "sub" / name
    for data in ([path], [tree, path], [path, tree]):
        with pytest.raises(DataError, match=name):
            prepare(data, tokenizer="byte", cache_dir=tmp_path / "cache")


def test_a_mended_file_is_read(tree: Path, tmp_path: Path) -> None:
    """The content of what is skipped is part of the key, so that mending it prepares the corpus again."""
    options = {"val_split": 0, "tokenizer": "byte", "cache_dir": tmp_path / "cache"}
    before = prepare(tree, **options)
    (tree / "sub" / "without.jsonl").write_text('{"text": "a row that is fine"}\n{"text": "mended"}\n')
    after = prepare(tree, **options)
    assert before.key != after.key and kept(after) == [*GOOD.values(), "a row that is fine", "mended"]


def test_a_file_that_may_not_be_read(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without permission it is skipped within a folder, and refused by its name."""
    for odd in (tree / "sub").iterdir():
        odd.unlink()
    closed, real = tree / "good0.txt", read_documents.open_file

    def open_file(path: Path) -> object:
        if path == closed:
            raise MissingInputError(f"cannot read {path}: Permission denied")
        return real(path)

    for module in (read_documents, corpus_cache_key):
        monkeypatch.setattr(module, "open_file", open_file)
    corpus = prepare(tree, val_split=0, tokenizer="byte", cache_dir=tmp_path / "cache")
    assert kept(corpus) == list(GOOD.values())[1:]
    assert any("good0.txt: Permission denied" in note for note in corpus.notes)
    with pytest.raises(MissingInputError, match="Permission denied"):
        prepare([closed, tree], tokenizer="byte", cache_dir=tmp_path / "cache")
    monkeypatch.undo()
    assert kept(prepare(tree, val_split=0, tokenizer="byte", cache_dir=tmp_path / "cache")) == list(GOOD.values())


def test_a_file_that_is_broken_far_inside(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is in the corpus, though documents of it had been counted when that showed."""
    monkeypatch.setattr(odd_files, "LOOKED_AHEAD", 30)
    rows = [json.dumps({"text": f"row {number} before the broken one"}) for number in range(9)]
    (tree / "a.jsonl").write_text("\n".join([*rows, "{"]))
    said: list[str] = []
    corpus = prepare(tree, val_split=0, tokenizer="byte", cache_dir=tmp_path / "cache", say=said.append)
    assert kept(corpus) == list(GOOD.values())
    assert len([sentence for sentence in said if "cannot be read" in sentence]) == 1


def test_nothing_but_odd_files_is_refused(tree: Path, tmp_path: Path) -> None:
    """The first reason is said, and what to do about it."""
    for name in ODD:
        if name != "latin.c":
            (tree / "sub" / name).unlink()
    with pytest.raises(DataError, match=r"no text to use .*latin\.c is not UTF-8.* --encoding"):
        prepare(tree / "sub", tokenizer="byte", cache_dir=tmp_path / "cache")


def test_sockets_are_skipped(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket and a pipe in a folder are neither opened nor waited for."""
    monkeypatch.chdir(tree)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.txt")
        files = select_files(tree)
    assert {Path(name).name for name in files.skipped.by_reason["it is a broken link or not a regular file"]} == {
        "s.txt",
        "pipe.txt",
    }


def test_a_tokenizer_learns_from_the_others(tree: Path, tmp_path: Path) -> None:
    """`tokenizer train` on such a folder ends well."""
    words = f"tokenizer train {tree} --tokenizer char --output {tmp_path / 'tokenizer'}"
    assert main(words.split()) == 0


@pytest.mark.parametrize("far_inside", [False, True])
@pytest.mark.parametrize("verb", ["data", "tokenizer inspect {tokenizer} --data"])
def test_looking_at_a_folder_skips_and_lists_them(
    verb: str,
    far_inside: bool,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`data` and `tokenizer inspect` count what `prepare` does; each odd file is in the JSON with its reason."""
    make_byte().save_alone(tmp_path / "tokenizer")
    expected = set(ODD) - {"broken.json"}
    if far_inside:
        monkeypatch.setattr(odd_files, "LOOKED_AHEAD", 30)
        rows = [json.dumps({"text": f"row {number} before the broken one"}) for number in range(9)]
        (tree / "a.jsonl").write_text("\n".join([*rows, "{"]))
        expected.add("a.jsonl")
    command = verb.format(tokenizer=tmp_path / "tokenizer").split()
    assert main([*command, str(tree), "--cache-dir", str(tmp_path / "cache"), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    found = found.get("data", found)
    assert found["documents"] == len(GOOD) and found["bytes"] == sum(map(len, GOOD.values()))
    assert {Path(path).name for path in found["skipped"]} == expected
    assert f"{len(expected)} files that nobody named cannot be read and are skipped" in " ".join(printed.err.split())
    assert main([*command, str(tree / "sub" / "latin.c")]) == 65
    assert "latin.c is not UTF-8" in capsys.readouterr().err
