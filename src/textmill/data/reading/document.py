"""How files are read, and the documents that they contain."""

import codecs
from dataclasses import dataclass
from typing import Any

from textmill.data.sources.file_extensions import NAMED_FORMATS
from textmill.data.sources.text_columns import TextColumns
from textmill.errors import ConfigError, one_line

END_OF_TEXT_LINES = "auto"
"""The document separator that is a line with END_OF_TEXT alone, as many corpora have it."""


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        text_column: the field of a JSON object, the column of a table, with the text: a name; in a table without names
            a number, from 1; or several of them in a template, see `TextColumns`. In translations, the language.
        encoding_errors: "strict" refuses bytes that are not in the encoding, "replace" turns them into U+FFFD.
        min_length: shorter documents, in characters, are skipped; preparing does that.
        format: what the files are, one of NAMED_FORMATS, whatever their names; None to go by the extension.
        encoding: of plain text, JSON and tables; Python's name for it, which is made canonical.
        newlines: Windows line ends of plain text, \\r\\n, are read as line feeds (lf) or are left as they are (keep).
        group_column: the field of a row that says which rows the split keeps together; None for none.
        document_separator: what ends a document within a plain text. \\n, \\t and \\r are the characters; None for
            nothing, END_OF_TEXT_LINES for lines that read <|endoftext|>.
    """

    text_column: str = "text"
    encoding_errors: str = "strict"
    min_length: int = 0
    format: str | None = None
    encoding: str = "utf-8"
    document_separator: str | None = END_OF_TEXT_LINES
    newlines: str = "lf"
    group_column: str | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for a value that means nothing."""
        TextColumns.of(self.text_column)
        if self.encoding_errors not in ("strict", "replace"):
            raise ConfigError(f"encoding_errors is {self.encoding_errors!r}: choose strict or replace")
        if self.newlines not in ("lf", "keep"):
            raise ConfigError(f"newlines is {self.newlines!r}: choose lf or keep")
        if self.format is not None and self.format not in NAMED_FORMATS:
            raise ConfigError(f"format is {self.format!r}: choose one of {', '.join(NAMED_FORMATS)}")
        if self.document_separator == "":
            raise ConfigError("document_separator is empty: give the characters between documents, or none")
        try:
            "".encode(self.encoding)
            codecs.getincrementaldecoder(self.encoding)
        except (LookupError, ValueError) as error:
            raise ConfigError(
                f"encoding is {self.encoding!r} ({one_line(error)}): name one such as utf-8, latin-1, cp1252, utf-16"
            ) from error
        object.__setattr__(self, "encoding", codecs.lookup(self.encoding).name)

    def identity(self, *, plain_text: bool) -> dict[str, Any]:
        """Return what the documents of files depend on, some of which may be `plain_text`; formats count with files.

        So do Windows line ends, which few files have.
        """
        values: dict[str, Any] = {
            name: getattr(self, name) for name in ("text_column", "encoding_errors", "min_length")
        }
        if self.encoding != "utf-8":
            values["encoding"] = self.encoding
        if plain_text:
            values["document_separator"] = self.document_separator
        return values


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or one part of a long one.

    Attributes:
        text: the text as it is in the file, without a byte order mark.
        source: where it is, as `book.txt` or `stories.jsonl:17`.
        continues: the next part belongs to the same document. Long texts come in parts so that memory stays flat.
        group: what `Reading.group_column` has in its row, as text; None where no row was asked.
    """

    text: str
    source: str
    continues: bool = False
    group: str | None = None
