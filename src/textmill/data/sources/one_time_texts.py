"""Text that is given once: standard input, and what a program yields. It is kept as a file in the cache.

A corpus is read several times and a run may be resumed, but a pipe or a generator gives its text once. So the text is
written to a file that is named by the hash of its content, and from then on the corpus is that file.
"""

import hashlib
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from textmill import files
from textmill.data.sources.cache_dir import cache_root
from textmill.data.sources.in_memory_texts import TextRows, are_paths
from textmill.errors import ConfigError, DataError, MissingInputError
from textmill.imports import resolve

STANDARD_INPUT = "-"

_BLOCK = 1 << 20
_OBJECT = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_ITEM = re.compile(rf"([A-Za-z][\w-]*=)?(-|(?!hf:){_OBJECT}:{_OBJECT})(=[0-9.]+(?:[eE][+-]?[0-9]+)?)?", re.DOTALL)
_TEXTS, _PIPED = "texts", "stdin"  # folders of the cache


@dataclass(frozen=True)
class Keeper:
    """Keeps text that is given once.

    Attributes:
        text_column: the key of mappings with the text, and the field of the file that is written.
        cache_dir: the cache; None for the user's.
        say: called with a sentence about where the text is kept.
        interrupted: called for every document; to stop, it raises.
    """

    text_column: str = "text"
    cache_dir: str | Path | None = None
    say: Callable[[str], None] = lambda sentence: None
    interrupted: Callable[[], None] = lambda: None

    def keep(self, data: Any, name: str = "data") -> list[str | Path] | None:
        """Return `data` as items that name files, after keeping what is given once; None stays None.

        data: a path or several; then `-` is standard input, and `package.module:attribute`, where no file has that
            name, is an object of a program. Or such an object: see `TextRows`.
        name: the setting, for messages.

        Raises:
            ConfigError: nothing is piped in, or the object gives no text.
            DataError: there is no text, an item is something else, or the object fails. Nothing is kept then.
            MissingInputError: there is neither a file nor an object of that name. CannotWriteError.
        """
        if data is None:
            return None
        if not are_paths(data):
            return [self._keep_texts(data, name)]
        items = [data] if isinstance(data, str | Path) else data
        return [kept for item in items for kept in self._expand(item, name)]

    def _expand(self, item: str | Path, name: str) -> list[str | Path]:
        parts = _parts(item)
        if parts is None:
            return [item]
        before, given, after = parts
        if given == STANDARD_INPUT:
            found: Any = self._keep_standard_input()
        else:
            try:
                found = resolve(given)
            except ConfigError as error:
                raise MissingInputError(f"{name}: {given} is neither a file nor an object: {error}") from error
            found = found if are_paths(found) else self._keep_texts(found, f"{name} {given}")
        return [f"{before}{path}{after}" for path in ([found] if isinstance(found, str | Path) else found)]

    def _keep_texts(self, given: Any, name: str) -> Path:
        rows = TextRows(given, self.text_column, name)
        folder = files.make_directory(cache_root(self.cache_dir) / _TEXTS)
        kept = _write(folder, self._watched(rows), f"{name} gives no text")
        self.say(f"{name}: {rows.sentence()}, kept in {kept}")
        return kept

    def _keep_standard_input(self) -> Path:
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigError("data is standard input (-), and nothing is piped in: name files instead")
        folder = files.make_directory(cache_root(self.cache_dir) / _PIPED)
        blocks = self._watched(iter(partial(sys.stdin.buffer.read, _BLOCK), b""))
        kept = _write(folder, blocks, "standard input is empty")
        self.say(f"standard input is kept in {kept}")
        return kept

    def _watched(self, blocks: Iterable[bytes]) -> Iterable[bytes]:
        for block in blocks:
            self.interrupted()
            yield block


def is_given_once(item: str | Path) -> bool:
    """Whether an item of `data` or `val_data` names standard input or an object of a program, not files."""
    return _parts(item) is not None


def is_kept(item: str | Path) -> bool:
    """Whether an item names a file that a Keeper wrote, and that is still there."""
    path = Path(re.sub(r"^[A-Za-z][\w-]*=|=[0-9.eE+-]+$", "", str(item)))
    named = re.fullmatch(r"[0-9a-f]{32}", path.stem) is not None
    return named and path.parent.name in (_TEXTS, _PIPED) and path.is_file()


def _parts(item: str | Path) -> tuple[str, str, str] | None:
    """Split an item into `NAME=`, what is given once, and `=WEIGHT`; None for an item that names files."""
    match = _ITEM.fullmatch(str(item))
    if match is None or any(os.path.exists(name) for name in (item, match[2]) if match[2] != "-"):  # noqa: PTH110
        return None
    return match[1] or "", match[2], match[3] or ""


def _write(folder: Path, blocks: Iterable[bytes], empty: str) -> Path:
    """Return the new file in `folder` with the content of `blocks`: JSON lines if it begins with a brace, else text.

    Raises DataError with the text `empty` if all is white space. After any error there is no new file.
    """
    temporary = folder / f"{files.TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    digest, first = hashlib.sha256(), b""
    try:
        with temporary.open("wb") as file:
            for block in blocks:
                first = first or block.lstrip()[:1]
                digest.update(block)
                file.write(block)
        if not first:
            raise DataError(empty)
        final = folder / f"{digest.hexdigest()[:32]}{'.jsonl' if first == b'{' else '.txt'}"
        return files.move_into_place(temporary, final)
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    finally:
        temporary.unlink(missing_ok=True)
