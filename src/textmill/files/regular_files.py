"""Read files that a folder names: what is no regular file, such as a named pipe, is an error and never waited for."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from textmill.files.operating_system import READ
from textmill.files.stale_names import retry_stale

_KINDS = {
    stat.S_IFIFO: "is a named pipe and not a file",
    stat.S_IFSOCK: "is a socket and not a file",
    stat.S_IFCHR: "is a device and not a file",
    stat.S_IFBLK: "is a device and not a file",
    stat.S_IFDIR: "is a folder and not a file",
}


class NotAFileError(OSError):
    """A pipe, socket, device or folder has the name of a file. `strerror` continues a sentence: "is a socket ..."."""

    def __str__(self) -> str:
        return f"it {self.strerror}"


def open_regular(path: str | Path) -> BufferedReader:
    """Open the regular file `path` for reading bytes. Raises OSError, NotAFileError for anything else."""
    _refuse_other(Path(path).stat(), path)  # before opening: opening a device may already do something
    descriptor = os.open(path, READ)
    try:
        _refuse_other(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | Path, most: int = -1) -> bytes:
    """Return the content of the regular file `path`, at most `most` bytes. Raises OSError."""

    def read() -> bytes:
        with open_regular(path) as file:
            return file.read(most)

    return retry_stale(read)


def read_text(path: str | Path, errors: str = "strict") -> str:
    """Return the content of the regular file `path`, UTF-8, with newlines alone. Raises OSError and ValueError."""
    return read_bytes(path).decode("utf-8", errors).replace("\r\n", "\n").replace("\r", "\n")


def _refuse_other(found: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(0, _KINDS.get(stat.S_IFMT(found.st_mode), "is not a regular file"), str(path))
