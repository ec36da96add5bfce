"""Optuna's journal of a sweep, with a hash in every line, so that a changed digit is damage and not another result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textmill import files
from textmill.errors import DataError
from textmill.files.operating_system import flush

CHECK = "sha256"
"""The entry of a line with the first 16 digits of the hash of everything before it and of the line itself."""

KEPT = "give the sweep another --output-dir; the trials here stay runs, which textmill runs lists"
"""What to do about a sweep that cannot be continued."""


class CheckedJournal:
    """The lines of the journal at `path`, by Optuna's protocol of journal backends. One process uses it at a time.

    A last line without its end, or that is not JSON, is dropped: the process that wrote it died, or the power failed,
    before the line was flushed. Lines without a hash, of earlier versions, are read as they are where none before them
    has one.

    Raises DataError, which names the line, for a journal that has changed since it was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._logs: list[dict[str, Any]] = []
        self._hash = hashlib.sha256()
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        lines = content.split(b"\n")[:-1]
        if lines and not _is_json(lines[-1]):
            lines.pop()
        checked = False
        for number, line in enumerate(lines, 1):
            checked = self._read(line, number, checked=checked)
        self._size = sum(len(line) + 1 for line in lines)

    def _read(self, line: bytes, number: int, *, checked: bool) -> bool:
        """Take one line; return whether it has a hash, which all after it must have."""
        try:
            parsed = files.parse_json(line)
        except ValueError:
            parsed = None
        log: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
        check = log.pop(CHECK, None)
        if not log or ((checked or check is not None) and check != self._check(log)):
            raise DataError(f"{self.path}, line {number}, has changed since the sweep wrote it: {KEPT}")
        self._logs.append(log)
        self._hash.update(line + b"\n")
        return check is not None

    def _check(self, log: dict[str, Any]) -> str:
        hashed = self._hash.copy()
        hashed.update(json.dumps(log, sort_keys=True).encode())
        return hashed.hexdigest()[:16]

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the entries from this one on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries to the end of the journal, durably. Raises CannotWriteError."""
        try:
            with self.path.open("r+b" if self.path.exists() else "xb") as file:
                file.truncate(self._size)
                file.seek(self._size)
                for log in logs:
                    plain = json.loads(json.dumps(log))
                    line = json.dumps({**plain, CHECK: self._check(plain)}).encode()
                    file.write(line + b"\n")
                    self._hash.update(line + b"\n")
                    self._logs.append(plain)
                    self._size += len(line) + 1
                file.flush()
                flush(file.fileno())
        except OSError as error:
            raise files.cannot_write(self.path, error) from error


def _is_json(line: bytes) -> bool:
    try:
        files.parse_json(line)
    except ValueError:
        return False
    return True
