"""JSON lines: every line is an object, one of whose fields is a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from textmill.data.document import Document, Notes
from textmill.data.formats.text import block_start, invalid_utf8
from textmill.errors import DataError

LONGEST_LINE = 256 << 20
"""Bytes. A line is held in memory whole."""


def read(file: BinaryIO, name: str, errors: str, notes: Notes, text_column: str) -> Iterator[Document]:
    """Yield the text in field `text_column` of every line; blank lines are passed over.

    Raises DataError, naming file and line, for anything that is not such an object.
    """
    number, offset = 0, 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        where = f"{name}, line {number}"
        if len(line) > LONGEST_LINE:
            raise DataError(f"{where} is longer than {LONGEST_LINE >> 20} MiB: a .jsonl file has one object per line")
        start = block_start(line, name, notes) if number == 1 else 0
        try:
            decoded = line[start:].decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise invalid_utf8(where, offset + start + error.start, error) from error
        offset += len(line)
        if decoded.strip():
            yield Document(_text_of(decoded, where, errors, text_column), f"{name}:{number}")


def _text_of(line: str, where: str, errors: str, column: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f'{where} is {_kind(row)}, not an object: a line reads {{"{column}": "..."}}')
    if column not in row:
        raise DataError(
            f"{where} has no field {column!r}, it has {', '.join(map(repr, row)) or 'none'}: name the field of the "
            "text with --text-column"
        )
    text = row[column]
    if not isinstance(text, str):
        raise DataError(f"{where}: the field {column!r} is {_kind(text)}, not text")
    if line.count(json.dumps(column)) > 1:
        _refuse_repeated(line, where, column)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        if errors != "replace":
            half = f"\\u{ord(text[error.start]):04x}"
            raise DataError(
                f"{where}: the text holds {half}, half a character, at position {error.start}; "
                "repair it, or use --encoding-errors replace"
            ) from error
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _refuse_repeated(line: str, where: str, column: str) -> None:
    """Raise DataError when an object of `line` holds `column` twice: json would keep the last one silently."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if sum(key == column for key, _ in pairs) > 1:
            raise DataError(f"{where} has the field {column!r} twice")
        return dict(pairs)

    json.loads(line, object_pairs_hook=check)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
