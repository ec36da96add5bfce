"""EPUB books: the chapters in reading order, as one document."""

import posixpath
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import BinaryIO
from urllib.parse import unquote
from xml.etree import ElementTree

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.compressed import ALLOWED_ANYWAY, MOST_RATIO
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

LARGEST_CHAPTER = 64 << 20
"""Bytes. A chapter is read into memory as a whole."""

_CHAPTERS = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}
_LINE_ENDERS = {
    *("p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("blockquote", "section", "pre", "dt", "dd", "figcaption", "hr", "table", "ul", "ol"),
}
_INVISIBLE = {"script", "style", "head", "title"}


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the chapters as parts of one document.

    Raises DataError for a book without chapters or one that expands as no text does, and errors of many classes for a
    file that is not such a book, is damaged or is protected.
    """
    with zipfile.ZipFile(file) as book:
        size = file.seek(0, 2)
        total = sum(member.file_size for member in book.infolist())
        if total > max(ALLOWED_ANYWAY, MOST_RATIO * size):
            raise DataError(f"{name} unpacks to more than {MOST_RATIO} times its size, as no book does")
        if "META-INF/encryption.xml" in book.namelist():
            notes.add("parts of the book may be encrypted", name)
        *chapters, last = _reading_order(book, name)
        for chapter in chapters:
            yield Document(_chapter_text(_member(book, chapter, name)), name, continues=True)
        yield Document(_chapter_text(_member(book, last, name)), name)


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


def _chapter_text(page: bytes) -> str:
    """Return all text of a page of a book, a line per paragraph."""
    parser = _Text()
    parser.feed(page.decode("utf-8-sig", "replace"))
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.found).split("\n"))
    return "\n".join(line for line in lines if line) + "\n"


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._invisible = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._invisible += tag in _INVISIBLE
        if tag in _LINE_ENDERS:
            self.found.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._invisible = max(0, self._invisible - (tag in _INVISIBLE))
        if tag in _LINE_ENDERS:
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._invisible:
            self.found.append(data.replace("\n", " "))
