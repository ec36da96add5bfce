"""Comma-separated values (.csv, .tsv): the first line names the columns, one of which is the text."""

import csv
from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.utf8_lines import LONGEST_LINE, read_lines
from textmill.data.sources.findings import Notes
from textmill.errors import DataError, listed


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the field of column `reading.text_column` of every row; quoted fields may contain commas and line breaks.

    The separator is comma, semicolon or tab, whichever the first line has most of. Raises DataError, naming the line,
    for a row of another width than the first, for a quote that does not close, and for a missing column.
    """
    csv.field_size_limit(LONGEST_LINE)  # otherwise fields of 128 KiB are refused; set for the whole process
    last_line = 0

    def lines() -> Iterator[str]:
        nonlocal last_line
        kind = "a table has one row per line"
        for number, line in read_lines(file, name, reading.encoding_errors, notes, kind):
            last_line = number
            yield line

    source = lines()
    first = next(source, "")
    if not first.strip():
        return
    separator = max(",;\t", key=first.count)
    rows = csv.reader(_again(first, source), delimiter=separator, strict=True)
    column = width = None
    while True:
        started = last_line + 1 if column is not None else 1
        where = f"{name}, line {started}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]
            raise DataError(f"{where}: broken row ({reason}): check its quotes") from error
        if column is None:
            column, width = _index(row, name, reading.text_column), len(row)
        elif row:
            if len(row) != width:
                raise DataError(f"{where} has {len(row)} fields and the first line {width}: check its quotes")
            yield Document(row[column], f"{name}:{started}")


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _index(names: list[str], file: str, wanted: str) -> int:
    if wanted not in names:
        raise DataError(f"{file} has no column {wanted!r}, it has {listed(names)}: name the column with --text-column")
    if names.count(wanted) > 1:
        raise DataError(f"{file} repeats the column {wanted!r}")
    return names.index(wanted)
