"""Web pages: the main text of an .html file, without menus and footers."""

from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.sources.findings import Notes
from textmill.errors import DataError
from textmill.imports import optional

LARGEST_PAGE = 64 << 20
"""Bytes. A page is read into memory as a whole."""


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the main text of the page; a page without any is an empty document and noted.

    The encoding is found as browsers find it, from the page itself. Raises DataError for a page beyond LARGEST_PAGE,
    MissingExtraError without trafilatura.
    """
    trafilatura = optional("trafilatura", f"reading {name}")
    page = file.read(LARGEST_PAGE + 1)
    if len(page) > LARGEST_PAGE:
        raise DataError(f"{name} is larger than {LARGEST_PAGE >> 20} MiB: split it, or extract its text first")
    text = trafilatura.extract(page, include_comments=False) if page.strip() else None
    if not text:
        notes.add("no main text found in the page", name)
    yield Document(text + "\n" if text else "", name)
