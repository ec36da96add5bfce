"""Formats that people keep text in: each gives the same documents, each refuses what it cannot use in one line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from textmill.data import list_files, prepare, read_documents
from textmill.data.reading.document import Reading
from textmill.data.reading.formats import compressed
from textmill.data.reading.formats import text as text_format
from textmill.data.reading.formats.token_ids import open_bin
from textmill.data.sources.findings import Notes
from textmill.errors import ConfigError, DataError, MissingInputError

TEXTS = ["Plain, with comma.", 'Two\nlines; "quoted" – 日本語 😀', "third\ttabbed"]


def texts(path: Path, **options: str) -> list[str]:
    """The documents of one file, their parts joined."""
    joined, whole = [], ""
    for part in read_documents([path], Reading(**options)):  # pyright: ignore[reportArgumentType]
        whole += part.text
        if not part.continues:
            joined.append(whole)
            whole = ""
    return joined


def refusal(path: Path, **options: str) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(DataError) as caught:
        texts(path, **options)
    message = str(caught.value)
    assert caught.value.exit_code == 65 and "\n" not in message and str(path) in message
    return message


def csv_text(separator: str) -> str:
    rows = (separator.join(('"' + text.replace('"', '""') + '"', "7")) for text in TEXTS)
    return separator.join(("text", "id")) + "\r\n" + "\r\n".join(rows) + "\r\n"


AS_ROWS: dict[str, str] = {
    "a.jsonl": "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in TEXTS),
    "array.json": json.dumps([{"text": text, "more": [1, {"text": "inner"}]} for text in TEXTS], indent=2),
    "lines.json": "\n\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS),
    "one-line.json": json.dumps([{"text": text} for text in TEXTS]),
    "a.csv": csv_text(","),
    "semicolons.csv": csv_text(";"),
    "a.tsv": csv_text("\t"),
}


@pytest.mark.parametrize("name", AS_ROWS)
def test_rows_in_any_form_are_the_same_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """JSON lines, arrays, object after object, commas, semicolons, tabs: the texts, exactly, in any block size."""
    for size in (3, 7, 1 << 20):
        monkeypatch.setattr(text_format, "PART_BYTES", size)
        for mark in (b"", b"\xef\xbb\xbf"):
            (tmp_path / name).write_bytes(mark + AS_ROWS[name].encode())
            assert texts(tmp_path / name) == TEXTS


PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def packer(ending: str) -> Callable[[bytes], bytes]:
    if ending == ".zst":
        return pytest.importorskip("zstandard", reason="needs zstandard, of the extra data").compress
    return PACKERS[ending]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_files_are_what_they_hold(tmp_path: Path, ending: str) -> None:
    """Rows and plain text inside .gz, .bz2, .xz and .zst, two archives behind each other included."""
    pack = packer(ending)
    for name in ("a.jsonl", "a.csv", "array.json"):
        (tmp_path / (name + ending)).write_bytes(pack(AS_ROWS[name].encode()))
        assert texts(tmp_path / (name + ending)) == TEXTS
    long = "Ein längerer Text. " * 9000
    (tmp_path / ("b.txt" + ending)).write_bytes(pack(long[:5000].encode()) + pack(long[5000:].encode()))
    assert texts(tmp_path / ("b.txt" + ending)) == [long]
    heard: list[int] = []
    for _ in read_documents([tmp_path / ("b.txt" + ending)], on_bytes=heard.append):
        pass
    assert sum(heard) == (tmp_path / ("b.txt" + ending)).stat().st_size


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_archives_that_cannot_be_trusted(tmp_path: Path, ending: str) -> None:
    """Cut off anywhere, damaged, or made to fill the machine: refused, a bomb before it has gone off."""
    pack = packer(ending)
    content = pack(os.urandom(3000).hex().encode())
    path = tmp_path / ("x.txt" + ending)
    for length in (len(content) - 1, len(content) // 2, 10):
        path.write_bytes(content[:length])
        assert "cut off" in refusal(path)
    path.write_bytes(b"this is no archive at all")
    assert "cannot be unpacked" in refusal(path)
    if ending != ".zst":
        path.write_bytes(content[: len(content) // 2] + b"\xff\xff\xff" + content[len(content) // 2 + 3 :])
        assert "damaged" in refusal(path) or "cut off" in refusal(path)
    path.write_bytes(pack(b" " * (compressed.ALLOWED_ANYWAY + (4 << 20))))
    assert "times its size" in refusal(path)


def test_ordinary_compression_is_no_bomb(tmp_path: Path) -> None:
    """A log of one repeated line packs 200 times and is read; nothing small is refused."""
    (tmp_path / "log.txt.gz").write_bytes(gzip.compress(b"the same line again\n" * 1_000_000))
    assert sum(map(len, texts(tmp_path / "log.txt.gz"))) == 20_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n{"text": "b"}', "cut off: its array has no end"),
        ('[{"text": "a"},\n{"text": "b', "line 2 is not JSON"),
        ('[{"text": "a"}\n{"text": "b"}]', "line 2 is not JSON: expected a comma"),
        ('[{"text": "a"},\n]', "line 2 has a comma with nothing after it"),
        ('[{"text": "a"}]\n[]', "line 2 is not JSON: something follows"),
        ('{"text": "a"}\n\n{"text": "a", }', "line 3 is not JSON"),
        ('[{"text": "a"},\n{"body": "b"}]', "line 2 has no field 'text', it has 'body'"),
        ('[{"text": "a"},\n{"text": 4}]', "line 2: the field 'text' is a number"),
        ('{\n"a": "b",\n"train": [1]}', "line 1 has no field 'text', it has 'a', 'train'"),
        ('["a", "b"]', "line 1 is a string, not an object"),
        ("12345", "line 1 is a number"),
        ('{"text": "a", "text": "b"}', "repeats the field 'text'"),
        ("[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_broken_json_is_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    """Line and reason, for arrays and for objects behind each other."""
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=message):
        texts(tmp_path / "x.json")
    refusal(tmp_path / "x.json")


def test_bytes_of_json_that_are_no_utf8(tmp_path: Path) -> None:
    """The offset is that of the byte in the file."""
    (tmp_path / "x.json").write_bytes(b'[{"text": "ab\xff"}]')
    assert "offset 13" in refusal(tmp_path / "x.json")
    assert texts(tmp_path / "x.json", encoding_errors="replace") == ["ab\ufffd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,body\n1,a\n", "has no column 'text', it has 'id', 'body': name the column with --text-column"),
        ("id,text\n1,a\n2\n", "line 3 has 1 fields and the first line 2"),
        ('id,text\n1,a\n2,"b\n', r"line 3: broken row \(unexpected end of data\)"),
        ('id,text\n1,"a"b\n', "line 2: broken row"),
        ("text,text\na,b\n", "repeats the column 'text'"),
        ("text\na\n\xe9".encode("latin-1"), "line 3 is not UTF-8: byte 0xE9"),
    ],
)
def test_broken_tables_are_refused_by_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    """Missing columns name those there, broken rows their line."""
    (tmp_path / "x.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        texts(tmp_path / "x.csv")
    refusal(tmp_path / "x.csv")


def test_rows_are_named_by_their_line(tmp_path: Path) -> None:
    """A row that follows one of several lines has its own line's number."""
    (tmp_path / "x.csv").write_text('text\n"a\nb"\nc\n\nd\n')
    assert [document.source.rpartition(":")[2] for document in read_documents([tmp_path / "x.csv"])] == ["2", "4", "6"]


