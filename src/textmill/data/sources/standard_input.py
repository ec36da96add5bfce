"""Text that another program pipes in: read once, kept as a file, and a file from then on."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from textmill import files
from textmill.data.sources.cache_dir import cache_root
from textmill.errors import ConfigError, DataError

STANDARD_INPUT = "-"

_BLOCK = 1 << 20


def keep_standard_input(
    data: Sequence[str | Path] | str | Path | None,
    cache_dir: str | Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[str | Path] | None:
    """Return `data` with the item `-`, if there is one, replaced by a file in the cache that holds standard input.

    A corpus is read several times and a run may be resumed; a pipe gives its text once. The file's name is the hash of
    its content. It is read as JSON lines where it begins with a brace, else as plain text. Raises ConfigError when
    nothing is piped in, DataError when it is empty, CannotWriteError.
    """
    items = None if data is None else [data] if isinstance(data, str | Path) else list(data)
    if items is None or STANDARD_INPUT not in map(str, items):
        return items
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError("the data are standard input (-), and nothing is piped in: name files instead")
    kept = _keep(files.make_directory(cache_root(cache_dir) / "stdin"))
    say(f"standard input is kept in {kept}")
    return [kept if str(item) == STANDARD_INPUT else item for item in items]


def _keep(folder: Path) -> Path:
    temporary = folder / f"{files.TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    digest, head = hashlib.sha256(), b""
    try:
        with temporary.open("wb") as file:
            while block := sys.stdin.buffer.read(_BLOCK):
                head = head or block.lstrip()[:1]
                digest.update(block)
                file.write(block)
        if not head:
            raise DataError("standard input is empty")
        final = folder / f"{digest.hexdigest()[:32]}{'.jsonl' if head == b'{' else '.txt'}"
        return files.move_into_place(temporary, final)
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    finally:
        temporary.unlink(missing_ok=True)
