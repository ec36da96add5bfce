"""Comma-separated values (.csv, .tsv): the first line names the columns, one of which holds a document per row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.lines import LONGEST_LINE, read_lines
from textmill.data.reading.formats.rows import known
from textmill.data.sources.notes import Notes
from textmill.errors import DataError


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the field of column `reading.text_column` of every row; quoted fields may hold commas and line breaks.

    Commas, semicolons and tabs separate: the one that the first line has most of. Raises DataError, naming the line,
    for a row of another width than the first, for a quote that does not close, and for a missing column.
    """
    csv.field_size_limit(LONGEST_LINE)  # the module refuses fields of 128 KiB otherwise, for the whole process
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
    place = width = None
    while True:
        started = last_line + 1 if place is not None else 1
        where = f"{name}, line {started}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]
            raise DataError(f"{where}: broken row ({reason}): check its quotes") from error
        if place is None:
            place, width = _column(row, name, reading.text_column), len(row)
        elif row:
            if len(row) != width:
                raise DataError(f"{where} has {len(row)} fields and the first line {width}: check its quotes")
            yield Document(row[place], f"{name}:{started}")


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _column(names: list[str], file: str, wanted: str) -> int:
    if wanted not in names:
        raise DataError(f"{file} has no column {wanted!r}, it has {known(names)}: name the column with --text-column")
    if names.count(wanted) > 1:
        raise DataError(f"{file} has the column {wanted!r} twice")
    return names.index(wanted)
