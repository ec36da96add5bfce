"""Jupyter notebooks: the text and the code of the cells, in their order, as one document."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.text import note_unusual
from textmill.data.sources.findings import Notes
from textmill.errors import DataError, one_line

OUTPUTS = "the outputs of notebooks are left out, of {number} cells"


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the source of every cell, a blank line between two; outputs, pictures and settings are left out.

    Raises DataError for what is not a notebook. Source: nbformat 4; worksheets are those of nbformat 3.
    """
    try:
        book = json.loads(file.read().decode("utf-8-sig"))
        sheets = book.get("worksheets", [book])
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
        sources = [_source(cell) for cell in cells]
        "".join(sources).encode()  # JSON can write a lone surrogate
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {one_line(error, 120)}"
        raise DataError(
            f"{name} is not a Jupyter notebook ({reason}): --format json or text reads it as such"
        ) from error
    if outputs := sum(bool(cell.get("outputs")) for cell in cells):
        notes.add(OUTPUTS, name, outputs)
    text = "\n\n".join(source.rstrip("\n") for source in sources if source.strip())
    text = text.replace("\r\n", "\n") if reading.newlines == "lf" else text
    note_unusual(text, name, notes)
    yield Document(f"{text}\n" if text else "", name)


def _source(cell: dict[str, Any]) -> str:
    """Return the text of a cell, a string or a list of lines; nbformat 3 calls that of code `input`."""
    source = cell["source"] if "source" in cell else cell["input"]
    return source if isinstance(source, str) else "".join(source)
