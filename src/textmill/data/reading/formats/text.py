"""Plain text: one file is one document, read in parts of about a megabyte."""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.invalid_bytes import LOOKED_AT, invalid_utf8, note_replaced
from textmill.data.reading.formats.separated_documents import Separator, split_documents
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

PART_BYTES = 1 << 20
WINDOWS = "Windows line ends (\\r\\n) read as line feeds, {number} of them (--newlines keep leaves them as they are)"
NUMBERED = "each line begins with a number and a tab (--format tsv --text-column 2 reads what follows them)"
LONGEST_PART = 8 << 20  # characters; text without a space is cut here

_NUMBERED = re.compile(r"(?:\d+\t[^\n]*\n){5}")  # as the corpora of Leipzig have it, in files that end in .txt

_FOREIGN = {
    rb"%PDF-\d\.\d\s*[\r\n]": "a PDF (give it the extension .pdf)",
    rb"PK\x03\x04": "a zip archive (as .docx, .odt and .npz are; an .epub needs its extension)",
    rb"\x1f\x8b": "gzip-compressed (give it the extension .gz)",
    rb"\x28\xb5\x2f\xfd": "zstd-compressed (give it the extension .zst)",
    rb"\xfd7zXZ": "xz-compressed (give it the extension .xz)",
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": "bzip2-compressed (give it the extension .bz2)",
    rb"\x89PNG": "an image",
    rb"\xff\xd8\xff": "an image",
    rb"GIF8[79]a(?s:.){6}\x00": "an image",
    rb"\x7fELF": "a program",
    rb"\x93NUMPY": "a NumPy array (give it the extension .npy)",
    rb"PAR1[\x00-\x08\x0e-\x1f]": "a Parquet table (give it the extension .parquet)",
    rb"ARROW1\x00": "an Arrow table (give it the extension .arrow)",
    rb"SQLite format 3\x00": "a database",
    rb"(?s:.){257}ustar[\x00 ]": "a tar archive (unpack it, and give the folder)",
}
"""Beginnings of files that are not text. A text may begin with the same characters where they are printable, so there
they go as far as no text does."""


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document, or as those that `reading.document_separator` separates.

    Long ones come in parts that end before white space. Drop the byte order mark, and read Windows line ends as
    `reading.newlines` says; note both. What is blank between two separators, or after the last, is no document. Bytes
    that are not UTF-8 raise DataError with their offset, or become U+FFFD and are noted when `reading.encoding_errors`
    is "replace".
    """
    windows = LineFeeds(decoded_pieces(file, name, reading, notes), keep=reading.newlines == "keep")
    separator = Separator.of(reading.document_separator, keep=windows.keep)
    number, begun, separated = 1, False, False
    for text, ends, by_separator in split_documents(windows, separator, PART_BYTES, LONGEST_PART):
        separated = separated or by_separator
        if separated and ends and not begun and not text.strip():
            continue
        if number == 1 and not begun and _NUMBERED.match(text):
            notes.add(NUMBERED, name)
        note_unusual(text, name, notes)
        yield Document(text, f"{name}, document {number}" if separated else name, continues=not ends)
        number, begun = number + ends, not ends
    if windows.num_replaced:
        notes.add(WINDOWS, name, windows.num_replaced)
    if separated and separator.alone:
        notes.add(f"documents end at lines {separator.mark} (--document-separator none keeps them as text)", name)
    elif separator.mark and not separated and not separator.alone:
        notes.add(f"the document separator {separator.mark!r} does not occur", name)
    if separator.found_within_line:
        how = f"--document-separator '{separator.mark}' ends documents there as well"
        notes.add(f"where other text stands on the line of {separator.mark}, it is plain text ({how})", name)


class LineFeeds:
    """Pieces of text in which Windows line ends, \\r\\n, are line feeds; with `keep`, as they are.

    num_replaced: how many were replaced so far.
    """

    def __init__(self, pieces: Iterable[str], *, keep: bool) -> None:
        self._pieces, self.keep = pieces, keep
        self.num_replaced = 0

    def __iter__(self) -> Iterator[str]:
        if self.keep:
            yield from self._pieces
            return
        held = ""  # a carriage return whose line feed may begin the next piece
        for piece in self._pieces:
            piece = held + piece
            held = "\r" if piece.endswith("\r") else ""
            self.num_replaced += piece.count("\r\n")
            yield piece.removesuffix(held).replace("\r\n", "\n")
        if held:
            yield held


def decoded_pieces(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[str]:
    """Yield the text of a file without its byte order mark, PART_BYTES at a time; see `read` for what it raises."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, ended = 0, False
    while not ended:
        block = file.read(PART_BYTES)
        ended = not block
        start = block_start(block, name, reading, notes) if offset == 0 else 0
        begin = offset + start - len(decoder.getstate()[0])
        try:
            yield decoder.decode(block[start:], ended)
        except UnicodeDecodeError as error:
            if reading.encoding_errors != "replace":
                raise invalid_utf8(name, begin + error.start, error, file.read(LOOKED_AT)) from error
            note_replaced(name, error, b"", notes)
            decoder.errors = "replace"
            yield decoder.decode(block[start:], ended)
        offset += len(block)


def block_start(block: bytes, name: str, reading: Reading, notes: Notes) -> int:
    """Return where the text begins in the first bytes of a file: after the byte order mark, if there is one.

    Raises DataError when the bytes are known not to be UTF-8 text; a format that was given is not doubted.
    """
    for pattern, what in _FOREIGN.items() if reading.format is None else ():
        if re.match(pattern, block):
            raise DataError(
                f"{name} is {what} and not UTF-8 text (byte 0): extract its text first, or say what it is with --format"
            )
    head = block[:4096]
    for parity, encoding in enumerate(("UTF-16BE", "UTF-16LE")):  # Latin text has every other byte zero
        if len(head) >= 4 and head[parity::2].count(0) > 0.4 * len(head[parity::2]) and 0 not in head[1 - parity :: 2]:
            raise _not_utf8(name, encoding)
    if block.startswith(codecs.BOM_UTF8):
        notes.add("byte order mark dropped", name)
        return len(codecs.BOM_UTF8)
    return 0


def _not_utf8(name: str, encoding: str) -> DataError:
    return DataError(f"{name} is {encoding} and not UTF-8 (byte 0): read it with --encoding {encoding.lower()}")


def note_unusual(text: str, name: str, notes: Notes) -> None:
    """Note what is unusual in `text`."""
    for character, finding in (
        ("\r", "carriage returns kept as part of the text"),
        ("\0", "NUL characters kept as part of the text"),
    ):
        if character in text:
            notes.add(finding, name)
