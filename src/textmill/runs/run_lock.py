"""One run, one process: the lock on a run folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from textmill.errors import RunExistsError
from textmill.files import NoLocksError, cannot_write, lock_file, parse_json
from textmill.runs.layout import LOCK


class RunLock:
    """While the `with` block runs, no other process on this machine can enter it for the same `folder`.

    On a file system without locks, `say` is called with a sentence that the folder is not protected.

    Raises:
        RunExistsError: another process has the lock; the message names that process.
        CannotWriteError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], None] | None = None) -> None:
        self.path = folder / LOCK
        self.say = say or (lambda sentence: None)
        self._file: BinaryIO | None = None

    def __enter__(self) -> RunLock:
        folder = self.path.parent
        try:
            self._file = lock_file(self.path)
        except NoLocksError as error:
            self.say(f"{folder} cannot be locked ({error.strerror or error}): start no second run in it")
            return self
        if self._file is None:
            advice = "wait for it to end, or choose another --output-dir"
            raise RunExistsError(f"{folder} is in use by {_holder(self.path)}: {advice}")
        try:
            self._file.truncate(0)
            self._file.write(_this_process())
        except OSError as error:
            self._file.close()
            raise cannot_write(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):
                self.path.unlink()
            self._file.close()
            self._file = None


def _this_process() -> bytes:
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": started}).encode() + b"\n"


def _holder(path: Path) -> str:
    """Return the words for the process that has the lock, from what it wrote into the file."""
    try:
        holder = parse_json(path.read_bytes())
        return f"process {holder['pid']} on {holder['host']}, started {holder['start']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
