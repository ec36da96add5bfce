"""Lock files: at most one process of this machine has one at a time."""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from textmill.errors import CannotWriteError
from textmill.files.atomic import TEMPORARY_PREFIX, cannot_write, make_directory, own_file
from textmill.files.operating_system import IS_POSIX, READ_WRITE, NoLocksError, lock
from textmill.files.regular_files import open_regular
from textmill.files.stale_names import retry_stale


def lock_file(path: Path) -> BinaryIO | None:
    """Make and lock the file `path`, and its folder; return it open, or None if another process has the lock.

    The lock lasts until the file is closed. The kernel owns it: it ends with the process, however that ends, so a file
    that was left behind locks out nobody. Delete the file, if at all, before closing it. A file with further names, as
    after `cp -al`, is replaced by one of its own, so that writing to it changes no other.

    Raises:
        CannotWriteError: the folder or the file cannot be created, or the file is a symbolic link.
        NoLocksError: the file system has no locks.
    """
    while True:
        make_directory(path.parent)
        if not IS_POSIX:  # where a file that is open gets no other name
            with suppress(CannotWriteError, OSError):  # another process has it open
                own_file(path)
        try:
            descriptor = retry_stale(lambda: os.open(path, READ_WRITE, 0o644))
            file = os.fdopen(descriptor, "r+b", buffering=0)
        except FileNotFoundError:  # the folder was deleted in between, by a process that had the lock
            continue
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            locked = lock(file.fileno())
        except NoLocksError:
            file.close()  # before it is deleted: NFS keeps open files under another name
            path.unlink(missing_ok=True)
            raise
        if not locked:
            file.close()
            return None
        if is_current(file, path):
            return file if os.fstat(file.fileno()).st_nlink == 1 else _of_its_own(file, path)
        file.close()  # the process that had the lock deleted the file after we opened it: try the new one


def _of_its_own(shared: BinaryIO, path: Path) -> BinaryIO:
    """Give the name of a locked file to a new file, locked before it has the name. Raises CannotWriteError."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}")
    with shared:
        try:
            file = temporary.open("x+b", buffering=0)
            lock(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise cannot_write(path, error) from error
    return file


def is_current(file: BinaryIO, path: Path) -> bool:
    """Return whether the open file is the one that has the name now: two processes must lock the same file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), retry_stale(path.stat))
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Return whether a process has the lock of `path`; a file that is missing or unreadable is not locked."""
    try:
        with open_regular(path) as file:
            return not lock(file.fileno(), shared=True)
    except OSError:
        return False
