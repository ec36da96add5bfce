"""SHA-256 of files and of values, and whether they still are what was recorded of them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from textmill.files.atomic import cannot_read, disk_is_lost
from textmill.files.regular_files import open_regular
from textmill.files.stale_names import retry_stale


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""

    def read() -> str:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return retry_stale(read)


def json_sha256(value: Any, *, sort_keys: bool = False) -> str:
    """Return the SHA-256 of the value's JSON text, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()


def file_entry(path: Path) -> dict[str, Any]:
    """Return the "size" and "sha256" of a file. Raises OSError."""
    return {"size": retry_stale(path.stat).st_size, "sha256": sha256(path)}


def file_problem(path: Path, recorded: dict[str, Any]) -> str | None:
    """Return how a file differs from its recorded "size" and "sha256", as a phrase; None if it does not.

    Raises WriteFailedError if its file system is gone, which says nothing about the file.
    """
    try:
        if not retry_stale(path.is_file):
            return "is not a regular file" if path.exists() else "is missing"
        size = retry_stale(path.stat).st_size
        if size != recorded["size"]:
            return f"has {size} bytes instead of {recorded['size']}"
        return None if sha256(path) == recorded["sha256"] else "has changed (its SHA-256 differs)"
    except OSError as error:
        if disk_is_lost(error):
            raise cannot_read(path, error) from error
        return f"cannot be read ({error.strerror or error})"


def with_own_hash(content: dict[str, Any]) -> dict[str, Any]:
    """Return `content`, values of JSON, with its own hash as the last key, "sha256"."""
    content = json.loads(json.dumps({key: value for key, value in content.items() if key != "sha256"}))
    return {**content, "sha256": json_sha256(content, sort_keys=True)}