def test_fields_of_any_length(tmp_path: Path) -> None:
    """A megabyte in one field of a table is one document."""
    (tmp_path / "x.csv").write_text(f"text\n{'word ' * 300_000}\n")
    assert [len(text) for text in texts(tmp_path / "x.csv")] == [1_500_000]


def test_parquet_and_arrow(tmp_path: Path) -> None:
    """The text column of every row, nulls passed over and noted; other columns and damage refused by name."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra data")
    parquet = pytest.importorskip("pyarrow.parquet")

    table = pyarrow.table({"text": [*TEXTS, None], "id": [1, 2, 3, 4]})
    path = tmp_path / "x.parquet"
    parquet.write_table(table, path, row_group_size=2)
    notes = Notes()
    assert [document.text for document in read_documents([path], notes=notes)] == TEXTS
    assert "null" in notes.sentences()[0]
    for name, opened in (("s.arrow", pyarrow.ipc.new_stream), ("f.arrow", pyarrow.ipc.new_file)):
        with opened(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
        assert texts(tmp_path / name) == TEXTS
    assert "has no column 'body', it has 'text', 'id'" in refusal(path, text_column="body")
    assert "contains int64, not text" in refusal(path, text_column="id")
    dictionary = pyarrow.table({"text": pyarrow.array(TEXTS).dictionary_encode()})
    parquet.write_table(dictionary, tmp_path / "d.parquet")
    assert texts(tmp_path / "d.parquet") == TEXTS
    whole = path.read_bytes()
    for damage in (whole[:-9], whole[: len(whole) // 2], b"", b"PAR1PAR1"):
        path.write_bytes(damage)
        assert "damaged or cut off" in refusal(path)
    parquet.write_table(table.slice(0, 0), path)
    with pytest.raises(DataError, match="no text to use"):
        prepare(path, tokenizer="byte", cache_dir=tmp_path / "cache")


def test_web_pages(tmp_path: Path) -> None:
    """The article without menu and footer; a page without text is an empty document and is noted."""
    pytest.importorskip("trafilatura", reason="needs trafilatura, of the extra data")
    article = "".join(f"<p>Paragraph {n} of the article tells something about bears and rivers.</p>" for n in range(9))
    page = f"<html><body><nav><a href='/'>Home</a> <a href='/x'>About us</a></nav><article><h1>Bears</h1>{article}"
    (tmp_path / "a.html").write_text(page + "</article><footer>Copyright nobody</footer></body></html>")
    (text,) = texts(tmp_path / "a.html")
    assert "Paragraph 0 of the article" in text and "Paragraph 8" in text
    assert "About us" not in text and "<p>" not in text
    (tmp_path / "b.html").write_text("<html><body></body></html>")
    notes = Notes()
    assert [document.text for document in read_documents([tmp_path / "b.html"], notes=notes)] == [""]
    assert "no main text" in notes.sentences()[0]


def small_pdf(lines: list[str]) -> bytes:
    """A PDF with one page per line of text, written by hand."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(lines)))
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(lines)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, line in enumerate(lines):
        parts.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        stream = f"BT /F1 12 Tf 72 720 Td ({line}) Tj ET" if line else ""
        parts.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, places = "%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"trailer\n<< /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}{end}".encode("latin-1")


