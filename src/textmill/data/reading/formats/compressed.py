"""Compressed files: .gz, .bz2, .xz and .zst, unpacked while they are read, within the limits of a text."""

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any, BinaryIO

from textmill.errors import DataError, one_line
from textmill.imports import optional

MOST_RATIO = 250
"""Bytes out per byte in. Text gives 3 to 10, logs up to 100, a file made to fill the machine 1,000 and more."""

ALLOWED_ANYWAY = 32 << 20
"""Bytes out that are never too many."""

_OPEN = {".gz": lambda file: gzip.GzipFile(fileobj=file), ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}
_LONGEST_WINDOW = 1 << 31  # bytes; what zstd --long=31 writes. Memory is taken as the text needs it.
_ZSTD_INPUT = 1024  # bytes; a thousand of them expand to at most 32 MB


def unpack(file: BinaryIO, extension: str, name: str) -> BinaryIO:
    """Return the content of the compressed `file`, to be read once from front to back.

    Reading raises DataError when the archive is damaged, cut off, or expands beyond MOST_RATIO. Raises
    MissingExtraError for .zst without zstandard.
    """
    content = _Zstd(file, name) if extension == ".zst" else _OPEN[extension](file)
    return io.BufferedReader(_Unpacked(file, content, name), 1 << 16)


class _Unpacked(io.RawIOBase):
    """Count the bytes that come out, and name the file in every error."""

    def __init__(self, packed: BinaryIO, content: Any, name: str) -> None:
        self._packed, self._content, self._name = packed, content, name
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._content.read(len(buffer))
        except EOFError as error:
            raise DataError(f"{self._name} is cut off: the compressed data ends in the middle") from error
        except (OSError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise DataError(f"{self._name} is damaged and cannot be unpacked: {one_line(error, 120)}") from error
        self._given += len(block)
        if self._given > max(ALLOWED_ANYWAY, MOST_RATIO * self._packed.tell()):
            raise DataError(
                f"{self._name} unpacks to more than {MOST_RATIO} times its size, as no text does: unpack it yourself "
                "if you trust it"
            )
        buffer[: len(block)] = block
        return len(block)


class _Zstd:
    """Zstandard, frame by frame, so that a frame without its end is noticed."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._zstandard = optional("zstandard", f"reading {name}")
        self._frame: Any = None
        self._waiting = b""
        self._unpacked = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._unpacked:
            block = self._waiting or self._file.read(_ZSTD_INPUT)
            self._waiting = b""
            if not block:
                if self._frame is not None:
                    raise EOFError
                return b""
            self._frame = (
                self._frame or self._zstandard.ZstdDecompressor(max_window_size=_LONGEST_WINDOW).decompressobj()
            )
            try:
                self._unpacked = memoryview(self._frame.decompress(block))
            except self._zstandard.ZstdError as error:
                raise ValueError(str(error)) from error
            if self._frame.eof:
                self._waiting, self._frame = self._frame.unused_data, None
        given, self._unpacked = bytes(self._unpacked[:size]), self._unpacked[size:]
        return given
