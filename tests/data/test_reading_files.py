"""Which files are read, what becomes of their bytes, and every way in which a file can be unusable."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from textmill.data import corpus_size_bytes, default_corpus, list_files, read_documents
from textmill.data.reading.document import Reading
from textmill.data.reading.formats import text as text_format
from textmill.data.sources.findings import Notes
from textmill.errors import ConfigError, DataError, MissingInputError


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def texts(path: Path, **options: str) -> list[str]:
    joined, whole = [], ""
    for part in read_documents([path], Reading(**options)):  # pyright: ignore[reportArgumentType]
        whole += part.text
        if not part.continues:
            joined.append(whole)
            whole = ""
    return joined


def test_a_folder_yields_its_text_files_sorted(tmp_path: Path) -> None:
    """Text extensions at any depth, sorted, without hidden files; what is skipped is reported once."""
    names = [
        "b.txt",
        "a.md",
        "sub/c.TXT",
        "sub/deep/d.jsonl",
        ".hidden.txt",
        ".git/e.txt",
        "p.png",
        "q.png",
        "noextension",
    ]
    write(tmp_path, dict.fromkeys(names, "x"))
    said: list[str] = []
    found = list_files(tmp_path, said.append)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.md", "b.txt", "sub/c.TXT", "sub/deep/d.jsonl"]
    assert len(said) == 2 and any("p.png" in s and "q.png" in s for s in said) and any("(none)" in s for s in said)
    assert corpus_size_bytes(tmp_path) == 4


def test_files_patterns_and_repetitions(tmp_path: Path) -> None:
    """Explicit files of any extension, patterns, several items; each file once, in the order given."""
    write(tmp_path, dict.fromkeys(["b.txt", "a.txt", "x.weird", "d/e.txt", "d/.f.txt"], "x"))
    data = [str(tmp_path / "x.weird"), str(tmp_path / "**/*.txt"), tmp_path / "a.txt"]
    assert [path.name for path in list_files(data)] == ["x.weird", "a.txt", "b.txt", "e.txt"]


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    """Missing files, empty folders, patterns without a match, broken and circular links: one line each."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.txt").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    os.mkfifo(tmp_path / "pipe")
    for item, kind, message in [
        ("missing.txt", MissingInputError, "missing.txt: No such file"),
        ("empty", MissingInputError, "contains no text file"),
        ("*.csv", MissingInputError, "no file matches"),
        ("broken.txt", MissingInputError, "a broken link"),
        ("loop.txt", MissingInputError, "loop.txt"),
        ("pipe", DataError, "neither a file nor a folder"),
    ]:
        with pytest.raises(kind, match=message.replace("*", r"\*")) as caught:
            list_files(tmp_path / item)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        list_files("/dev/zero")


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    """A circle of links is walked once."""
    write(tmp_path, {"a/b.txt": "x"})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [path.name for path in list_files(tmp_path)] == ["b.txt"]


def test_the_default_corpus_is_the_library_source() -> None:
    """About ten megabytes of Python that every installation has, all of it UTF-8, no tests, no packages."""
    files = default_corpus()
    assert len(files) > 300 and 5e6 < corpus_size_bytes(None) < 30e6
    assert any(path.name == "argparse.py" for path in files)
    assert not any("site-packages" in path.parts or "test" in path.parts for path in files)
    assert sum(1 for part in read_documents(files) if not part.continues) == len(files)


def test_text_comes_as_it_stands(tmp_path: Path) -> None:
    """Control characters and white space are kept; a byte order mark is dropped; that, and line ends, are noted."""
    content = "one\r\ntwo\rthree\n\x00é😀 \n"
    write(tmp_path, {"a.txt": b"\xef\xbb\xbf" + content.encode(), "b.txt": "plain\n"})
    notes = Notes()
    documents = list(read_documents(list_files(tmp_path), notes=notes))
    assert [document.text for document in documents] == [content.replace("\r\n", "\n"), "plain\n"]
    said = "\n".join(notes.sentences())
    for finding in ("byte order mark dropped", "carriage returns kept", "Windows line ends", "NUL"):
        assert finding in said
    assert "b.txt" not in said


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_parts_add_up_to_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """However small the blocks, characters are whole, parts end before white space, and the sum is the file."""
    content = "Zwölf 日本語 😀😀 boxes,\r\n  ein  Satz.\n\n" * 3 + "x" * 50
    write(tmp_path, {"a.txt": content})
    monkeypatch.setattr(text_format, "PART_BYTES", size)
    parts = list(read_documents([tmp_path / "a.txt"], Reading(newlines="keep")))
    assert "".join(part.text for part in parts) == content
    assert [part.continues for part in parts] == [True] * (len(parts) - 1) + [False]
    for before, after in pairwise(parts):
        assert not before.text[-1:].isspace() and after.text[:1] in (" ", "\n")


