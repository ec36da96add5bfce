"""Files and folders that are written whole or not at all. All renaming and fsyncing is here.

A file or folder is written under a temporary name on the same file system, flushed to the disk and renamed; a reader,
or a process started after a crash, sees the old state or the new one, never a mixture.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from textmill.errors import CannotWriteError, MissingInputError, StaleFileError, TextmillError, WriteFailedError
from textmill.files.operating_system import IS_POSIX, flush, open_to_flush
from textmill.files.stale_names import remove_tree, rename, retry_stale, walk

TEMPORARY_PREFIX = ".tmp-"
"""Start of the names of unfinished files. What a process that died left under one is removed under the run's lock."""

_ASIDE = ".aside"
"""End of the temporary name of a complete directory that is being replaced."""

_LINKED_FROM = 1 << 20
"""Bytes of a file that is worth a link."""

_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST, errno.EACCES}  # the last on Windows
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO}
_LOST_DISK = {errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENETDOWN}
"""What file systems of networks say when their server, or a file on it, is gone."""

_NOT_WRITABLE = {*_FULL_DISK, errno.EROFS}
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def cannot_write(path: Path | str, error: OSError) -> CannotWriteError:
    """Return the error to raise when writing `path` failed: 74 when the medium is full, broken or gone, else 73."""
    kind = WriteFailedError if error.errno in _FULL_DISK | _LOST_DISK else CannotWriteError
    kind = StaleFileError if error.errno == errno.ESTALE else kind
    return kind(f"cannot write {path}: {error.strerror or error}")


def disk_is_lost(error: OSError) -> bool:
    """Whether the error says that the file system is gone, and nothing about what the file contains."""
    return error.errno in _LOST_DISK


def cannot_read(path: Path | str, error: OSError) -> WriteFailedError:
    """Return the error to raise when the file system of `path` is gone (74): the file may be whole."""
    kind = StaleFileError if error.errno == errno.ESTALE else WriteFailedError
    return kind(f"cannot read {path}: {error.strerror or error}. It may be whole: try again when its disk is there")


def not_accessible(error: OSError) -> TextmillError:
    """Return the error to raise for an unexpected error of the operating system; it names the file and the reason.

    Missing permissions, a name that is too long, circular links, a failing disk: the user can fix these, we cannot.
    """
    if error.errno in _NOT_WRITABLE:
        return cannot_write(error.filename or "a file", error)
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else error.filename or "a file"
    if disk_is_lost(error):
        return cannot_read(where, error)
    return MissingInputError(f"cannot use {where}: {error.strerror or error}")


def make_directory(path: Path) -> Path:
    """Make the directory `path` and its parents so that they survive a power failure. Raises CannotWriteError."""

    def make() -> None:
        created = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in created:
            fsync_directory(folder.parent)

    try:
        retry_stale(make)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it survives a power failure; on failure keep its old content. Raises CannotWriteError."""

    def write() -> None:
        temporary = _temporary_name(path)
        make_directory(path.parent)
        try:
            temporary.write_bytes(content)
            move_into_place(temporary, path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise cannot_write(path, error) from error

    retry_stale(write)


def own_file(path: Path) -> None:
    """Replace a file that has further names (hard links) by a copy, so that writing to it changes no other.

    Raises OSError.
    """
    with suppress(FileNotFoundError):
        if retry_stale(path.lstat).st_nlink > 1:
            write_bytes(path, retry_stale(path.read_bytes))


def move_into_place(temporary: Path, final: Path) -> Path:
    """Rename a complete file to `final`, in the same folder, and fsync; return `final`. Raises OSError."""
    fsync_file(temporary)
    rename(temporary, final)
    fsync_directory(final.parent)
    return final


def expand_home(path: str | Path) -> Path:
    """Return `path` with the home folder for a leading `~`, if there is such a user and it has one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is none


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8; see `write_bytes`.

    The lone surrogates of a file name that is not UTF-8 are spelled as escapes, which JSON and YAML read back.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


