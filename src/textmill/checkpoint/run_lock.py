"""One run, one process: the lock on an output directory."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

from textmill.errors import RunExistsError
from textmill.files import cannot_write, make_directory, parse_json
from textmill.runs.layout import LOCK


class RunLock:
    """While the `with` block runs, no other process on this machine can enter it for the same `folder`.

    The kernel owns the lock: it ends with the process, however that ends, so a stale file stops nobody. On a file
    system without locks, `say` hears that the folder is not protected.

    Raises:
        RunExistsError: another process holds it; the message names that process.
        CannotWriteError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], None] | None = None) -> None:
        self.path = folder / LOCK
        self.say = say or (lambda sentence: None)
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        make_directory(self.path.parent)
        while True:
            descriptor = self._open()
            try:
                self._lock(descriptor)
                if self._is_current(descriptor):
                    _write_holder(descriptor)
                    self._descriptor = descriptor
                    return self
            except OSError as error:
                os.close(descriptor)
                raise cannot_write(self.path, error) from error
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the holder before us removed the file between our open and our lock: try the new one

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):
            self.path.unlink()  # before the lock ends, so that nobody's new file is removed
        os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            advice = "wait for it to end, or choose another --output-dir"
            raise RunExistsError(f"{self.path.parent} is in use by {_holder(descriptor)}: {advice}") from None
        except OSError as error:
            self.say(f"{self.path.parent} cannot be locked ({error.strerror or error}): start no second run in it")

    def _is_current(self, descriptor: int) -> bool:
        """Whether the open file is the one that now has the name: two processes must lock the same file."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False


def _write_holder(descriptor: int) -> None:
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "start": started}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)


def _holder(descriptor: int) -> str:
    """Return the words for whoever holds the lock, from what it wrote into the file."""
    try:
        holder = parse_json(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']}, started {holder['start']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
