"""Web archives (.mhtml, .mht): pages as browsers save them in one file with their pictures, in the form of a mail."""

from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.markup import main_text
from textmill.data.reading.formats.page_encoding import python_encoding
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

LARGEST_ARCHIVE = 128 << 20
"""Bytes. An archive is read into memory as a whole, pictures included."""

_PAGES = ("text/html", "application/xhtml+xml")


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the main text of the page; see `markup.read`. Pages within it (frames) are left out and noted.

    Its encoding is that of the part in the mail where the page declares none. Raises DataError for a file without a
    page, or beyond LARGEST_ARCHIVE; MissingExtraError without trafilatura.
    """
    content = file.read(LARGEST_ARCHIVE + 1)
    if len(content) > LARGEST_ARCHIVE:
        raise DataError(f"{name} is larger than {LARGEST_ARCHIVE >> 20} MiB: extract its text first")
    pages = [part for part in message_from_bytes(content).walk() if part.get_content_type() in _PAGES]
    if not pages:
        raise DataError(f"{name} is a web archive without a web page: no part of it is {_PAGES[0]}")
    if len(pages) > 1:
        notes.add("frames of saved web pages left out, {number} of them", name, len(pages) - 1)
    page = pages[0].get_payload(decode=True)
    encoding = python_encoding(pages[0].get_content_charset("")) or reading.encoding
    text = main_text(page if isinstance(page, bytes) else b"", name, replace(reading, encoding=encoding), notes)
    yield Document(text, name)
