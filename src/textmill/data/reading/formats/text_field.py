"""The field of a JSON object or table row that is the text."""

import json
from typing import Any

from textmill.errors import DataError, listed


def text_of_object(source_text: str, row: Any, where: str, errors: str, column: str) -> str:
    """Return the text in field `column` of `row`, the value that the JSON text `source_text` stands for.

    Raises DataError, beginning with `where`, when the row is not an object with such a text.
    """
    if not isinstance(row, dict):
        raise DataError(f'{where} is {kind_of(row)}, not an object: a row reads {{"{column}": "..."}}')
    if column not in row:
        raise DataError(f"{where} has no field {column!r}, it has {listed(row)}: name the field with --text-column")
    text = row[column]
    if not isinstance(text, str):
        raise DataError(f"{where}: the field {column!r} is {kind_of(text)}, not text")
    if source_text.count(json.dumps(column)) > 1:
        _refuse_repeated(source_text, where, column)
    return encodable(text, where, errors)


def encodable(text: str, where: str, errors: str) -> str:
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


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
