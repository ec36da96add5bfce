"""How files are read, and the documents that they contain."""

from dataclasses import dataclass

from textmill.errors import ConfigError


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        text_column: the field of a JSON object, the column of a table, with the text.
        encoding_errors: "strict" refuses bytes that are not UTF-8, "replace" turns them into U+FFFD.
        min_length: shorter documents, in characters, are skipped; preparing does that.
    """

    text_column: str = "text"
    encoding_errors: str = "strict"
    min_length: int = 0

    def __post_init__(self) -> None:
        if self.encoding_errors not in ("strict", "replace"):
            raise ConfigError(f"encoding_errors is {self.encoding_errors!r}: choose strict or replace")


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or one part of a long one.

    Attributes:
        text: the text as it is in the file, without a byte order mark.
        source: where it is, as `book.txt` or `stories.jsonl:17`.
        continues: the next part belongs to the same document. Long texts come in parts so that memory stays flat.
    """

    text: str
    source: str
    continues: bool = False
