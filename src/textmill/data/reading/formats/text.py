"""Plain text: one file is one document, read in parts of about a megabyte."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.sources.findings import Notes
from textmill.errors import DataError
from textmill.tokenizers.split_long_text import last_cut

PART_BYTES = 1 << 20
LONGEST_PART = 8 << 20  # characters; text without a space is cut here

_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_FOREIGN = {
    b"%PDF-": "a PDF (give it the extension .pdf)",
    b"PK\x03\x04": "a zip archive (as .docx, .odt and .npz are; an .epub needs its extension)",
    b"\x1f\x8b": "gzip-compressed (give it the extension .gz)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed (give it the extension .zst)",
    b"\xfd7zXZ": "xz-compressed (give it the extension .xz)",
    b"BZh": "bzip2-compressed (give it the extension .bz2)",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"\x7fELF": "a program",
    b"\x93NUMPY": "a NumPy array (give it the extension .npy)",
    b"PAR1": "a Parquet table (give it the extension .parquet)",
    b"ARROW1": "an Arrow table (give it the extension .arrow)",
    b"SQLite format 3\x00": "a database",
}


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the file as one document, in parts that end before white space.

    Drop the byte order mark and keep line ends as they are; note both. Bytes that are not UTF-8 raise
    DataError with their offset, or become U+FFFD and are noted when `reading.encoding_errors` is "replace".
    """
    text = ""
    for piece in decoded_pieces(file, name, reading.encoding_errors, notes):
        text += piece
        if len(text) < PART_BYTES:
            continue
        cut = last_cut(text) or (len(text) if len(text) > LONGEST_PART else 0)
        if cut:
            _note(text[:cut], name, notes)
            yield Document(text[:cut], name, continues=True)
            text = text[cut:]
    _note(text, name, notes)
    yield Document(text, name)


def decoded_pieces(file: BinaryIO, name: str, errors: str, notes: Notes) -> Iterator[str]:
    """Yield the text of a file without its byte order mark, PART_BYTES at a time; see `read` for what it raises."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    offset, ended = 0, False
    while not ended:
        block = file.read(PART_BYTES)
        ended = not block
        start = block_start(block, name, notes) if offset == 0 else 0
        begin = offset + start - len(decoder.getstate()[0])
        try:
            piece = decoder.decode(block[start:], ended)
        except UnicodeDecodeError as error:
            raise invalid_utf8(name, begin + error.start, error) from error
        yield piece
        offset += len(block)


def block_start(block: bytes, name: str, notes: Notes) -> int:
    """Return where the text begins in the first bytes of a file: after the byte order mark, if there is one.

    Raises DataError when the bytes are known not to be UTF-8 text.
    """
    for mark, encoding in _WIDE.items():
        if block.startswith(mark):
            raise _not_utf8(name, encoding)
    for mark, what in _FOREIGN.items():
        if block.startswith(mark):
            raise DataError(f"{name} is {what} and not UTF-8 text (byte 0): extract its text first")
    head = block[:4096]
    for parity, encoding in enumerate(("UTF-16BE", "UTF-16LE")):  # Latin text has every other byte zero
        if len(head) >= 4 and head[parity::2].count(0) > 0.4 * len(head[parity::2]) and 0 not in head[1 - parity :: 2]:
            raise _not_utf8(name, encoding)
    if block.startswith(codecs.BOM_UTF8):
        notes.add("byte order mark dropped", name)
        return len(codecs.BOM_UTF8)
    return 0


def _not_utf8(name: str, encoding: str) -> DataError:
    return DataError(f"{name} is {encoding} and not UTF-8 (byte 0): convert it, as with iconv -f {encoding} -t UTF-8")


def invalid_utf8(where: str, offset: int, error: UnicodeDecodeError) -> DataError:
    """Return the error for bytes that are not UTF-8 at byte `offset` of a file."""
    return DataError(
        f"{where} is not UTF-8: byte 0x{error.object[error.start]:02X} at offset {offset:,} ({error.reason}); "
        "convert the file, or use --encoding-errors replace"
    )


def _note(text: str, name: str, notes: Notes) -> None:
    """Note what is unusual in `text`."""
    for character, finding in (
        ("\r", "carriage returns (Windows line ends) kept as part of the text"),
        ("\0", "NUL characters kept as part of the text"),
        ("\ufffd", "U+FFFD, the replacement character, is part of the text"),
    ):
        if character in text:
            notes.add(finding, name)
