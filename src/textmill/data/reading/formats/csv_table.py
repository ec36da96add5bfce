"""Comma-separated values (.csv, .tsv): the first line names the columns, one of which is the text."""

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.utf8_lines import LONGEST_LINE, read_lines
from textmill.data.sources.findings import Notes
from textmill.errors import DataError, listed


def read_tsv(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the rows' texts of a table whose separator is a tab, whatever else its first line contains."""
    yield from read(file, name, reading, notes, "\t")


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes, separator: str | None = None) -> Iterator[Document]:
    """Yield the field of column `reading.text_column` of every row; quoted fields may contain commas and line breaks.

    The separator, unless given, is comma, semicolon or tab, whichever the first line has most of outside quotes. Raises
    DataError, naming the line, for a row of another width than the first, for a quote that does not close, and for a
    missing column.
    """
    csv.field_size_limit(LONGEST_LINE)  # otherwise fields of 128 KiB are refused; set for the whole process
    last_line = 0

    def lines() -> Iterator[str]:
        nonlocal last_line
        kind = "a table has one row per line"
        for last_line, line in read_lines(file, name, reading, notes, kind):  # noqa: B007
            yield line

    source = lines()
    first = next(source, "")
    if not first.strip():
        return
    unquoted = re.sub(r'"[^"]*("|$)', "", first)
    rows = csv.reader(chain([first], source), delimiter=separator or max(",;\t", key=unquoted.count), strict=True)
    names: list[str] | None = None
    column, started = 0, 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]
            raise DataError(f"{name}, line {started}: broken row ({reason}): check its quotes") from error
        if row is None:
            return
        if names is None:
            names, column = row, _index(row, name, reading.text_column)
        elif row and len(row) != len(names):
            raise DataError(
                f"{name}, line {started} has {len(row)} fields and the first line {len(names)}: check its quotes"
            )
        elif row:
            yield Document(row[column], f"{name}:{started}")
        started = last_line + 1


def _index(names: list[str], file: str, wanted: str) -> int:
    if wanted not in names:
        raise DataError(f"{file} has no column {wanted!r}, it has {listed(names)}: name the column with --text-column")
    if names.count(wanted) > 1:
        raise DataError(f"{file} repeats the column {wanted!r}")
    return names.index(wanted)
