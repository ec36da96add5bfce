"""A .json file: objects in an array, or one after the other, each with a field that is a document.

The file is read piece by piece, so an array of any length needs only the memory of its longest object.
"""

import json
from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.jsonl import WITHOUT_TEXT, group_of_object, text_of_object
from textmill.data.reading.formats.text import decoded_pieces
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

LONGEST_OBJECT = 256 << 20
"""Characters."""

_NEAR_THE_END = 16  # characters; an error so close to the end may be a word or an escape that was cut


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the text in the field `reading.text_column` of every object.

    Raises DataError, naming file and line, for anything that is not such an object, and for a file that was cut off.
    """
    values = _Source(file, name, reading, notes)
    in_array = values.next_character() == "["
    if in_array:
        values.skip(1)
    number = 0
    while (character := values.next_character()) and character != "]":
        if number and character == ",":
            values.skip(1)
            if values.next_character() in ("]", ""):
                raise DataError(f"{values.where} has a comma with nothing after it")
        elif number and in_array:
            raise DataError(f"{values.where} is not JSON: expected a comma between objects")
        where = values.where
        row, source_text = values.value()
        number += 1
        source = f"{name}:{where.rpartition(' ')[2]}"
        text = text_of_object(source_text, row, where, reading)
        assert isinstance(row, dict)
        if text is None:
            notes.add(WITHOUT_TEXT, source)
        else:
            yield Document(text, source, group=group_of_object(row, where, reading))
    if in_array and character != "]":
        raise DataError(f"{name} is cut off: its array has no end (after {number:,} objects)")
    if character == "]":
        values.skip(1)
        if not in_array or values.next_character():
            raise DataError(f"{values.where} is not JSON: something follows the end")


class _Source:
    """A window over a text file that moves forward value by value."""

    def __init__(self, file: BinaryIO, name: str, reading: Reading, notes: Notes) -> None:
        self._name = name
        self._pieces = decoded_pieces(file, name, reading, notes)
        self._text, self._at, self._line = "", 0, 1
        self._json = json.JSONDecoder()

    @property
    def where(self) -> str:
        """The file and the line of the next character."""
        return f"{self._name}, line {self._line}"

    def next_character(self) -> str:
        """Return the next character that is not white space, without passing it; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._line += self._text[self._at] == "\n"
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self, count: int) -> None:
        """Move past `count` characters."""
        self._at += count

    def value(self) -> tuple[object, str]:
        """Return the next JSON value and its text, and move past it."""
        while True:
            try:
                row, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _NEAR_THE_END
                if cut and self._more():
                    continue
                line = self._line + self._text.count("\n", self._at, error.pos)
                raise DataError(f"{self._name}, line {line} is not JSON: {error.msg}") from error
            except RecursionError as error:
                raise DataError(f"{self.where} is not JSON: it is nested too deeply") from error
            if end == len(self._text) and not isinstance(row, dict) and self._more():
                continue  # a number may continue
            source_text = self._text[self._at : end]
            self._line += source_text.count("\n")
            self._at = end
            return row, source_text

    def _more(self) -> bool:
        """Read at least as much again as is buffered; return whether there was anything."""
        waiting, new = self._text[self._at :], ""
        if len(waiting) > LONGEST_OBJECT:
            raise DataError(f"{self.where}: an object is longer than {LONGEST_OBJECT >> 20} million characters")
        for piece in self._pieces:
            new += piece
            if len(new) > len(waiting):
                break
        self._text, self._at = waiting + new, 0
        return bool(new)
