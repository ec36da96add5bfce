"""The rows of a text file that is a table: which character separates fields, and whether quotes do around them.

Fields with commas between them may be quoted. Of tables with tabs some programs quote fields and some do not, so the
table itself decides: in one that does not, every line is a row, whatever quotation marks it contains.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from textmill.data.reading.formats.utf8_lines import LONGEST_LINE
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

_LOOKED_AT = 1 << 22
"""Characters from the beginning of a table that decide."""

_SEVERAL = 3  # rows in which a comma is no chance

_QUOTED = re.compile(r'"(?:[^"]|"")*"')

LITERAL = "quotation marks around or before a field stay, as this table does not quote fields, in {number} of its rows"

Row = tuple[int, list[str]]


class TableRows:
    """Iterates over (line where it starts, fields) of every row that is not blank.

    separator: between fields; it is comma, semicolon or tab unless it is given. Iterating raises DataError, naming the
    line, for a quote that does not close and for a row of another width than the first.
    """

    def __init__(self, lines: Iterator[tuple[int, str]], name: str, separator: str | None, notes: Notes) -> None:
        first = list(_beginning(lines))
        self._lines, self._name, self._notes = chain(first, lines), name, notes
        beginning = [_without_end(line) for _, line in first]
        self._separator = separator or _separator(beginning)
        self._quotes = self._separator != "\t" or _quotes(beginning)

    def __iter__(self) -> Iterator[Row]:
        width = 0
        for started, fields in self._quoted() if self._quotes else self._literal():
            width = width or len(fields)
            if len(fields) != width:
                check = "quotes" if self._quotes else "tabs"
                raise DataError(
                    f"{self._name}, line {started} has {len(fields)} fields and the first line {width}: "
                    f"check its {check}"
                )
            yield started, fields

    def _literal(self) -> Iterator[Row]:
        for number, line in self._lines:
            if line := _without_end(line):
                if line[0] == '"' or '\t"' in line:
                    self._notes.add(LITERAL, self._name)
                yield number, line.split("\t")

    def _quoted(self) -> Iterator[Row]:
        csv.field_size_limit(LONGEST_LINE)  # otherwise fields of 128 KiB are refused; set for the whole process
        last_line, started = 0, 1

        def lines() -> Iterator[str]:
            nonlocal last_line
            for last_line, line in self._lines:  # noqa: B007
                yield line

        rows = csv.reader(lines(), delimiter=self._separator, strict=True)
        while True:
            try:
                fields = next(rows, None)
            except csv.Error as error:
                reason = str(error).partition(" - ")[0]
                raise DataError(f"{self._name}, line {started}: broken row ({reason}): check its quotes") from error
            if fields is None:
                return
            if fields:
                yield started, fields
            started = last_line + 1


def _beginning(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the first lines of a table, those that decide what it is like."""
    characters = 0
    for number, line in lines:
        yield number, line
        characters += len(line)
        if characters > _LOOKED_AT:
            return


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _separator(lines: list[str]) -> str:
    """Return the tab if every line has as many, otherwise what the first line has most of outside quotes."""
    tabs = {line.count("\t") for line in lines if line}
    if len(lines) > 1 and len(tabs) == 1 and tabs != {0}:
        return "\t"
    unquoted = re.sub(r'"[^"]*("|$)', "", next(filter(None, lines), ""))
    return max(",;\t", key=unquoted.count)


def _quotes(lines: list[str]) -> bool:
    """Return whether the fields of a table with tabs are quoted.

    They are if quotes hide a tab or a line end, as the number of fields shows, or are doubled within quotes. They are
    not if a field begins with a quote and does not end with it, though its line has all fields. Which there are more of
    decides. If there is neither, fields are quoted if that is so on every line, or wherever there is a comma.
    """
    width = next((len(line.split("\t")) for line in lines if line), 0)
    quoted = literal = undecided = without = commas = 0
    for line, following in pairwise([*lines, None]):
        assert line is not None
        fields = line.split("\t")
        opened = [field for field in fields if field.startswith('"')]
        if not opened:
            without += bool(line)
            commas += "," in line
            continue
        closed = all(map(_QUOTED.fullmatch, opened))
        goes_on = not closed and following is not None and len(following.split("\t")) != width
        if len(fields) != width or goes_on or (closed and any('""' in field[1:-1] for field in opened)):
            quoted += 1
        elif not closed:
            literal += 1
        else:
            undecided += 1
            commas += not any("," in field for field in opened)
    if quoted or literal:
        return quoted > literal
    return undecided > 0 and (not without or (undecided >= _SEVERAL and not commas))
