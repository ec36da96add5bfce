"""How files are read, and the documents that come of it."""

from __future__ import annotations

from dataclasses import dataclass

from textmill.errors import ConfigError


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        text_column: the field of a JSON object, the column of a table, that holds the text.
        encoding_errors: "strict" refuses bytes that are not UTF-8, "replace" turns them into U+FFFD.
        min_length: documents of fewer characters are passed over, by those who count them.
    """

    text_column: str = "text"
    encoding_errors: str = "strict"
    min_length: int = 0

    def __post_init__(self) -> None:
        if self.encoding_errors not in ("strict", "replace"):
            raise ConfigError(f"encoding_errors is {self.encoding_errors!r}: choose strict or replace")


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or one part of a long one, in the order of the text.

    Attributes:
        text: the text, byte order mark dropped and otherwise as it stands in the file.
        source: where it stands, as `book.txt` or `stories.jsonl:17`.
        continues: the next part belongs to the same document. Long texts come in parts so that they need no memory.
    """

    text: str
    source: str
    continues: bool = False
