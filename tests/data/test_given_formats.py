"""What a file is: guessed only where nothing else can be meant, and as it is said with format and encoding."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from textmill.data import prepare, read_documents
from textmill.data.reading.document import Reading
from textmill.data.reading.formats import text as text_format
from textmill.data.sources.file_extensions import NAMED_FORMATS
from textmill.data.sources.findings import Notes
from textmill.data.sources.one_time_texts import Keeper
from textmill.errors import ConfigError, DataError

ROWS = [{"id": 1, "text": "Größe, eins"}, {"id": 2, "text": 'zwei; "drei"\tvier\nfünf'}]
TEXTS = [str(row["text"]) for row in ROWS]


def texts(path: Path, **how: Any) -> list[str]:
    """The documents of one file, their parts joined."""
    return "".join(d.text + "\0" * (not d.continues) for d in read_documents([path], Reading(**how))).split("\0")[:-1]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(separator: str) -> str:
    quoted = ('"' + text.replace('"', '""') + '"' for text in TEXTS)
    return "".join(f"{number}{separator}{text}\n" for number, text in [("id", "text"), *enumerate(quoted)])


AS: dict[str, str] = {
    "text": TEXTS[0],
    "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "json": json.dumps(ROWS),
    "csv": table(","),
    "tsv": table("\t"),
}


@pytest.mark.parametrize("format", AS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("name", ["x.dat", "x.parquet", "x.npy.gz"])
def test_format_and_encoding_count_whatever_the_name_says(
    tmp_path: Path, format: str, encoding: str, name: str
) -> None:
    """The same documents from a misleading name in any encoding, packed or not."""
    content = AS[format].encode(encoding)
    path = written(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    assert texts(path, format=format, encoding=encoding) == (TEXTS[:1] if format == "text" else TEXTS)


def test_the_key_is_that_of_a_file_with_the_right_name(tmp_path: Path) -> None:
    """`x.dat` said to be CSV and `x.csv` are one corpus; in another encoding it is another one."""
    given: dict[str, Any] = {"tokenizer": "byte", "cache_dir": tmp_path / "cache", "val_split": 0}
    named = prepare(written(tmp_path / "x.csv", AS["csv"]), **given)
    said = prepare(written(tmp_path / "x.dat", AS["csv"]), format="csv", **given)
    other = prepare(tmp_path / "x.dat", format="csv", encoding="cp1252", **given)
    assert said.folder == named.folder and other.folder != named.folder
    assert other.train.num_bytes == sum(len(text.encode().decode("cp1252").encode()) for text in TEXTS)


def test_ids_whatever_the_name(tmp_path: Path) -> None:
    """Arrays and ids without a header are said to be so as well."""
    np.save(tmp_path / "ids.npy", np.arange(50, dtype=np.uint16))
    (tmp_path / "ids.npy").rename(tmp_path / "a.dat")
    np.arange(50, dtype="<u2").tofile(tmp_path / "b.dat")
    for name, format in (("a.dat", "npy"), ("b.dat", "bin")):
        corpus = prepare(tmp_path / name, format=format, val_split=0, cache_dir=tmp_path / "cache")
        assert corpus.train.read(0, 50).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"format": "docx"}, "format is 'docx': choose one of text, "),
        ({"encoding": "utf-9"}, "encoding is 'utf-9' .*unknown encoding.* such as utf-8, latin-1"),
        ({"encoding": "rot13"}, "encoding is 'rot13' .*not a text encoding"),
        ({"encoding": "a\0b"}, "encoding is"),
        ({"document_separator": ""}, "document_separator is empty"),
    ],
)
def test_what_means_nothing_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Reading(**how)


def test_bytes_that_are_not_in_the_encoding(tmp_path: Path) -> None:
    """Refused with their offset, also behind the first block, or replaced."""
    path = written(tmp_path / "x.txt", "ж".encode("cp1251") * 70_000 + b"\x98 end")
    with pytest.raises(DataError, match=r"x\.txt is not cp1251: byte 0x98 at offset 70,000"):
        texts(path, encoding="cp1251")
    assert texts(path, encoding="cp1251", encoding_errors="replace") == ["ж" * 70_000 + "\ufffd end"]
    with pytest.raises(DataError, match=r"byte 0xE6 at offset 0 .*it is probably cp1252 \('æææ"):
        texts(path)


@pytest.mark.parametrize("beginning", ["BZh91AY is", "GIF89a and GIF87a", "GIF8", "PAR1 is a name", "%PDF-1.4 means"])
def test_words_that_begin_like_a_binary_file_are_text(tmp_path: Path, beginning: str) -> None:
    """Signatures of printable characters are not enough."""
    assert texts(written(tmp_path / "x.txt", beginning)) == [beginning]


def tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo("story.txt")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"story"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tar.gz", tar("w:gz"), "a.tar.gz is an archive of files: unpack it and give the folder"),
        ("a.tgz", tar("w:gz"), "is an archive of files"),
        ("a.tar", tar("w:"), "is an archive of files"),
        ("a.tar.xz", tar("w:xz"), "is an archive of files"),
        ("a.txt.gz", tar("w:gz"), "is a tar archive"),
        ("a.txt", tar("w:bz2"), "is bzip2-compressed"),
        ("a.txt", bz2.compress(b""), "is bzip2-compressed"),
        ("a.txt", b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff", "is an image"),
        ("a.txt", b"PAR1\x15\x04\x15\x10", "is a Parquet table"),
        ("a.txt", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Archives of files by name and by content; binary files by as much of their beginning as no text has."""
    with pytest.raises(DataError, match=message):
        texts(written(tmp_path / name, content))


