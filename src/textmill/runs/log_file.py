"""A run's logs: one JSON object per line, readable during the run, truncated exactly on resume."""

import errno
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from textmill.files import cannot_write, make_directory, own_file, plain_values, retry_stale
from textmill.files.operating_system import READ_WRITE, flush, read_at, write_at


class Log:
    """Appends rows to `path`. Opening it cuts off an incomplete last line, which a process that died may have left.

    A log never stops a run: rows that the disk refuses are kept and written with the next one; `say` is told once.
    Raises CannotWriteError when the file cannot be opened.
    """

    def __init__(self, path: Path, *, say: Callable[[str], None]) -> None:
        self.path = path
        self.say = say
        self._waiting = b""  # rows that the disk has refused so far
        make_directory(path.parent)
        try:
            own_file(path)
            self._descriptor, self._offset = retry_stale(self._opened)
        except OSError as error:
            raise cannot_write(path, error) from error

    @property
    def offset(self) -> int:
        """The size of the file in bytes, complete lines only, which a checkpoint records for `truncate`."""
        return self._offset

    def append(self, row: Mapping[str, Any]) -> None:
        """Append `row` as a line, visible to others at once. NaN and infinities, which JSON lacks, become null."""
        refused_before = bool(self._waiting)
        line = json.dumps(plain_values(row), ensure_ascii=False, allow_nan=False) + "\n"
        self._waiting += line.encode(errors="backslashreplace")  # a lone surrogate becomes an escape, as in write_text
        try:
            self._write_waiting()
        except OSError as error:
            if not refused_before:
                self.say(f"cannot write {self.path} ({error.strerror or error}): its rows are kept in memory for now")

    def sync(self) -> int:
        """Flush the file to the disk and return the offset. Call it before a checkpoint records the offset."""
        with suppress(OSError):
            self._write_waiting()
            flush(self._descriptor)
        return self._offset

    def truncate(self, offset: int) -> None:
        """Delete the lines that end after byte `offset`, which were written after the checkpoint.

        A file shorter than `offset` has lost lines: it is left unchanged, and `say` is told.
        """
        if offset > self._offset:
            self.say(f"{self.path} has lost its last {offset - self._offset} bytes: only rows of this log are missing")
            return
        self._waiting = b""
        try:
            self._offset = _end_of_line_before(self._descriptor, offset)
            os.ftruncate(self._descriptor, self._offset)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file; `say` is told of rows that could not be written to the end."""
        if self._descriptor < 0:
            return
        if self._waiting:
            with suppress(OSError):
                self._write_waiting()
        if self._waiting:
            lost = len(self._waiting.splitlines())
            self.say(f"the last {lost} rows of {self.path} are lost: they could not be written")
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1

    def _write_waiting(self) -> None:
        """Write all waiting rows, or none of them."""
        try:
            end = self._offset + self._write(self._waiting, self._offset)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            self._open_again()
            end = self._offset + self._write(self._waiting, self._offset)
        self._offset, self._waiting = end, b""

    def _write(self, content: bytes, start: int) -> int:
        """Write all of the content from byte `start` on, or nothing; return its length."""
        position, rest = start, memoryview(content)
        try:
            while rest:
                written = write_at(self._descriptor, rest, position)
                position, rest = position + written, rest[written:]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, start)  # half a row must not stay
            raise
        return len(content)

    def _opened(self) -> tuple[int, int]:
        """Open the file, cut off an incomplete last line; return the descriptor and the offset."""
        descriptor = os.open(self.path, READ_WRITE, 0o644)
        try:
            offset = _end_of_line_before(descriptor, os.fstat(descriptor).st_size)
            os.ftruncate(descriptor, offset)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, offset

    def _open_again(self) -> None:
        """Open the file that another machine has put in the place of this one, to append to it."""
        descriptor, self._offset = retry_stale(self._opened)
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = descriptor
        self.say(f"{self.path} was replaced on another machine: the run appends to the file that is there now")


def _end_of_line_before(descriptor: int, limit: int) -> int:
    """Return the offset after the last newline among the first `limit` bytes; 0 without one."""
    block = 65536
    while limit > 0:
        start = max(0, limit - block)
        newline = read_at(descriptor, limit - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        limit = start
    return 0
