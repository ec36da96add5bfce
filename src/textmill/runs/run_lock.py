"""One run, one process: the lock on a run folder."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from textmill.errors import RunExistsError
from textmill.files import NoLocksError, cannot_write, is_current, lock_file, parse_json, read_bytes
from textmill.files.operating_system import IS_POSIX
from textmill.runs.layout import LOCK


@contextmanager
def run_lock(folder: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Let no other process on this machine into such a block for the same `folder`.

    On a file system without locks, `say` is called with a sentence that the folder is not protected.

    Raises:
        RunExistsError: another process has the lock; the message names that process.
        CannotWriteError: the folder cannot be written to.
    """
    path = folder / LOCK
    try:
        file = lock_file(path)
    except NoLocksError as error:
        say(f"{folder} cannot be locked ({error.strerror or error}): start no second run in it")
        yield
        return
    if file is None:
        advice = "wait for it to end, or choose another --output-dir"
        raise RunExistsError(f"{folder} is in use by {_holder(path)}: {advice}")
    with _deleted_at_the_end(file, path):
        try:
            file.truncate(0)
            file.write(_this_process())
        except OSError as error:
            raise cannot_write(path, error) from error
        yield


@contextmanager
def _deleted_at_the_end(file: BinaryIO, path: Path) -> Iterator[None]:
    """Delete the locked file when the block ends, where files can be deleted before they are closed, else after."""
    try:
        with file:
            try:
                yield
            finally:
                with suppress(OSError):
                    if IS_POSIX and is_current(file, path):  # else another run may have begun there
                        path.unlink()
    finally:
        if not IS_POSIX:
            with suppress(OSError):  # another run has it open
                path.unlink()


def _this_process() -> bytes:
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": started}).encode() + b"\n"


def _holder(path: Path) -> str:
    """Return the words for the process that has the lock, from what it wrote into the file."""
    try:
        holder = parse_json(read_bytes(path))
        return f"process {holder['pid']} on {holder['host']}, started {holder['start']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
