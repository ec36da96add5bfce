"""EPUB books: the chapters in reading order, as one document."""

import posixpath
import re
import zipfile
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import BinaryIO
from urllib.parse import unquote
from xml.etree import ElementTree

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.compressed import ALLOWED_ANYWAY, MOST_RATIO
from textmill.data.reading.formats.page_encoding import decoded_page
from textmill.data.reading.formats.page_text import (
    ANNOTATIONS,
    CELLS,
    INVISIBLE,
    LINE_ENDERS,
    PREFORMATTED,
    LeftOut,
    collapse,
)
from textmill.data.reading.formats.text import note_unusual
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

LARGEST_CHAPTER = 64 << 20
"""Bytes. A chapter is read into memory as a whole."""

_REFERENCE = re.compile("&#([xX][0-9a-fA-F]+|[0-9]+);?")
_CHAPTERS = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the chapters as parts of one document.

    Ruby annotations are left out, counted and noted. Raises DataError for a book without chapters, one that expands as
    no text does, and a chapter that is not in its encoding (see `decoded_page`), and errors of many classes for a file
    that is not such a book, is damaged or is protected.
    """
    with zipfile.ZipFile(file) as book:
        size = file.seek(0, 2)
        total = sum(member.file_size for member in book.infolist())
        if total > max(ALLOWED_ANYWAY, MOST_RATIO * size):
            raise DataError(f"{name} unpacks to more than {MOST_RATIO} times its size, as no book does")
        if "META-INF/encryption.xml" in book.namelist():
            notes.add("parts of the book may be encrypted", name)
        chapters, left_out = _reading_order(book, name), LeftOut()
        for number, chapter in enumerate(chapters, 1):
            page = decoded_page(_member(book, chapter, name), name, reading, notes, chapter)
            text = _chapter_text(page, left_out)
            note_unusual(text, name, notes)
            yield Document(text, name, continues=number < len(chapters))
        left_out.note(notes, name)


def _reading_order(book: zipfile.ZipFile, name: str) -> list[str]:
    """Return the names of the chapters in the archive, in the order of the book's spine."""
    container = ElementTree.fromstring(_member(book, "META-INF/container.xml", name))
    rootfile = next((node.get("full-path", "") for node in container.iter() if node.tag.endswith("}rootfile")), "")
    package = ElementTree.fromstring(_member(book, rootfile, name))
    items = {
        node.get("id"): node.get("href", "")
        for node in package.iter()
        if node.tag.endswith("}item") and node.get("media-type") in _CHAPTERS
    }
    order = [node.get("idref") for node in package.iter() if node.tag.endswith("}itemref")]
    folder = posixpath.dirname(rootfile)
    # Each chapter once, however often the spine names it.
    names = dict.fromkeys(items[item] for item in order if item in items)
    chapters = [posixpath.normpath(posixpath.join(folder, unquote(found))) for found in names]
    if not chapters:
        raise DataError(f"{name} is an EPUB book without chapters")
    return chapters


def _member(book: zipfile.ZipFile, member: str, name: str) -> bytes:
    with book.open(member) as content:
        found = content.read(LARGEST_CHAPTER + 1)
    if len(found) > LARGEST_CHAPTER:
        raise DataError(f"{name}: {member} is larger than {LARGEST_CHAPTER >> 20} MiB")
    return found


def _chapter_text(page: str, left_out: LeftOut) -> str:
    """Return all text of a page of a book, a line per paragraph."""
    parser = _Text(left_out)
    parser.feed(_REFERENCE.sub(_kept, page))
    parser.close()
    parser.end_line()
    return "\n".join(parser.lines) + "\n"


def _kept(reference: re.Match[str]) -> str:
    """Return a reference by number, or its character where Python would drop it: controls and no characters."""
    if unescape(reference[0]):
        return reference[0]
    return chr(int(reference[1][1:], 16) if reference[1][0] in "xX" else int(reference[1]))


class _Text(HTMLParser):
    """Collects the lines of a page. lines: those that are not blank, the white space of preformatted ones as it is."""

    def __init__(self, left_out: LeftOut) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._line: list[str] = []
        self._left_out = left_out
        self._invisible = self._preformatted = 0
        self._annotation = ""  # the element that is open, "counted" when its text was

    def end_line(self) -> None:
        """Add what was collected to the lines."""
        text, self._line = "".join(self._line), []
        if self._preformatted:
            text = text.strip("\n")
        else:
            text = collapse([text], self._left_out)[0].strip(" ")
        if text and not text.isspace():
            self.lines.append(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._passes(tag)
        self._invisible = 0 if tag == "body" else self._invisible + (tag in INVISIBLE)
        self._preformatted += tag in PREFORMATTED
        if tag in ANNOTATIONS:
            self._annotation = tag

    def handle_endtag(self, tag: str) -> None:
        self._passes(tag)
        self._invisible = max(0, self._invisible - (tag in INVISIBLE))
        self._preformatted = max(0, self._preformatted - (tag in PREFORMATTED))

    def handle_data(self, data: str) -> None:
        if self._annotation and not self._invisible:
            self._left_out.annotations += self._annotation not in ("rp", "counted") and not data.isspace()
            self._annotation = "counted" if data.strip() and self._annotation != "rp" else self._annotation
        elif not self._invisible:
            self._line.append(data)

    def unknown_decl(self, data: str) -> None:
        """Keep the text of a CDATA section."""
        if data.startswith("CDATA["):
            self.handle_data(data.removeprefix("CDATA["))

    def _passes(self, tag: str) -> None:
        """End the line, the cell or the annotation that ends where an element begins or ends."""
        if tag in LINE_ENDERS:
            self.end_line()
        elif tag in CELLS:
            self._line.append(" ")
        if tag in LINE_ENDERS or tag in ANNOTATIONS or tag in ("rb", "ruby"):
            self._annotation = ""
