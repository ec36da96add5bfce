"""SHA-256 of files and of values, and whether they still are what was recorded of them."""

import hashlib
import json
from pathlib import Path
from typing import Any


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(value: Any, *, sort_keys: bool = False) -> str:
    """Return the SHA-256 of the value's JSON text, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()


def file_entry(path: Path) -> dict[str, Any]:
    """Return the "size" and "sha256" of a file. Raises OSError."""
    return {"size": path.stat().st_size, "sha256": sha256(path)}


def file_problem(path: Path, recorded: dict[str, Any]) -> str | None:
    """Return how a file differs from its recorded "size" and "sha256", as a phrase; None if it does not."""
    try:
        if not path.is_file():
            return "is not a regular file" if path.exists() else "is missing"
        size = path.stat().st_size
        if size != recorded["size"]:
            return f"has {size} bytes instead of {recorded['size']}"
        return None if sha256(path) == recorded["sha256"] else "has changed (its SHA-256 differs)"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def with_own_hash(content: dict[str, Any]) -> dict[str, Any]:
    """Return `content`, values of JSON, with its own hash as the last key, "sha256"."""
    content = json.loads(json.dumps({key: value for key, value in content.items() if key != "sha256"}))
    return {**content, "sha256": json_sha256(content, sort_keys=True)}
