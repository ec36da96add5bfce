"""The one field of a row that is the text: JSON objects, lines of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from textmill.errors import DataError


def text_of_object(spelled: str, row: Any, where: str, errors: str, column: str) -> str:
    """Return the text in field `column` of `row`, the value that the JSON text `spelled` stands for.

    Raises DataError, beginning with `where`, when the row is not an object with such a text.
    """
    if not isinstance(row, dict):
        raise DataError(f'{where} is {kind_of(row)}, not an object: a row reads {{"{column}": "..."}}')
    if column not in row:
        raise DataError(f"{where} has no field {column!r}, it has {known(row)}: name the field with --text-column")
    text = row[column]
    if not isinstance(text, str):
        raise DataError(f"{where}: the field {column!r} is {kind_of(text)}, not text")
    if spelled.count(json.dumps(column)) > 1:
        _refuse_repeated(spelled, where, column)
    return spellable(text, where, errors)


def known(columns: Iterable[Any]) -> str:
    """Return the names of columns as an error lists them."""
    names = [repr(str(column)) for column in columns]
    shown = ", ".join(names[:20]) or "none"
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def spellable(text: str, where: str, errors: str) -> str:
    """Return `text` if UTF-8 can spell it, else without its half characters; DataError unless told to replace."""
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


def _refuse_repeated(spelled: str, where: str, column: str) -> None:
    """Raise DataError when an object holds `column` twice: json would keep the last one silently."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if sum(key == column for key, _ in pairs) > 1:
            raise DataError(f"{where} has the field {column!r} twice")
        return dict(pairs)

    json.loads(spelled, object_pairs_hook=check)


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
