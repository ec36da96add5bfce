"""JSON lines: every line is an object, one of whose fields is a document."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.utf8_lines import read_lines
from textmill.data.sources.findings import Notes
from textmill.data.sources.text_columns import TextColumns
from textmill.errors import DataError, listed

_BLANK = " \t\r\n"  # what JSON calls white space
WITHOUT_TEXT = "rows without a text (null) skipped"


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the text in the field `reading.text_column` of every line; skip blank lines, skip and note null.

    Raises DataError, naming file and line, for anything that is not such an object.
    """
    kind = "a .jsonl file has one object per line"
    for number, line in read_lines(file, name, reading, notes, kind):
        line = line.removeprefix("\ufeff")  # of a file that was appended to another
        if line.strip(_BLANK):
            where = f"{name}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where} is not JSON: {getattr(error, 'msg', error)}") from error
            text = text_of_object(line, row, where, reading)
            if text is None:
                notes.add(WITHOUT_TEXT, f"{name}:{number}")
            else:
                yield Document(text, f"{name}:{number}", group=group_of_object(row, where, reading))


def group_of_object(row: dict[str, Any], where: str, reading: Reading) -> str | None:
    """Return what the object has in `reading.group_column`, as text, or None if none is asked for. Raises DataError."""
    column = reading.group_column
    if column is None:
        return None
    if column not in row:
        raise DataError(f"{where} has no field {column!r}, it has {listed(row)}: name one as --split-by field:NAME")
    return json.dumps(row[column])


def text_of_object(source_text: str, row: Any, where: str, reading: Reading) -> str | None:
    """Return the text in `reading.text_column` of `row`, the value that the JSON text `source_text` stands for.

    None for null, as in a table: a row without a text; in a template null is empty. Raises DataError, beginning with
    `where`, when the row is not an object with such a text.
    """
    columns = TextColumns.of(reading.text_column, row if isinstance(row, dict) else ())
    if not isinstance(row, dict):
        raise DataError(f'{where} is {_kind_of(row)}, not an object: a row reads {{"{columns.names[0]}": "..."}}')
    values: list[str | None] = []
    for column in columns.names:
        if column not in row:
            raise DataError(f"{where} has no field {column!r}, it has {listed(row)}: name the field with --text-column")
        value = row[column]
        if value is not None and not isinstance(value, str):
            raise DataError(f"{where}: the field {column!r} is {_kind_of(value)}, not text")
        if value is not None and source_text.count(json.dumps(column)) > 1:
            _refuse_repeated(source_text, where, column)
        values.append(None if value is None else _encodable(value, where, reading.encoding_errors))
    return columns.fill(values)


def _encodable(text: str, where: str, errors: str) -> str:
    """Return `text`, its lone surrogates replaced if `errors` is "replace"; otherwise raise DataError for them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        if errors != "replace":
            surrogate = f"\\u{ord(text[error.start]):04x}"
            raise DataError(
                f"{where}: the text contains a lone surrogate, {surrogate}, at position {error.start}: "
                "repair it, or use --encoding-errors replace"
            ) from error
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _refuse_repeated(source_text: str, where: str, column: str) -> None:
    """Raise DataError when an object repeats `column`: json would silently keep the last one."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if sum(key == column for key, _ in pairs) > 1:
            raise DataError(f"{where} repeats the field {column!r}")
        return dict(pairs)

    json.loads(source_text, object_pairs_hook=check)


def _kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
