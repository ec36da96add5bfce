"""Read files as documents, whatever their format, a part at a time."""

import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats import (
    compressed,
    csv_table,
    epub,
    json_objects,
    jsonl,
    markup,
    notebook,
    parquet_and_arrow,
    pdf,
    subtitles,
    text,
    translations,
    web_archive,
)
from textmill.data.reading.formats.other_encodings import given_as_utf8, marked_as_utf8
from textmill.data.reading.odd_files import OddFiles
from textmill.data.sources.file_extensions import ARCHIVES, FORMATS, IDS, extension_of, format_of
from textmill.data.sources.findings import Notes
from textmill.errors import DataError, MissingInputError, TextmillError, one_line

Read = Callable[[BinaryIO, str, Reading, Notes], Iterator[Document]]

READERS: dict[str, Read] = {
    "text": text.read,
    "jsonl": jsonl.read,
    "json": json_objects.read,
    "csv": csv_table.read,
    "tsv": csv_table.read_tsv,
    "parquet": parquet_and_arrow.read_parquet,
    "arrow": parquet_and_arrow.read_arrow,
    "html": markup.read,
    "mhtml": web_archive.read,
    "pdf": pdf.read,
    "epub": epub.read,
    "srt": subtitles.read_srt,
    "vtt": subtitles.read_vtt,
    "tmx": translations.read,
    "ipynb": notebook.read,
}
"""Format -> how it is read. `sources.file_extensions` says which extension has which format."""

_TEXTUAL = {"text", "jsonl", "json", "csv", "tsv", "srt", "vtt"}  # in the encoding that is given

_SEEKING = {"parquet", "arrow", "pdf", "epub"}  # read in any order, so not from a compressed file

REPLACEMENTS = "U+FFFD, which stands for what was lost when text was decoded, is part of the text, {number} of them"

_REPORT_EVERY = 1 << 18  # characters


def read_documents(
    files: Sequence[Path],
    reading: Reading | None = None,
    notes: Notes | None = None,
    on_bytes: Callable[[int], None] = lambda num_bytes: None,
    on_file: Callable[[Path], None] = lambda path: None,
    odd: OddFiles | None = None,
) -> Iterator[Document]:
    """Yield the documents of `files` in order; long ones come in parts (see Document).

    `notes` collects findings; `on_bytes` is called with the number of bytes read since the last call, `on_file` with
    each file before its documents. Memory stays flat however large a file is, except for the longest table row, web
    page, or run of characters without a space. Raises DataError and MissingInputError, naming file and line or byte,
    for a file that cannot be read, unless `odd` skips it.
    """
    reading, notes = reading or Reading(), notes or Notes()
    for path in files:
        on_file(path)
        read = partial(_of_file, path, reading, on_bytes)
        yield from read(notes) if odd is None else odd.documents(path, read, notes)


def _of_file(path: Path, reading: Reading, on_bytes: Callable[[int], None], notes: Notes) -> Iterator[Document]:
    with open_file(path) as file:
        in_order = FORMATS.get(format_of(path, reading.format)[0]) not in _SEEKING
        size, reported, unreported = path.stat().st_size, 0, 0
        documents = _guarded(_documents(file, path, reading, notes), path, reading)
        for document in _noting_replacements(documents, notes):
            yield document
            unreported += len(document.text)
            if unreported >= _REPORT_EVERY:
                more = file.tell() - reported if in_order else min(unreported, size - reported)
                on_bytes(more)
                reported, unreported = reported + more, 0
        on_bytes((file.tell() if in_order else size) - reported)


def _noting_replacements(documents: Iterator[Document], notes: Notes) -> Iterator[Document]:
    """Yield `documents`; note how often and where U+FFFD stands for what was lost when they were decoded."""
    line, where = 1, ""
    for document in documents:
        if "\ufffd" in document.text:
            inside = document.continues or line > 1
            line_of_first = line + document.text.count("\n", 0, document.text.index("\ufffd"))
            where = where or document.source + (f", line {line_of_first}" if inside or line_of_first > 1 else "")
            notes.add(REPLACEMENTS, where, document.text.count("\ufffd"))
        yield document
        if document.continues:
            line += document.text.count("\n")
        else:
            line, where = 1, ""


def _guarded(documents: Iterator[Document], path: Path, reading: Reading) -> Iterator[Document]:
    """Yield `documents`; turn whatever a format's parser raises about a damaged file into a DataError."""
    try:
        yield from documents
    except (TextmillError, MemoryError):
        raise
    except Exception as error:  # parsers of archives, markup and tables share no error class
        kind = "".join(format_of(path, reading.format)) or "text"
        reason = f"{type(error).__name__}: {one_line(error, 120)}"
        raise DataError(f"{path} is damaged or cut off, or no {kind} file: {reason}") from error


def _documents(file: BinaryIO, path: Path, reading: Reading, notes: Notes) -> Iterator[Document]:
    if reading.format is None and extension_of(path)[0] in ARCHIVES:
        raise DataError(
            f"{path} is an archive of files: unpack it and give the folder. If it is none, say what it is with --format"
        )
    extension, compression = format_of(path, reading.format)
    format = FORMATS.get(extension, "text")
    if extension in IDS or (compression and format in _SEEKING):
        raise DataError(
            f"{path} is compressed: unpack it first, because a {extension} file is not read from front to back"
        )
    content = compressed.unpack(file, compression, str(path)) if compression else file
    if format in _TEXTUAL and reading.encoding != "utf-8":
        content = given_as_utf8(content, str(path), reading, notes)
    elif format in _TEXTUAL:
        content = marked_as_utf8(content, str(path), reading, notes)
    return READERS[format](content, str(path), reading, notes)


def open_file(path: Path) -> BinaryIO:
    """Open the regular file `path` for reading bytes; refuse a pipe or device, which could block forever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is not a regular file")
        return path.open("rb")
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror or error}") from error
