"""File systems of networks: names and open files that another machine has replaced, and answers that were lost.

ESTALE says that a name or an open file stands for nothing any more: doing the same again looks the name up anew. What
was deleted while some process has it open stays for a while, under a name that begins with `.nfs`.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from textmill.errors import StaleFileError

WAITS = (0.05, 0.2, 0.5)
"""Seconds before each repetition of what met ESTALE."""

SEEN_WITHIN = 90.0
"""Seconds until a machine sees what another one made: the client of NFS asks after 60 at the latest."""

STILL_OPEN = ".nfs"
"""Start of the names of files that were deleted and are still open."""

_NOT_DELETED = {errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT, errno.ESTALE}
"""What deleting a folder says of files that are still open, and of files that are gone already."""

_PAUSE = 0.05
_IN_VAIN = "repeated in vain"  # a note on an error
_Result = TypeVar("_Result")


def retry_stale(act: Callable[[], _Result]) -> _Result:
    """Return what `act` returns; repeat it, after short waits, while it fails with ESTALE. Raises its last error.

    What was repeated in vain inside `act` is not repeated again.
    """
    for seconds in (*WAITS, None):
        try:
            return act()
        except (OSError, StaleFileError) as error:
            if not _is_stale(error):
                raise
            if seconds is None:
                error.add_note(_IN_VAIN)
                raise
        time.sleep(seconds)
    raise AssertionError


def _is_stale(error: BaseException) -> bool:
    """Whether the error is ESTALE, and nothing was repeated because of it yet."""
    if any(_IN_VAIN in getattr(one, "__notes__", ()) for one in (error, error.__cause__)):
        return False
    return isinstance(error, StaleFileError) or (isinstance(error, OSError) and error.errno == errno.ESTALE)


def walk(folder: Path) -> list[tuple[Path, list[str]]]:
    """Return every folder from `folder` down, with the names in it that are no folders.

    Raises OSError: a folder that cannot be listed is not an empty one.
    """

    def refuse(error: OSError) -> None:
        raise error

    return retry_stale(lambda: [(Path(parent), names) for parent, _, names in os.walk(folder, onerror=refuse)])


def rename(source: Path, target: Path) -> None:
    """Rename `source` to `target`, replacing a file. Raises OSError.

    A server whose answer was lost is asked again, and says that there is no `source`: if `target` is what `source`
    was, the rename was done.
    """
    before = retry_stale(source.lstat)

    def once() -> None:
        try:
            source.replace(target)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE) or not _is(target, before):
                raise

    retry_stale(once)


def _is(path: Path, found: os.stat_result) -> bool:
    """Whether `path` is the file or folder that was found before."""
    try:
        return os.path.samestat(path.lstat(), found)
    except OSError:
        return False


def is_still_open(path: Path) -> bool:
    """Whether `path` is what NFS keeps of a deleted file that some process has open."""
    return path.name.startswith(STILL_OPEN)


def remove_tree(folder: Path) -> None:
    """Delete `folder` and everything in it. Raises OSError.

    Deleted files that are still open, and the folders around them, may stay, without an error: their space is freed
    when they are closed, and `remove_temporaries` deletes the folders later.
    """
    for seconds in (*WAITS, None):
        try:
            shutil.rmtree(folder)
            return
        except OSError as error:
            if error.errno not in _NOT_DELETED:
                raise
            shutil.rmtree(folder, ignore_errors=True)
            left = [is_still_open(Path(name)) for _, _, names in os.walk(folder) for name in names]
            if not os.path.lexists(folder) or (left and all(left)):
                return
            if seconds is None:
                raise
        time.sleep(seconds)


def wait_until_seen(path: Path, seconds: float = SEEN_WITHIN) -> None:
    """Wait until this machine sees `path`, which another process of the run has made.

    Raises StaleFileError after so many `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not retry_stale(path.exists):
        if time.monotonic() > deadline:
            raise StaleFileError(
                f"{path}, which another process of the run has made, cannot be seen here after {seconds:.0f} seconds: "
                "the processes need a file system in common"
            )
        look_anew(path.parent)
        time.sleep(_PAUSE)


def look_anew(folder: Path) -> None:
    """Let this machine forget what it remembers of the names in `folder`: it does so when it changes the folder.

    Does nothing where it cannot write.
    """
    probe = folder / f".tmp-look-{uuid.uuid4().hex[:8]}"
    with suppress(OSError):
        probe.touch(exist_ok=False)
        probe.unlink()
