"""Tables as text (.csv, .tsv): one or several columns of every row are a document."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.table_rows import TableRows
from textmill.data.reading.formats.utf8_lines import read_lines
from textmill.data.sources.findings import Notes
from textmill.data.sources.text_columns import TextColumns
from textmill.errors import DataError, listed

_SHOWN = 40  # characters of a field in an error


def read_tsv(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the rows' texts of a table whose separator is a tab, whatever else its first line contains."""
    yield from read(file, name, reading, notes, "\t")


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes, separator: str | None = None) -> Iterator[Document]:
    """Yield the text in `reading.text_column` of every row; see `TableRows` for separators and quotes.

    The first line names the columns. If columns are given by numbers alone, it is a row like the others, which is
    noted, unless it numbers the columns itself (0, 1, 2). Raises DataError for a missing column.
    """
    lines = read_lines(file, name, reading, notes, "a table has one row per line")
    rows = iter(TableRows(lines, name, separator, notes))
    first = next(rows, None)
    if first is None:
        return
    _, names = first
    columns = TextColumns.of(reading.text_column, names)
    has_names = _numbers_columns(names) or not all(map(_is_number, columns.names))
    if not has_names:
        notes.add("the first line is a row, not names of columns, as --text-column gives numbers", name)
        rows = chain([first], rows)
    indices = [_index(column, names, name, by_name=has_names) for column in columns.names]
    by = reading.group_column
    group = None if by is None else _index(by, names, name, by_name=has_names, flag="--split-by field:NAME")
    for started, fields in rows:
        text = columns.fill([fields[index] for index in indices]) or ""
        yield Document(text, f"{name}:{started}", group=None if group is None else fields[group])


def _is_number(column: str) -> bool:
    return column.isascii() and column.isdigit()


def _numbers_columns(names: list[str]) -> bool:
    """Whether the first line reads 0, 1, 2 ..., perhaps after an empty field, as pandas writes it."""
    counted = names[1:] if names[0] == "" else names
    return bool(counted) and counted == [str(number) for number in range(len(counted))]


def _index(column: str, names: list[str], file: str, *, by_name: bool, flag: str = "--text-column") -> int:
    """Return where a column is: by its name, or, if it has none, by its number from 1."""
    if by_name and column in names:
        if names.count(column) > 1:
            raise DataError(f"{file} repeats the column {column!r}")
        return names.index(column)
    by_number = _is_number(column) and not _numbers_columns(names)
    if by_number and 1 <= int(column) <= len(names):
        return int(column) - 1
    if by_number:
        raise DataError(f"{file} has {len(names)} columns, and no column {column}: the first one is 1")
    shown = listed(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..." for name in names)
    raise DataError(
        f"{file} has no column {column!r}, it has {shown}: name the column with {flag}, or give its number, such as 2, "
        "if the first line is a row"
    )
