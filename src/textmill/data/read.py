"""Files to documents, whatever their format, a part at a time."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from textmill.data.document import Document, Notes
from textmill.data.formats import jsonl, text
from textmill.errors import ConfigError, DataError, MissingInputError

JSON_LINES = frozenset({".jsonl", ".ndjson"})

_TELL_EVERY = 1 << 18  # bytes


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        text_column: the field of a JSON line, the column of a table, that holds the text.
        encoding_errors: "strict" refuses bytes that are not UTF-8, "replace" turns them into U+FFFD.
        min_length: documents of fewer characters are passed over, by those who count them.
    """

    text_column: str = "text"
    encoding_errors: str = "strict"
    min_length: int = 0

    def __post_init__(self) -> None:
        if self.encoding_errors not in ("strict", "replace"):
            raise ConfigError(f"encoding_errors is {self.encoding_errors!r}: choose strict or replace")


def read_documents(
    files: Sequence[Path],
    reading: Reading | None = None,
    notes: Notes | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[Document]:
    """Yield the documents of `files` in order; long ones come in parts (see Document).

    `notes` collects what is worth saying; `on_bytes` hears how many more bytes have been read. Memory stays flat
    however large a file is, except for the longest JSON line. Raises DataError and MissingInputError naming file and
    place.
    """
    reading, notes = reading or Reading(), notes or Notes()
    for path in files:
        with open_file(path) as file:
            told = 0
            for document in _documents(file, path, reading, notes):
                yield document
                if on_bytes is not None and (position := file.tell()) - told >= _TELL_EVERY:
                    on_bytes(position - told)
                    told = position
            if on_bytes is not None:
                on_bytes(file.tell() - told)


def _documents(file: BinaryIO, path: Path, reading: Reading, notes: Notes) -> Iterator[Document]:
    if path.suffix.lower() in JSON_LINES:
        return jsonl.read(file, str(path), reading.encoding_errors, notes, reading.text_column)
    return text.read(file, str(path), reading.encoding_errors, notes)


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