def test_pdf(tmp_path: Path) -> None:
    """The text layer of all pages as one document; scans are noted, damage is refused."""
    pytest.importorskip("pypdfium2", reason="needs pypdfium2, of the extra data")
    (tmp_path / "a.pdf").write_bytes(small_pdf(["First page here", "Second page"]))
    assert texts(tmp_path / "a.pdf") == ["First page here\n\nSecond page\n"]
    (tmp_path / "scan.pdf").write_bytes(small_pdf([""]))
    notes = Notes()
    assert "".join(document.text for document in read_documents([tmp_path / "scan.pdf"], notes=notes)).strip() == ""
    assert "OCR" in notes.sentences()[0]
    (tmp_path / "lines.pdf").write_bytes(small_pdf(["the exam-) Tj 0 -14 Td (ple of a hy-) Tj 0 -14 Td (phen"]))
    notes = Notes()
    assert "".join(document.text for document in read_documents([tmp_path / "lines.pdf"], notes=notes)) == (
        "the example of a hyphen\n"
    )
    assert "hyphens at line ends of PDF pages left out and the words joined, 2 of them" in notes.sentences()[0]
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4\nnot really")
    assert "or no .pdf file" in refusal(tmp_path / "bad.pdf")


def write_epub(path: Path, chapters: dict[str, str], spine: list[str]) -> None:
    items = "".join(f'<item id="{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in chapters)
    order = "".join(f'<itemref idref="{name}"/>' for name in spine)
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{order}</spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("META-INF/container.xml", container)
        book.writestr("OEBPS/book.opf", package)
        for name, chapter in chapters.items():
            book.writestr(f"OEBPS/{name}.xhtml", chapter)


def test_epub(tmp_path: Path) -> None:
    """Chapters in the order of the spine, paragraphs on lines, no markup; other archives and bombs are refused."""
    chapters = {
        "two": "<html><body><p>Then &amp; later.</p></body></html>",
        "one": "<html><head><title>no</title></head><body><h1>One</h1><p>It <i>was</i>\nnight.<br/>Dark.</p></body>",
    }
    path = tmp_path / "book.epub"
    write_epub(path, chapters, ["one", "two", "one"])
    assert texts(path) == ["One\nIt was night.\nDark.\nThen & later.\n"]
    write_epub(path, {"one": "<p>" + " " * (compressed.ALLOWED_ANYWAY + 1000)}, ["one"])
    assert "times its size" in refusal(path)
    write_epub(path, {}, [])
    assert "without chapters" in refusal(path)
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("word/document.xml", "<x/>")
    assert "or no .epub file" in refusal(path)
    path.write_bytes(path.read_bytes()[:40])
    assert "or no .epub file" in refusal(path)


def test_ids_without_a_header(tmp_path: Path) -> None:
    """A .bin file holds 16 bit ids, 32 bit ones where a file beside it or the vocabulary says so."""
    ids = np.arange(1000, dtype="<u2")
    ids.tofile(tmp_path / "train.bin")
    corpus = prepare(tmp_path / "train.bin", vocab_size=1000, cache_dir=tmp_path / "cache")
    assert corpus.tokenizer is None and corpus.validation is not None
    assert corpus.train.read(0, 900).tolist() == ids[:900].tolist() and corpus.validation.num_tokens == 100
    np.array([70_000, 1], dtype="<u4").tofile(tmp_path / "wide.bin")
    assert next(open_bin(tmp_path / "wide.bin", 100_000).blocks()).tolist() == [70_000, 1]
    assert next(open_bin(tmp_path / "wide.bin").blocks()).tolist() == [4464, 1, 1, 0]
    (tmp_path / "wide.bin.json").write_text('{"dtype": "uint32"}')
    assert next(open_bin(tmp_path / "wide.bin").blocks()).tolist() == [70_000, 1]
    first = prepare(tmp_path / "wide.bin", val_split=0, cache_dir=tmp_path / "cache")
    (tmp_path / "wide.bin.json").unlink()
    second = prepare(tmp_path / "wide.bin", val_split=0, cache_dir=tmp_path / "cache")
    assert (first.train.num_tokens, second.train.num_tokens) == (2, 4)
    (tmp_path / "odd.bin").write_bytes(b"abc")
    (tmp_path / "torch.bin").write_bytes(b"PK\x03\x04archive/data.pkl")
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "wide.bin.json").write_text('{"dtype": "float16"}')
    for name, message in (
        ("odd", "multiple of 2"),
        ("torch", "PyTorch"),
        ("empty", "is empty"),
        ("wide", "uint32"),
    ):
        with pytest.raises(DataError, match=message):
            open_bin(tmp_path / f"{name}.bin")


