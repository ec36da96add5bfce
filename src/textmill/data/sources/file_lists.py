"""Lists of files as text to train on: `@FILE`, in which each line names a file or a folder."""

import os
from pathlib import Path

from textmill.errors import DataError, MissingInputError
from textmill.files import expand_home, read_bytes

LIST_PREFIX = "@"


def is_list(item: str | Path) -> bool:
    """Whether `item` names a list of files, not a file that is called so."""
    return str(item).startswith(LIST_PREFIX) and len(str(item)) > 1 and not os.path.exists(item)  # noqa: PTH110


def list_of(item: str | Path) -> Path:
    """Return the file that contains the list."""
    return expand_home(str(item).removeprefix(LIST_PREFIX))


def listed_paths(content: bytes, name: str) -> list[Path]:
    """Return the paths in a list: one per line, or each up to a zero byte, as `git ls-files -z` writes them.

    They are relative to the current folder and made absolute. `name` is that of the list, for errors. Raises DataError
    for an empty list, MissingInputError for a path that is not there.
    """
    separator = b"\0" if b"\0" in content else b"\n"
    found = []
    for number, line in enumerate(content.split(separator), 1):
        typed = os.fsdecode(line if separator == b"\0" else line.removesuffix(b"\r"))
        if not typed.strip():
            continue
        path = expand_home(typed).absolute()
        if not os.path.lexists(path):
            where = "" if Path(typed).is_absolute() else f", relative to {Path.cwd()}"
            raise MissingInputError(f"{name}: line {number} names {typed}, which is missing{where}")
        found.append(path)
    if not found:
        raise DataError(f"{name} lists no file: write one path per line")
    return found


def read_list(item: str | Path) -> list[Path]:
    """Return the paths in the list that `item` names; see `listed_paths`. Raises MissingInputError without the list."""
    path = list_of(item)
    try:
        content = read_bytes(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MissingInputError(f"cannot read the list of files {path}: {reason}") from error
    return listed_paths(content, str(path))
