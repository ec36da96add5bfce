"""What operating systems do differently with open files: flags, positions, locks, flushing, owners.

The calls of POSIX are used where they exist. Windows has none of them: there a file is opened as bytes, read and
written at a position by moving to it, locked far beyond its end, and a folder cannot be opened at all.
"""

import errno
import importlib
import os
import re
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any


def _module(name: str) -> Any:
    """Return a module that only some systems have, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")
_calls: Any = os  # of which Windows lacks some
_moving = Lock()

IS_POSIX = _fcntl is not None
"""Whether folders can be opened and flushed, and files deleted and renamed that are open."""

_BYTES = getattr(os, "O_BINARY", 0)  # Windows would write a carriage return before every byte 10
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | _BYTES
"""Flags to read a file, without waiting for the other end if it is a named pipe."""

READ_WRITE = os.O_RDWR | os.O_CREAT | _NO_LINK | _BYTES
"""Flags to read and write a file that is made if missing; a symbolic link is an error."""

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK | _BYTES
"""Flags to append to a file that is made if missing; a symbolic link is an error."""

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BYTES
"""Flags to write a file that must not exist."""

FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
"""Flags to open a folder; Windows refuses."""

_NOT_ON_WINDOWS = re.compile(r'[\x00-\x1f:*?"<>|]|[ .]$|^(con|nul|aux|prn|com\d|lpt\d) *(\.|$)', re.IGNORECASE)

_LOCKED_BYTE = 1 << 30
"""Where a lock lies on Windows: beyond the content, since nobody else can read locked bytes."""


class NoLocksError(OSError):
    """The file system has no locks."""


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return up to `size` bytes from byte `offset`; several threads may do so at once. Raises OSError."""
    if hasattr(_calls, "pread"):
        return _calls.pread(descriptor, size, offset)
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def read_into(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` from byte `offset`; return how many bytes there were. Several threads may do so at once.

    Raises OSError.
    """
    if hasattr(_calls, "preadv"):
        return _calls.preadv(descriptor, [buffer], offset)
    with _moving, os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        file.seek(offset)
        return file.readinto(buffer)


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> int:
    """Write `content` from byte `offset` on; return how many bytes were written. Raises OSError."""
    if hasattr(_calls, "pwrite"):
        return _calls.pwrite(descriptor, content, offset)
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, content)


def lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it.

    shared: others may have it too (POSIX only). Raises NoLocksError where the file system has no locks.
    """
    try:
        if _fcntl is not None:
            _fcntl.flock(descriptor, (_fcntl.LOCK_SH if shared else _fcntl.LOCK_EX) | _fcntl.LOCK_NB)
        else:
            _lock_byte(descriptor)
    except BlockingIOError:
        return False
    except OSError as error:
        raise NoLocksError(*error.args) from error
    return True


def _lock_byte(descriptor: int) -> None:
    """Lock one byte, as Windows can. Raises BlockingIOError if another process has it, OSError."""
    with _moving:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            raise BlockingIOError(*error.args) from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)


def flush(descriptor: int) -> None:
    """Write out everything written through `descriptor`, so that it survives a power failure."""
    full_fsync = getattr(_fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's own cache
    if full_fsync is not None:
        with suppress(OSError):
            _fcntl.fcntl(descriptor, full_fsync)
            return
    os.fsync(descriptor)


def open_to_flush(path: Path) -> int:
    """Open a file, or on POSIX a folder, for `flush`: Windows flushes only what may be written to. Raises OSError."""
    return os.open(path, os.O_RDONLY if IS_POSIX else os.O_RDWR | _BYTES)


def system_error(number: int) -> OSError:
    """Return the error that this system's own number means: on Windows another one than Python's `errno`."""
    if IS_POSIX:
        return OSError(number, os.strerror(number))
    return OSError(0, f"error {number} of Windows", None, number)


def is_reserved(name: str) -> bool:
    """Whether this system has no files or folders of that name, as Windows has none with a colon or called `nul`."""
    return not IS_POSIX and _NOT_ON_WINDOWS.search(name) is not None


def is_own(found: os.stat_result) -> bool:
    """Whether a file belongs to the user of this process; where files have no such owner (Windows), all do."""
    return not hasattr(_calls, "getuid") or found.st_uid == _calls.getuid()


def user_name() -> str:
    """Return a short name for the user of this process that needs no entry in a table of users."""
    return str(_calls.getuid()) if hasattr(_calls, "getuid") else os.environ.get("USERNAME", "user")
