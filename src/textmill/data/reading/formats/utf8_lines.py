"""The lines of a UTF-8 file, one at a time, numbered from 1."""

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from textmill.data.reading.document import Reading
from textmill.data.reading.formats.invalid_bytes import LOOKED_AT, invalid_utf8, note_replaced
from textmill.data.reading.formats.text import block_start
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

LONGEST_LINE = 256 << 20
"""Bytes. A line is read into memory as a whole."""


def read_lines(file: BinaryIO, name: str, reading: Reading, notes: Notes, kind: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line with its end); the byte order mark is dropped.

    Raises DataError, naming line and byte, for what is not UTF-8, and for a line beyond LONGEST_LINE: then `kind` says
    what a line should be, as in "a .jsonl file has one object per line".
    """
    number, offset, replaces = 0, 0, False
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        where = f"{name}, line {number}"
        if len(line) > LONGEST_LINE:
            raise DataError(f"{where} is longer than {LONGEST_LINE >> 20} MiB: {kind}")
        start = block_start(line, name, reading, notes) if number == 1 else 0
        try:
            decoded = line[start:].decode("utf-8", "replace" if replaces else "strict")
        except UnicodeDecodeError as error:
            if reading.encoding_errors != "replace":
                raise invalid_utf8(where, offset + start + error.start, error, file.read(LOOKED_AT)) from error
            note_replaced(name, error, cast(io.BufferedReader, file).peek(LOOKED_AT), notes)
            decoded, replaces = line[start:].decode("utf-8", "replace"), True
        offset += len(line)
        yield number, decoded