def test_a_stretch_without_spaces_is_cut_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays flat even in a file without any white space."""
    monkeypatch.setattr(text_format, "PART_BYTES", 10)
    monkeypatch.setattr(text_format, "LONGEST_PART", 30)
    write(tmp_path, {"a.txt": "é" * 100})
    parts = [part.text for part in read_documents([tmp_path / "a.txt"])]
    assert "".join(parts) == "é" * 100 and max(map(len, parts)) <= 45


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"abc\xff def", 3),
        (b"\xef\xbb\xbfab\xc3(", 5),
        (b"x" * 70 + b"\xe2\x82", 70),
        (("é" * 40).encode() + b"\x80 end", 80),
    ],
)
def test_invalid_utf8_is_refused_with_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, offset: int
) -> None:
    """The error names the file and the first bad byte, wherever blocks begin."""
    monkeypatch.setattr(text_format, "PART_BYTES", 7)
    with pytest.raises(UnicodeDecodeError) as expected:
        content.decode("utf-8")
    assert expected.value.start == offset
    write(tmp_path, {"bad.txt": content})
    with pytest.raises(DataError, match=rf"bad\.txt is not UTF-8: byte 0x.. at offset {offset} .*replace"):
        texts(tmp_path / "bad.txt")
    dropped = content.removeprefix(b"\xef\xbb\xbf")
    assert texts(tmp_path / "bad.txt", encoding_errors="replace") == [dropped.decode("utf-8", "replace")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("plain english text".encode("utf-16-le"), "UTF-16"),
        ("plain english text".encode("utf-16-be"), "UTF-16"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "an image"),
        (b"PK\x03\x04\x14\x00", "a zip archive"),
        (b"\x7fELF\x02\x01\x01\x00", "a program"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
    ],
)
def test_what_is_not_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """Other encodings and well-known binary files are recognised, even when bad bytes would be replaced."""
    write(tmp_path, {"x.txt": content, "x.jsonl": content})
    for name in ("x.txt", "x.jsonl"):
        for errors in ("strict", "replace"):
            with pytest.raises(DataError, match=message) as caught:
                texts(tmp_path / name, encoding_errors=errors)
            assert name in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_way_to_treat_errors_is_refused() -> None:
    """A misspelt setting is an error and not a default."""
    with pytest.raises(ConfigError, match="strict or replace"):
        Reading(encoding_errors="ignore")


def test_json_lines(tmp_path: Path) -> None:
    """One document a line, blank lines passed over, escapes resolved, the line number in the source."""
    write(tmp_path, {"a.jsonl": '\ufeff{"text": "one\\n\\u00e9"}\n\n  \n{"id": NaN, "text": "two \\ud83d\\ude00"}'})
    documents = list(read_documents([tmp_path / "a.jsonl"]))
    assert [document.text for document in documents] == ["one\né", "two 😀"]
    assert [document.source.rpartition(":")[2] for document in documents] == ["1", "4"]
    write(tmp_path, {"b.ndjson": '{"body": "three", "text": 5}\n'})
    assert texts(tmp_path / "b.ndjson", text_column="body") == ["three"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut', "line 2 is not JSON"),
        ("not json", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"body": "x", "id": 1}', "line 2 has no field 'text', it has 'body', 'id'.*--text-column"),
        ("{}", "it has none"),
        ('{"text": 3.5}', "the field 'text' is a number"),
        ('{"text": true}', "is true or false"),
        ('{"text": ["a"]}', "is a list"),
        ('[{"text": "a"}]', "line 2 is a list, not an object"),
        ('"text"', "line 2 is a string"),
        ('{"text": "a", "text": "b"}', "line 2 repeats the field 'text'"),
        ('{"text": "ab\\ud800"}', r"line 2: the text contains a lone surrogate, \\ud800, at position 2"),
    ],
)
def test_bad_json_lines_are_refused_by_number(tmp_path: Path, line: str, message: str) -> None:
    """File, line and remedy in one line of text."""
    write(tmp_path, {"bad.jsonl": '{"text": "fine, with \\"text\\" inside"}\n' + line + "\n"})
    with pytest.raises(DataError, match=message) as caught:
        texts(tmp_path / "bad.jsonl")
    assert "bad.jsonl, line 2" in str(caught.value) and "\n" not in str(caught.value)


def test_half_characters_in_json_can_be_replaced(tmp_path: Path) -> None:
    """With replacement a lone surrogate becomes U+FFFD and pairs stay what they are."""
    write(tmp_path, {"a.jsonl": '{"text": "a\\ud800b\\ud83d\\ude00"}\n', "b.jsonl": b'{"text": "\xff"}\n'})
    assert texts(tmp_path / "a.jsonl", encoding_errors="replace") == ["a\ufffdb😀"]
    assert texts(tmp_path / "b.jsonl", encoding_errors="replace") == ["\ufffd"]
    with pytest.raises(DataError, match="line 1 is not UTF-8: byte 0xFF at offset 10"):
        texts(tmp_path / "b.jsonl")


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    """The bytes that are heard of add up to the sizes of the files."""
    write(tmp_path, {"a.txt": "é" * 1000, "b.jsonl": '{"text": "x"}\n' * 7})
    heard: list[int] = []
    for _ in read_documents(list_files(tmp_path), on_bytes=heard.append):
        pass
    assert sum(heard) == 2000 + 7 * 14
