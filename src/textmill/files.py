"""Files that exist whole or not at all. The only place that renames or fsyncs.

A file or folder is written under a temporary name on the same file system, flushed to the disk and renamed; a reader,
or a process started after a crash, sees the old state or the new one, never a mixture.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from textmill.errors import CannotWriteError, DataError, MissingInputError, TextmillError, WriteFailedError

TEMPORARY_PREFIX = ".tmp-"
"""Names that start so are leavings of a process that died; they may be deleted by whoever holds the run's lock."""

_ASIDE = ".aside"
"""Ends the temporary name under which a complete directory waits while its successor takes its place."""

_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO}
_NOT_WRITABLE = {*_FULL_DISK, errno.EROFS}


def cannot_write(path: Path | str, error: OSError) -> CannotWriteError:
    """Return the error to raise when writing `path` failed: 74 when the medium is full or broken, else 73."""
    kind = WriteFailedError if error.errno in _FULL_DISK else CannotWriteError
    return kind(f"cannot write {path}: {error.strerror or error}")


def not_accessible(error: OSError) -> TextmillError:
    """Return what to tell of an error of the system that nobody expected where it came: which file, and why.

    No permission, a name that is too long, a link in a circle, a disk that fails: the person's to mend, and not ours.
    """
    if error.errno in _NOT_WRITABLE:
        return cannot_write(error.filename or "a file", error)
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else error.filename or "a file"
    return MissingInputError(f"cannot use {where}: {error.strerror or error}")


def make_directory(path: Path) -> Path:
    """`path` is a directory, with its parents, and stays one after a power failure. Raises CannotWriteError."""
    try:
        created = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in created:
            fsync_directory(folder.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """`path` holds `content`, durably, or its old content if anything failed. Raises CannotWriteError."""
    temporary = _temporary_name(path)
    make_directory(path.parent)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            flush_to_disk(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from error


def move_into_place(temporary: Path, final: Path) -> Path:
    """The file `temporary`, complete and beside `final`, is now `final`, durably; return it. Raises OSError."""
    fsync_file(temporary)
    temporary.replace(final)
    fsync_directory(final.parent)
    return final


def write_text(path: Path, text: str) -> None:
    """`path` holds `text` as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`path` holds `value` as indented JSON. Infinities and NaN are refused with ValueError: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_directory(
    final: Path, *, temporary: Path | None = None, kept_after: tuple[type[BaseException], ...] = ()
) -> Iterator[Path]:
    """Yield an empty temporary directory that becomes `final`, durably, when the block ends without an error.

    `final` must not exist, or be a directory that the caller is willing to lose: it is moved aside first and deleted
    afterwards. A process that dies between the two renames leaves no `final`, but both directories whole;
    `remove_temporaries` then moves the old one back. Raises CannotWriteError; after any error before the renames the
    temporary directory is gone and `final` is as it was.

    temporary: the directory to make first, on the same file system; None for a name that nobody else has.
    kept_after: errors after which the temporary directory stays as it is.
    """
    make_directory(final.parent)
    temporary = temporary or _temporary_name(final)
    try:
        temporary.mkdir()
        yield temporary
        fsync_tree(temporary)
        _replace_directory(temporary, final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.filename is not None and not _concerns(error, final.parent):
            raise  # something the block read elsewhere: not ours to explain
        raise cannot_write(final, error) from error
    except BaseException as error:
        if not isinstance(error, kept_after):
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _replace_directory(temporary: Path, final: Path) -> None:
    """The complete directory `temporary` is now `final`; what was there is deleted. A failed rename changes nothing."""
    aside = _temporary_name(final, _ASIDE)
    try:
        temporary.rename(final)  # refused by the system, not asked before: another process may be doing the same
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        final.rename(aside)
        try:
            temporary.rename(final)
        except BaseException:
            aside.rename(final)
            raise
    fsync_directory(final.parent)
    if aside.exists():
        with suppress(OSError):
            remove_directory(aside)


def remove_directory(folder: Path) -> None:
    """`folder` is gone, and never stood half deleted under its own name. Raises OSError."""
    doomed = _temporary_name(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_temporaries(folder: Path) -> None:
    """No leavings of dead processes are left directly under `folder`. Call it only while holding the lock on it.

    A directory that was moved aside for a successor that never came is moved back to its own name.
    """
    if not folder.is_dir():
        return
    leavings = [entry for entry in folder.iterdir() if entry.name.startswith(TEMPORARY_PREFIX)]
    with suppress(OSError):
        # The latest rename first, should two crashes have left two predecessors of one directory.
        leavings.sort(key=lambda entry: entry.lstat().st_ctime_ns, reverse=True)
    for entry in leavings:
        if entry.is_symlink() or not entry.is_dir():
            with suppress(OSError):
                entry.unlink()
            continue
        final = folder / entry.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")[0]
        if entry.name.endswith(_ASIDE) and not final.exists():
            entry.rename(final)
            fsync_directory(folder)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def _temporary_name(path: Path, ending: str = "") -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}{ending}")


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether `error` names a path below `folder`."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    return Path(os.path.abspath(name)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100 (resolve() follows links)


def flush_to_disk(descriptor: int) -> None:
    """What was written through `descriptor` survives a power failure."""
    full_fsync = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's own cache
    if full_fsync is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, full_fsync)
            return
    os.fsync(descriptor)


def fsync_file(path: Path) -> None:
    """The file's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def fsync_directory(folder: Path) -> None:
    """Renames inside `folder` survive a power failure."""
    fsync_file(folder)


def fsync_tree(folder: Path) -> None:
    """Every file and directory below `folder` is on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            fsync_file(Path(parent, name))
        fsync_directory(Path(parent))


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path`; a file that is not there, or cannot be read, is not locked."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def parse_json(spelled: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError for everything that is none, also when nested too deeply."""
    try:
        return json.loads(spelled)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def in_good_shape(what: Path | str, remedy: str) -> Iterator[None]:
    """Inside the block, a value that is missing or of another kind is a DataError: `what` is damaged, do `remedy`.

    For the few lines that take a description from a file apart, where checking every value by hand would be longer than
    the work itself.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        key = f"the key {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise DataError(f"{what} is damaged ({key}): {remedy}") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file, such as a run's metrics.jsonl.

    A last line without its newline is still being written and is left out. A missing file has no rows. Raises
    DataError naming the line that is not a JSON object.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = parse_json(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: not a JSON object")
            yield row


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds. Raises MissingInputError, or DataError when it holds none."""
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingInputError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object")
    return value


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