def test_what_a_folder_is_read_for(tmp_path: Path) -> None:
    """Beside text, .csv and .json are settings and are passed over, and that is said; alone they are the data."""
    for name in ("a.txt", "b.jsonl", "c.csv", "d.json", "e.jsonl.gz", "f.bin"):
        (tmp_path / name).write_text("x")
    said: list[str] = []
    assert [path.name for path in list_files(tmp_path, said.append)] == ["a.txt", "b.jsonl", "e.jsonl.gz"]
    assert sum("assumed to be settings" in sentence for sentence in said) == 2
    for name in ("a.txt", "b.jsonl", "e.jsonl.gz"):
        (tmp_path / name).unlink()
    assert [path.name for path in list_files(tmp_path)] == ["c.csv", "d.json"]


def test_a_folder_without_the_packages_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that need a missing package are passed over in a folder, and that is said; named, they are an error."""
    for name in ("a.txt", "b.parquet", "c.pdf"):
        (tmp_path / name).write_text("x")
    for package in ("pyarrow", "pypdfium2"):
        monkeypatch.setitem(sys.modules, package, None)
    said: list[str] = []
    assert [path.name for path in list_files(tmp_path, said.append)] == ["a.txt"]
    assert any("pyarrow" in sentence and "textmill[data]" in sentence for sentence in said)
    with pytest.raises(
        ConfigError, match=r"b\.parquet needs pyarrow, which is missing: pip install 'textmill\[data\]'"
    ):
        texts(tmp_path / "b.parquet")


def test_paths_of_every_kind(tmp_path: Path) -> None:
    """Spaces, line breaks, other scripts, a leading hyphen: all are files; a name too long is missing."""
    for name in ("with space.txt", "zwei\nzeilen.txt", "日本語 😀.txt", "-x.txt", "a=b.txt", "[1].txt", "..x.txt"):
        (tmp_path / name).write_text("words and more words")
        corpus = prepare(tmp_path / name, tokenizer="byte", cache_dir=tmp_path / "cache")
        assert corpus.train.num_bytes == 18
    with pytest.raises(MissingInputError) as caught:
        list_files(tmp_path / ("x" * 5000))
    assert len(str(caught.value)) < 5300 and "too long" in str(caught.value)
