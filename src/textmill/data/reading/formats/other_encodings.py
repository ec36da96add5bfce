"""Text in another encoding than UTF-8, turned into UTF-8 while it is read."""

import codecs
import io
from dataclasses import replace
from typing import Any, BinaryIO, cast

from textmill.data.reading.document import Reading
from textmill.data.reading.formats.invalid_bytes import LOOKED_AT, invalid_in, note_valid_utf8
from textmill.data.sources.findings import Notes
from textmill.files.byte_order_mark import MARK_BYTES, marked_encoding

_BLOCK = 1 << 16


def given_as_utf8(content: BinaryIO, name: str, reading: Reading, notes: Notes) -> BinaryIO:
    """Return `content`, not read yet and in the encoding that was given, in UTF-8."""
    buffered = _buffered(content)
    note_valid_utf8(name, buffered.peek(LOOKED_AT), reading, notes)
    return as_utf8(buffered, name, reading)


def _buffered(content: BinaryIO) -> io.BufferedReader:
    return content if isinstance(content, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, content))


def marked_as_utf8(content: BinaryIO, name: str, reading: Reading, notes: Notes) -> BinaryIO:
    """Return `content`, not read yet, in UTF-8: a byte order mark of UTF-16 or UTF-32 says that it is in that."""
    buffered = _buffered(content)
    encoding = marked_encoding(buffered.peek(MARK_BYTES))
    if encoding in (None, "utf-8-sig"):
        return buffered
    notes.add(f"{encoding.upper()} by its byte order mark, read as such", name)
    return as_utf8(buffered, name, replace(reading, encoding=encoding))


def as_utf8(content: BinaryIO, name: str, reading: Reading) -> BinaryIO:
    """Return `content`, which is in `reading.encoding`, in UTF-8, to be read once from front to back.

    Reading raises DataError, with the offset, for bytes that are not in the encoding, unless they are to be replaced.
    """
    return io.BufferedReader(_AsUtf8(content, name, reading), _BLOCK)


class _AsUtf8(io.RawIOBase):
    def __init__(self, content: BinaryIO, name: str, reading: Reading) -> None:
        self._content, self._name, self._encoding = content, name, reading.encoding
        self._decoder = codecs.getincrementaldecoder(reading.encoding)(reading.encoding_errors)
        self._offset, self._ended, self._ready = 0, False, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            self._ready = self._next_block()
        given, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)

    def _next_block(self) -> bytes:
        block = self._content.read(_BLOCK)
        self._ended = not block
        waiting = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(block, self._ended)
        except UnicodeDecodeError as error:
            offset = self._offset - waiting + error.start
            raise invalid_in(self._name, self._encoding, offset, error, self._content.read(LOOKED_AT)) from error
        self._offset += len(block)
        return text.encode("utf-8", "replace")
