"""Files that exist whole or not at all. The only place that renames or fsyncs.

A file or folder is written under a temporary name on the same file system, flushed to the disk and renamed; a reader,
or a process started after a crash, sees the old state or the new one, never a mixture.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from textmill.errors import CannotWriteError, WriteFailedError

TEMPORARY_PREFIX = ".tmp-"
"""Names that start so are leavings of a process that died; they may be deleted by whoever holds the run's lock."""

_FULL_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO}


def cannot_write(path: Path | str, error: OSError) -> CannotWriteError:
    """Return the error to raise when writing `path` failed with `error`: 74 when the medium is full or broken, else 73."""
    kind = WriteFailedError if error.errno in _FULL_DISK else CannotWriteError
    return kind(f"cannot write {path}: {error.strerror or error}")


def make_directory(path: Path) -> Path:
    """`path` is a directory, with its parents. Raises CannotWriteError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """`path` holds `content`, durably, or its old content if anything failed. Raises CannotWriteError."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from error


def write_text(path: Path, text: str) -> None:
    """`path` holds `text` as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`path` holds `value` as indented JSON. Infinities and NaN are refused with ValueError: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield an empty temporary directory that becomes `final`, durably, when the block ends without an error.

    `final` must not exist, or be a directory that the caller is willing to lose: it is moved aside first and deleted
    afterwards. Raises CannotWriteError; on any error the temporary directory is gone and `final` is as it was.
    """
    temporary = final.with_name(f"{TEMPORARY_PREFIX}{final.name}-{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        fsync_tree(temporary)
        aside = None
        if final.exists():
            aside = final.with_name(f"{TEMPORARY_PREFIX}old-{final.name}-{uuid.uuid4().hex[:8]}")
            os.rename(final, aside)
        os.rename(temporary, final)
        fsync_directory(final.parent)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise cannot_write(final, error) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_temporaries(folder: Path) -> None:
    """No leavings of dead processes are left directly under `folder`. Call it only while holding the lock on it."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith(TEMPORARY_PREFIX):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with suppress(OSError):
                    entry.unlink()


def fsync_directory(folder: Path) -> None:
    """Renames inside `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Every file and directory below `folder` is on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_directory(Path(parent))


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
