"""Texts as programs on Windows write them: UTF-16 with a byte order mark, line ends of two characters."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from textmill.cli.main import main
from textmill.config import load_config
from textmill.data import prepare
from textmill.data.reading.document import Reading
from textmill.data.reading.formats import text as text_format
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.findings import Notes
from textmill.errors import ConfigError, DataError

LINES = "Größe – “text”\nкириллица 漢字\n\N{GRINNING FACE}\n"


def read(path: Path, **how: Any) -> tuple[str, list[str]]:
    """Return the text of a file and what was noted."""
    notes = Notes()
    pieces = [document.text for document in read_documents([path], Reading(**how), notes)]
    return "".join(pieces), notes.sentences()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_says_the_encoding(encoding: str, packed: bool, tmp_path: Path) -> None:
    """UTF-16 and UTF-32 of both orders are read without being named, compressed too, and that is said."""
    content = ("\ufeff" if encoding.endswith("be") else "") + LINES
    path = tmp_path / ("book.txt.gz" if packed else "book.txt")
    path.write_bytes(gzip.compress(content.encode(encoding)) if packed else content.encode(encoding))
    name = encoding.upper().removesuffix("-BE")
    assert read(path) == (LINES, [f"{name} by its byte order mark, read as such: {path}"])


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", '{"text": "Größe"}\n'), ("rows.json", '[{"text": "Größe"}]'), ("rows.csv", "text\nGröße\n")],
)
def test_tables_and_json_with_a_mark(name: str, content: str, tmp_path: Path) -> None:
    """What a spreadsheet saves as Unicode text is read like the same in UTF-8."""
    (tmp_path / name).write_bytes(content.encode("utf-16"))
    assert read(tmp_path / name)[0] == "Größe"


def test_damage_behind_a_mark_is_named(tmp_path: Path) -> None:
    """Half a character at the end is an error with its offset, or replaced."""
    path = tmp_path / "book.txt"
    path.write_bytes("abc".encode("utf-16") + b"\x00")
    with pytest.raises(DataError, match=r"is not utf-16: byte 0x00 at offset 8"):
        read(path)
    assert read(path, encoding_errors="replace")[0] == "abc\ufffd"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_windows_line_ends_are_line_feeds(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever blocks end, \\r\\n is \\n, counted over all files; a carriage return alone stays; `keep` keeps all."""
    monkeypatch.setattr(text_format, "PART_BYTES", size)
    texts = ["one\r\ntwo\r\r\nthree\rfour\r\n", "\r\n\r", "five\n"]
    for number, content in enumerate(texts):
        (tmp_path / f"{number}.txt").write_bytes(content.encode())
    files, notes = sorted(tmp_path.iterdir()), Notes()
    found = "".join(document.text for document in read_documents(files, Reading(document_separator=None), notes))
    assert found == "".join(texts).replace("\r\n", "\n")
    said = notes.sentences()
    finding = "Windows line ends (\\r\\n) read as line feeds, 4 of them (--newlines keep leaves them as they are)"
    assert f"{finding}: {files[0]} and 1 more" in said
    kept = read_documents(files, Reading(document_separator=None, newlines="keep"))
    assert "".join(document.text for document in kept) == "".join(texts)
    with pytest.raises(ConfigError, match="choose lf or keep"):
        Reading(newlines="crlf")


@pytest.mark.parametrize("newlines", ["lf", "keep"])
def test_separators_with_windows_line_ends(newlines: str, tmp_path: Path) -> None:
    """A separator of two line ends is found as it is written in the file, whichever way line ends are read."""
    path = tmp_path / "stories.txt"
    path.write_bytes(b"one\r\n\r\ntwo\r\n\r\nthree")
    reading = Reading(document_separator="\\r\\n\\r\\n", newlines=newlines)
    assert [document.text for document in read_documents([path], reading)] == ["one", "two", "three"]


def prepared(path: Path, folder: Path, **how: Any) -> Any:
    return prepare(path, tokenizer="byte", val_split=0, cache_dir=folder / "cache", **how)


def test_both_line_ends_make_one_corpus(tmp_path: Path) -> None:
    """The same text with either line end has the same ids; the report says what was done; `keep` is another corpus."""
    unix, windows = tmp_path / "unix.txt", tmp_path / "windows.txt"
    unix.write_bytes(b"one line\nand another\n" * 20)
    windows.write_bytes(b"one line\r\nand another\r\n" * 20)
    one, other = prepared(unix, tmp_path), prepared(windows, tmp_path)
    assert one.fingerprint == other.fingerprint
    assert "Windows line ends" in (other.folder / "REPORT.md").read_text() and "40 of them" in str(other.notes)
    kept = prepared(windows, tmp_path, newlines="keep")
    assert kept.train.num_tokens == one.train.num_tokens + 40 and kept.folder != other.folder


def test_texts_without_carriage_returns_keep_their_key(tmp_path: Path) -> None:
    """The setting is part of the key only for files that it may change, so other prepared texts are found again."""
    path = tmp_path / "unix.txt"
    path.write_bytes(b"one line\nand another\n" * 20)
    assert prepared(path, tmp_path).key == prepared(path, tmp_path, newlines="keep").key


def test_evaluating_reads_line_ends_as_the_run_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that kept carriage returns is evaluated with them, unless told otherwise."""
    path = tmp_path / "windows.txt"
    path.write_bytes(b"one line\r\nand another\r\n" * 40)
    small = "--tokenizer byte --d-model 16 --num-layers 1 --num-heads 2 --max-seq-len 16 --max-steps 1 --device cpu"
    cache = ["--cache-dir", str(tmp_path / "cache")]
    run = [*small.split(), "--threads", "1", "--newlines", "keep", "--output-dir", str(tmp_path / "run")]
    assert main(["train", str(path), *run, *cache]) == 0
    capsys.readouterr()
    tokens = []
    for flags in ([], ["--newlines", "lf"]):
        assert main(["evaluate", str(tmp_path / "run"), str(path), "--json", *flags, *cache]) == 0
        tokens.append(json.loads(capsys.readouterr().out)["tokens"])
    assert tokens[0] - tokens[1] == 80


def test_configurations_and_prompts_of_powershell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`textmill config show > run.yaml` writes UTF-16 with a mark there; it is read back, as is piped-in text."""
    path = tmp_path / "run.yaml"
    path.write_bytes("d_model: 48\r\n".encode("utf-16"))
    assert load_config(path).model.d_model == 48
    text = io.TextIOWrapper(io.BytesIO(LINES.encode("utf-16")))
    monkeypatch.setattr("sys.stdin", text)
    tokenizer = tmp_path / "tok"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(('{"text": "Größe"}\n' * 40).encode("utf-16"))))
    flags = ["--tokenizer", "char", "--output", str(tokenizer), "--cache-dir", str(tmp_path / "cache")]
    assert main(["tokenizer", "train", "-", *flags]) == 0
    assert [file.suffix for file in (tmp_path / "cache" / "stdin").iterdir()] == [".jsonl"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Größe\n".encode("utf-16"))))
    capsys.readouterr()
    assert main(["tokenizer", "encode", str(tokenizer)]) == 0
    assert len(capsys.readouterr().out.split()) == 5