def test_a_table_of_tabs_has_tabs(tmp_path: Path) -> None:
    """In .tsv only the tab separates; in .csv a quoted name of a column counts no separators."""
    assert texts(written(tmp_path / "x.tsv", "id,a,b\ttext\n1\tx, y\n")) == ["x, y"]
    assert texts(written(tmp_path / "x.csv", '"id;one;two","a\tb",text\n1,2,x\n')) == ["x"]
    assert texts(written(tmp_path / "y.csv", '"id, one";"say ""a, b, c""";text\n1;2;x\n')) == ["x"]


def test_a_long_window_is_no_damage(tmp_path: Path) -> None:
    """Zstandard with windows up to 2 GiB, as `zstd --ultra --long=31` writes it."""
    zstandard = pytest.importorskip("zstandard", reason="needs zstandard, of the extra data")
    for log in (27, 28, 31):
        settings = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
        packer = zstandard.ZstdCompressor(compression_params=settings).compressobj()
        path = written(tmp_path / "x.txt.zst", packer.compress(b"far away") + packer.flush())
        assert texts(path) == ["far away"]


def test_rows_without_a_text_are_skipped_in_every_format(tmp_path: Path) -> None:
    """Null is no text in JSON Lines, JSON, Parquet and Arrow alike, and is noted with the row."""
    rows = [{"text": "one"}, {"text": None}, {"text": "two"}]
    written(tmp_path / "x.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    written(tmp_path / "x.json", json.dumps(rows))
    paths = [tmp_path / "x.jsonl", tmp_path / "x.json"]
    if "pyarrow" in sys.modules or _has("pyarrow"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
        paths.append(tmp_path / "x.parquet")
    for path in paths:
        notes = Notes()
        assert [document.text for document in read_documents([path], notes=notes)] == ["one", "two"]
        assert notes.sentences()[0].startswith("rows without a text (null) skipped")


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


PIPED: dict[str, tuple[bytes, dict[str, Any], str, list[str]]] = {
    "JSON Lines": (AS["jsonl"].encode(), {}, ".jsonl", TEXTS),
    "JSON Lines with a byte order mark": (b"\xef\xbb\xbf" + AS["jsonl"].encode(), {}, ".jsonl", TEXTS),
    "files one after the other": (2 * (b"\xef\xbb\xbf" + AS["jsonl"].encode()), {}, ".jsonl", 2 * TEXTS),
    "JSON Lines in UTF-16": (AS["jsonl"].encode("utf-16"), {"encoding": "utf-16"}, ".jsonl", TEXTS),
    "a long first row": (json.dumps({"text": "x" * 2_000_000}).encode() + b"\n", {}, ".jsonl", ["x" * 2_000_000]),
    "JSON over several lines": (json.dumps(ROWS, indent=1).encode(), {}, ".json", TEXTS),
    "one object over several lines": (json.dumps(ROWS[0], indent=1).encode(), {}, ".json", TEXTS[:1]),
    "text that begins with a brace": (b"{x in A: x > 0} is a set", {}, ".txt", ["{x in A: x > 0} is a set"]),
    "a template": (b"{{Infobox|text=1}}", {}, ".txt", ["{{Infobox|text=1}}"]),
    "a quote in braces": (b'{"yes"} she said', {}, ".txt", ['{"yes"} she said']),
    "a list of numbers": (b"[1] A footnote.", {}, ".txt", ["[1] A footnote."]),
    "JSON that is meant as text": (AS["jsonl"].encode(), {"format": "text"}, ".txt", [AS["jsonl"]]),
    "a table": (AS["csv"].encode("cp1252"), {"format": "csv", "encoding": "cp1252"}, ".csv", TEXTS),
}


@pytest.mark.parametrize("case", PIPED)
def test_what_is_piped_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """JSON only where it begins as JSON does; what is said counts more. Only its user may read what is kept."""
    content, how, extension, expected = PIPED[case]
    piped = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", piped)
    (kept,) = Keeper(cache_dir=tmp_path, **how).keep("-") or []
    assert Path(kept).suffix == extension and Path(kept).read_bytes() == content
    assert Path(kept).stat().st_mode & 0o777 == 0o600
    assert texts(Path(kept), **how) == expected


def test_a_program_gives_text_already(tmp_path: Path) -> None:
    """Format and encoding have no effect on it, and are refused."""
    given: list[dict[str, Any]] = [{"format": "csv"}, {"encoding": "latin-1"}]
    for how in given:
        with pytest.raises(ConfigError, match="data is texts of a program: format and encoding say what files are"):
            prepare(iter(["a text"]), cache_dir=tmp_path, **how)
    assert list(tmp_path.iterdir()) == []


def test_every_format_has_a_name() -> None:
    """The setting takes what the reading of files takes."""
    from textmill.config.fields.data import Format

    assert set(Format.__args__) == set(NAMED_FORMATS)


END = "<|endoftext|>"


@pytest.mark.parametrize(
    ("content", "separator", "expected"),
    [
        (f"one\n{END}\ntwo\n{END}\n\n", "auto", ["one\n", "two\n"]),
        (f"{END}\r\none\r\n{END}\r\ntwo\r\n{END}", "auto", ["one\n", "two\n"]),
        (f"one\n{END}\n \n{END}\ntwo", "auto", ["one\n", "two"]),
        (f"one{END}two\n", "auto", [f"one{END}two\n"]),
        (f" {END}\none\n", "auto", [f" {END}\none\n"]),
        (f"one\n{END}\ntwo", None, [f"one\n{END}\ntwo"]),
        (f"one{END}two{END}\nthree", END, ["one", "two", "three"]),
        ("a\n\n\nb\n\n\n\n\nc\n", "\\n\\n\\n", ["a", "b", "c\n"]),
        ("a\n\n\nb", "\n\n\n", ["a", "b"]),
        ("a\n---\nb\n---\n\nc", "---", ["a\n", "b\n", "\nc"]),
        ("", "auto", [""]),
        (f"{END}\n", "auto", []),
    ],
)
def test_documents_within_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, separator: str | None, expected: list[str]
) -> None:
    """Where documents end, for parts of any size; what is blank between two ends is none."""
    path = written(tmp_path / "x.txt", content)
    for size in (4, 5, 7, 16, 1 << 20):
        monkeypatch.setattr(text_format, "PART_BYTES", size)
        assert texts(path, document_separator=separator) == expected


def test_separators_are_said(tmp_path: Path) -> None:
    """What is recognised, what is not, and what has no effect."""

    def said(content: str, **how: Any) -> list[str]:
        notes = Notes()
        for _ in read_documents([written(tmp_path / "x.txt", content)], Reading(**how), notes):
            pass
        return notes.sentences()

    (sentence,) = said(f"one\n{END}\ntwo\n")
    assert sentence.startswith(f"documents end at lines {END} (--document-separator none keeps them as text): ")
    (sentence,) = said(f"one{END}two\n")
    assert sentence.startswith(
        f"where other text stands on the line of {END}, it is plain text (--document-separator '{END}'"
    )
    (sentence,) = said("one\n", document_separator="---")
    assert sentence.startswith("the document separator '---' does not occur")
    assert said("one\n") == said("a---b", document_separator="---") == said(END, document_separator=None) == []


def test_stories_are_documents_with_an_end(tmp_path: Path) -> None:
    """The EOS token takes the place of the mark, and copies share a side, as in any corpus of many documents."""
    stories = [f"Story {number} of the mill.\n" for number in range(40)]
    path = written(tmp_path / "stories.txt", f"{END}\n".join(stories))
    corpus = prepare(path, tokenizer="byte", cache_dir=tmp_path / "cache")
    assert corpus.validation is not None and corpus.train.num_documents + corpus.validation.num_documents == 40
    assert corpus.tokenizer is not None and corpus.tokenizer.eos_id == 256
    lengths = corpus.train.document_lengths()
    first = corpus.train.read(0, int(lengths[0])).tolist()
    assert bytes(first[:-1]).decode() in stories and first[-1] == 256


def test_kept_text_that_has_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the file is the hash of what was piped in; a copy elsewhere is a text of the user's own."""
    piped = io.TextIOWrapper(io.BytesIO(b"the cat sat on the mat. " * 40))
    monkeypatch.setattr(sys, "stdin", piped)
    (kept,) = Keeper(cache_dir=tmp_path).keep("-") or []
    path = Path(kept)
    prepare(path, tokenizer="byte", cache_dir=tmp_path)
    path.write_bytes(path.read_bytes().replace(b"cat", b"bat", 1))
    with pytest.raises(DataError, match=r"has changed since it was kept .*: delete it and give the text again"):
        prepare(path, tokenizer="byte", cache_dir=tmp_path)
    prepare(path.rename(tmp_path / "mine.txt"), tokenizer="byte", cache_dir=tmp_path)
