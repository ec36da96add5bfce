"""Files to documents, whatever their format, a part at a time."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats import columns, compressed, csv_table, epub, json_objects, jsonl, markup, pdf, text
from textmill.data.sources.file_formats import FORMATS, IDS, format_of
from textmill.data.sources.notes import Notes
from textmill.errors import DataError, MissingInputError, TextmillError, one_line

Read = Callable[[BinaryIO, str, Reading, Notes], Iterator[Document]]

READERS: dict[str, Read] = {
    "jsonl": jsonl.read,
    "json": json_objects.read,
    "csv": csv_table.read,
    "parquet": columns.read_parquet,
    "arrow": columns.read_arrow,
    "html": markup.read,
    "pdf": pdf.read,
    "epub": epub.read,
}
"""Format -> how it is read. `sources.file_formats` says which extension has which format."""

_SEEKING = {"parquet", "arrow", "pdf", "epub"}  # read in any order, so not from a compressed file

_TELL_EVERY = 1 << 18  # characters


def read_documents(
    files: Sequence[Path],
    reading: Reading | None = None,
    notes: Notes | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[Document]:
    """Yield the documents of `files` in order; long ones come in parts (see Document).

    `notes` collects what is worth saying; `on_bytes` hears how many more bytes have been read. Memory stays flat
    however large a file is, except for the longest row of a table, web page, or stretch without a space. Raises
    DataError and MissingInputError naming file and place.
    """
    reading, notes = reading or Reading(), notes or Notes()
    for path in files:
        with open_file(path) as file:
            in_order = FORMATS.get(format_of(path)[0]) not in _SEEKING
            size, told, unheard = path.stat().st_size, 0, 0
            for document in _guarded(_documents(file, path, reading, notes), path):
                yield document
                unheard += len(document.text)
                if on_bytes is not None and unheard >= _TELL_EVERY:
                    more = file.tell() - told if in_order else min(unheard, size - told)
                    on_bytes(more)
                    told, unheard = told + more, 0
            if on_bytes is not None:
                on_bytes((file.tell() if in_order else size) - told)


def _guarded(documents: Iterator[Document], path: Path) -> Iterator[Document]:
    """Yield `documents`. What the parsers of other people's formats make of a damaged file is a DataError about it."""
    try:
        yield from documents
    except (TextmillError, MemoryError):
        raise
    except Exception as error:  # archives, markup and tables each have errors of their own kinds
        ending = "".join(format_of(path)) or "text"
        raise DataError(f"{path} cannot be read as {ending}: {type(error).__name__}: {one_line(error, 120)}") from error


def _documents(file: BinaryIO, path: Path, reading: Reading, notes: Notes) -> Iterator[Document]:
    ending, packing = format_of(path)
    if ending in IDS or (packing and FORMATS.get(ending) in _SEEKING):
        raise DataError(
            f"{path} is compressed: unpack it first, because a {ending} file is not read from front to back"
        )
    content = compressed.unpack(file, packing, str(path)) if packing else file
    read = READERS[FORMATS[ending]] if ending in FORMATS else text.read
    return read(content, str(path), reading, notes)


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Yield the regular file `path`, open for reading bytes. A pipe or device is refused instead of waited for."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is not a regular file")
        file = path.open("rb")
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        yield file
