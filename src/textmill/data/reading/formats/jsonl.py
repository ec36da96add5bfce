"""JSON lines: every line is an object, one of whose fields is a document."""

import json
from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.text_field import text_of_object
from textmill.data.reading.formats.utf8_lines import read_lines
from textmill.data.sources.findings import Notes
from textmill.errors import DataError


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the text in the field `reading.text_column` of every line; skip blank lines.

    Raises DataError, naming file and line, for anything that is not such an object.
    """
    kind = "a .jsonl file has one object per line"
    for number, line in read_lines(file, name, reading.encoding_errors, notes, kind):
        if line.strip():
            where = f"{name}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where} is not JSON: {getattr(error, 'msg', error)}") from error
            text = text_of_object(line, row, where, reading.encoding_errors, reading.text_column)
            yield Document(text, f"{name}:{number}")