@contextmanager
def new_directory(
    final: Path, *, temporary: Path | None = None, kept_after: tuple[type[BaseException], ...] = ()
) -> Iterator[Path]:
    """Yield an empty temporary directory; fsync it and rename it to `final` when the block ends without an error.

    An existing directory `final` is replaced: moved aside first and deleted afterwards. A process that dies between the
    two renames leaves no `final`, but both directories complete; `remove_temporaries` then moves the old one back.
    After any error before the renames the temporary directory is deleted and `final` unchanged. Raises
    CannotWriteError.

    temporary: the directory to make first, on the same file system; None for a new name.
    kept_after: errors after which the temporary directory is kept.
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
            raise  # about a file elsewhere, which the block read
        raise cannot_write(final, error) from error
    except BaseException as error:
        if not isinstance(error, kept_after):
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _replace_directory(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final` and delete what was there. A failed rename changes nothing."""
    aside = _temporary_name(final, _ASIDE)
    try:
        rename(temporary, final)  # try first instead of asking: another process may be doing the same
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        rename(final, aside)
        try:
            rename(temporary, final)
        except BaseException:
            rename(aside, final)
            raise
    fsync_directory(final.parent)
    if aside.exists():
        with suppress(OSError):
            remove_directory(aside)


def remove_directory(folder: Path) -> None:
    """Delete `folder`, under a temporary name so that it is never half deleted under its own. Raises OSError."""
    doomed = _temporary_name(folder)
    rename(folder, doomed)
    remove_tree(doomed)


def moved_aside(final: Path) -> Path | None:
    """Return the complete directory that `new_directory` is replacing under the name `final`, or None."""
    return next(final.parent.glob(f"{TEMPORARY_PREFIX}{final.name}-*{_ASIDE}"), None)


def remove_temporaries(folder: Path) -> None:
    """Delete what processes that died left directly under `folder`. Call it only while holding the lock on it.

    A directory that was moved aside and never replaced is moved back to its own name.
    """
    if not folder.is_dir():
        return
    leftovers = [entry for entry in folder.iterdir() if entry.name.startswith(TEMPORARY_PREFIX)]
    with suppress(OSError):
        # Latest rename first, in case two crashes left two old versions of one directory.
        leftovers.sort(key=lambda entry: entry.lstat().st_ctime_ns, reverse=True)
    for entry in leftovers:
        if entry.is_symlink() or not entry.is_dir():
            with suppress(OSError):
                entry.unlink()
            continue
        final = folder / entry.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")[0]
        if entry.name.endswith(_ASIDE) and not final.exists():
            rename(entry, final)
            fsync_directory(folder)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def _temporary_name(path: Path, ending: str = "") -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}{ending}")


def _concerns(error: OSError, folder: Path) -> bool:
    """Return whether `error` names a path below `folder`."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    return Path(os.path.abspath(name)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100 (resolve() follows links)


def fsync_file(path: Path) -> None:
    """Write the file's content out to the disk."""
    descriptor = retry_stale(lambda: open_to_flush(path))
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def fsync_directory(folder: Path) -> None:
    """Write the names in `folder` out to the disk, so that renames survive a power failure.

    Some file systems, such as those of Windows and its shares, flush names by themselves and refuse to be asked.
    """
    if not IS_POSIX:
        return
    try:
        retry_stale(lambda: fsync_file(folder))
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


def fsync_tree(folder: Path) -> None:
    """Write every file and directory below `folder` out to the disk."""
    for parent, names in walk(folder):
        for name in names:
            fsync_file(parent / name)
        fsync_directory(parent)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make the new file `target` with the content of `source`: a hard link to a large file, where there are links.

    Small files are copied, so that editing one by hand leaves the other unchanged.
    """
    source, target = Path(source), Path(target)
    if source.stat().st_size >= _LINKED_FROM:
        try:
            target.hardlink_to(source)
            return
        except OSError:  # no hard links here, or too many of them: a copy always works
            target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
