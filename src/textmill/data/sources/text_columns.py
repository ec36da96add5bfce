"""Which columns of a row are its text: one, or several in a template such as `{title}\\n\\n{body}`.

A template is a text in which names in braces stand for columns, and nothing else: no attributes, no format of numbers.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import lru_cache

from textmill.errors import ConfigError

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}
_IN_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


@dataclass(frozen=True)
class TextColumns:
    """The columns `names`, and the texts `around` them: one more than there are columns."""

    names: tuple[str, ...]
    around: tuple[str, ...]

    @staticmethod
    def of(text_column: str, given: Container[str] = ()) -> "TextColumns":
        """Return what the setting means for rows with the columns `given`, of which one may have the very same name.

        Raises ConfigError for a template with a brace too many, or without columns.
        """
        if text_column in given or not ("{" in text_column or "}" in text_column):
            return _single(text_column)
        return _parsed(text_column)

    def fill(self, values: Sequence[str | None]) -> str | None:
        """Return the text of a row; a column without a value (null) is empty, and without any there is no text."""
        if len(values) == 1 and not any(self.around):
            return values[0]
        if all(value is None for value in values):
            return None
        return self.around[0] + "".join((value or "") + after for value, after in zip(values, self.around[1:]))


@lru_cache
def _single(name: str) -> TextColumns:
    return TextColumns((name,), ("", ""))


@lru_cache
def _parsed(template: str) -> TextColumns:
    names, around, at = [], [""], 0
    for found in _IN_BRACES.finditer(template):
        around[-1] += with_escapes(template[at : found.start()])
        at = found.end()
        if found[0] in ("{{", "}}"):
            around[-1] += found[0][0]
        elif found[1] is None:
            raise ConfigError(
                f"text_column is {template!r}: the brace at position {found.start()} has no other one. Columns are "
                "written as {title}, a brace as {{ or }}"
            )
        else:
            names.append(found[1])
            around.append("")
    around[-1] += with_escapes(template[at:])
    if not names:
        raise ConfigError(f"text_column is {template!r}, which names no column: write it as {{title}}")
    return TextColumns(tuple(names), tuple(around))


def with_escapes(typed: str) -> str:
    """Return text as typed in a shell, in which \\n, \\t and \\r stand for a line end, a tab, a carriage return."""
    for escape, character in _ESCAPES.items():
        typed = typed.replace(escape, character)
    return typed
