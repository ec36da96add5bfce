"""Text that is given once: standard input, and what a program yields. It is kept as a file in the cache.

A corpus is read several times and a run may be resumed, but a pipe or a generator gives its text once. So the text is
written to a file that is named by the hash of its content, and from then on the corpus is that file.
"""

import hashlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from textmill import files
from textmill.console.number_format import size
from textmill.data.sources.file_extensions import NAMED_FORMATS
from textmill.data.sources.file_lists import LIST_PREFIX, is_list, listed_paths, read_list
from textmill.data.sources.text_columns import TextColumns
from textmill.errors import ConfigError, DataError, MissingInputError, TextmillError, listed, one_line
from textmill.files.byte_order_mark import marked_encoding
from textmill.files.cache_dir import cache_root, naming_cache_dir
from textmill.files.operating_system import NEW
from textmill.imports import resolve

_FOR_THE_USER = 0o600  # what is piped in may have been readable for nobody else
STANDARD_INPUT = "-"
PIPED_LIST = "@-"
"""A list of files that is piped in, see `file_lists`."""

WHAT_IS_TAKEN = (
    "an iterable of texts or Documents, a function that returns one, a torch Dataset, or a Hugging Face dataset"
)

_BLOCK = 1 << 20
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds between sentences about how much is read; nobody knows of how much
_OBJECT = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_ITEM = re.compile(rf"([A-Za-z][\w-]*=)?(@?-|(?!hf:){_OBJECT}:{_OBJECT})(=[0-9.]+(?:[eE][+-]?[0-9]+)?)?", re.DOTALL)
_WEIGHTED_LIST = re.compile(r"([A-Za-z][\w-]*=)?(@.+?)(=[0-9.]+(?:[eE][+-]?[0-9]+)?)?", re.DOTALL)
_BEGINS_JSON = re.compile(r'\[?\s*\{\s*("(?:[^"\\]|\\.)*"\s*:|\})')
"""An object, perhaps in an array, with its first key or none: text such as "{x: 1}" or "[1]" does not begin so."""

_TEXTS, _PIPED, _LISTS, _CORPORA = "texts", "stdin", "lists", "corpora"  # folders of the cache


@dataclass(frozen=True)
class Keeper:
    """Keeps text that is given once.

    Attributes:
        text_column: the key of mappings with the text, and the field of the file that is written.
        cache_dir: the cache; None for the user's.
        say: called with a sentence about where the text is kept.
        interrupted: called for every document; to stop, it raises.
        format, encoding: of what is piped in, see `Reading`; a program gives text, which has neither.
        written: the texts that were not in the cache before.
    """

    text_column: str = "text"
    cache_dir: str | Path | None = None
    say: Callable[[str], None] = lambda sentence: None
    interrupted: Callable[[], None] = lambda: None
    format: str | None = None
    encoding: str = "utf-8"
    written: list[Path] = field(default_factory=list)

    def forget(self) -> None:
        """Delete the texts that were written: what is kept of them is to have no secrets."""
        for path in self.written:
            path.unlink(missing_ok=True)
            self.say(f"{path} is deleted: it has what is scrubbed from the corpus")

    def keep(self, data: Any, name: str = "data") -> list[str | Path] | None:
        """Return `data` as items that name files, after keeping what is given once; None stays None.

        data: a path or several; then `-` is standard input, and `package.module:attribute`, where no file has that
            name, is an object of a program. Or such an object: see `_JsonLines`.
        name: the setting, for messages.

        Raises:
            ConfigError: nothing is piped in, or the object gives no text.
            DataError: there is no text, an item is something else, or the object fails. Nothing is kept then.
            MissingInputError: there is neither a file nor an object of that name. CannotWriteError.
        """
        if data is None:
            return None
        if not are_paths(data):
            with naming_cache_dir(self.cache_dir):
                return [self._keep_texts(data, name)]
        items = [data] if isinstance(data, str | Path) else data
        with naming_cache_dir(self.cache_dir):
            return [kept for item in items for kept in self._expand(item, name)]

    def _expand(self, item: str | Path, name: str) -> list[str | Path]:
        parts = _parts(item)
        if parts is None:
            return [self._keep_list(item)]
        before, given, after = parts
        if given == PIPED_LIST:
            found: Any = self._keep_piped_list()
        elif given == STANDARD_INPUT:
            found = self._keep_standard_input()
        else:
            try:
                found = resolve(given)
            except ConfigError as error:
                raise MissingInputError(f"{name}: {given} is neither a file nor an object: {error}") from error
            found = found if are_paths(found) else self._keep_texts(found, f"{name} {given}")
        return [f"{before}{path}{after}" for path in ([found] if isinstance(found, str | Path) else found)]

    def _keep_texts(self, given: Any, name: str) -> Path:
        if self.format is not None or self.encoding != "utf-8":
            raise ConfigError(f"{name} is texts of a program: format and encoding say what files are, leave them out")
        rows = _JsonLines(given, self.text_column, name)
        self.say(f"{name}: reading what the program gives")
        kept = self._write(_TEXTS, rows, f"{name} gives no text", lambda path: "jsonl")
        self.say(f"{name}: {rows.sentence()}, kept in {kept}")
        return kept

    def _keep_standard_input(self) -> Path:
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigError("data is standard input (-), and nothing is piped in: name files instead")
        blocks = iter(partial(sys.stdin.buffer.read, _BLOCK), b"")
        kept = self._write(_PIPED, blocks, "standard input is empty", self._format_of)
        self.say(f"standard input is kept in {kept}")
        return kept

    def _keep_list(self, item: str | Path) -> str | Path:
        """Return an item that names a list of files as one that means the same in every folder; others unchanged."""
        match = _WEIGHTED_LIST.fullmatch(str(item))
        if match is None or not is_list(match[2]) or is_kept(match[2]):
            return item
        return f"{match[1] or ''}{self._write_list(read_list(match[2]))}{match[3] or ''}"

    def _keep_piped_list(self) -> str:
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigError("the list of files is standard input (-), and nothing is piped in: name a file instead")
        return self._write_list(listed_paths(sys.stdin.buffer.read(), "standard input"))

    def _write_list(self, paths: Iterable[Path]) -> str:
        lines = (os.fsencode(path) + b"\0" for path in paths)
        return f"{LIST_PREFIX}{self._write(_LISTS, lines, 'the list is empty', lambda path: 'text')}"

    def _format_of(self, path: Path) -> str:
        """Return what the file that was piped in is, unless it was said: JSON Lines, JSON or plain text."""
        if self.format is not None:
            return self.format
        with path.open("rb") as file:
            start = file.read(_BLOCK)
        marked = marked_encoding(start) if self.encoding == "utf-8" else None
        start = start.decode(marked or self.encoding, "replace").removeprefix("\ufeff").lstrip()
        if not _BEGINS_JSON.match(start):
            return "text"
        first, line_end, _ = start.partition("\n")
        try:
            is_row = isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            is_row = not line_end  # the first row is longer than what was read
        return "jsonl" if is_row and start[0] == "{" else "json"

    def _write(self, name: str, blocks: Iterable[bytes], empty: str, format_of: Callable[[Path], str]) -> Path:
        """Return the new file with the content of `blocks` in the folder `name` of the cache.

        Its extension is that of its format. Raises DataError with the text `empty` if all is white space.
        After any error there is no new file.
        """
        folder = files.make_directory(cache_root(self.cache_dir) / name)
        temporary = folder / f"{files.TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        digest, is_empty = hashlib.sha256(), True
        pause = FIRST_PAUSE
        due = time.monotonic() + pause
        try:
            with os.fdopen(os.open(temporary, NEW, _FOR_THE_USER), "wb") as file:
                for block in blocks:
                    self.interrupted()
                    is_empty = is_empty and not block.strip()
                    digest.update(block)
                    file.write(block)
                    if time.monotonic() >= due:
                        self.say(f"{size(file.tell())} read so far")
                        pause = min(2 * pause, LONGEST_PAUSE)
                        due = time.monotonic() + pause
            if is_empty:
                raise DataError(empty)
            extension = NAMED_FORMATS[format_of(temporary)] or ".txt"
            path = folder / f"{digest.hexdigest()[:32]}{extension}"
            self.written.extend([path] if name != _LISTS and not path.exists() else [])
            return files.move_into_place(temporary, path)
        except OSError as error:
            raise files.cannot_write(folder, error) from error
        finally:
            temporary.unlink(missing_ok=True)


def are_paths(data: Any) -> bool:
    """Whether `data` names files: a string or a path, or a list or tuple of nothing else. All else gives texts."""
    if isinstance(data, list | tuple):
        return all(isinstance(item, str | Path) for item in data)
    return isinstance(data, str | Path)


def is_given_once(item: str | Path) -> bool:
    """Whether an item of `data` or `val_data` names standard input or an object of a program, not files."""
    return _parts(item) is not None


def is_kept(item: str | Path) -> bool:
    """Whether an item names a file that a Keeper wrote, and that is still there."""
    path = _path_of(item)
    return _is_cached(path) and path.parent.name in (_TEXTS, _PIPED, _LISTS) and path.is_file()


def kept_under(path: Path) -> str | None:
    """Return the beginning of the SHA-256 that a file had when a Keeper wrote it; None for a file of another origin."""
    return path.stem if is_kept(path) else None


def was_kept(item: str | Path) -> bool:
    """Whether an item names a text or a corpus in the cache that is not there any more."""
    path = _path_of(item)
    return _is_cached(path) and path.parent.name in (_TEXTS, _PIPED, _LISTS, _CORPORA) and not path.exists()


def _path_of(item: str | Path) -> Path:
    return Path(re.sub(r"^([A-Za-z][\w-]*=)?@?|=[0-9.eE+-]+$", "", str(item)))


def _is_cached(path: Path) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", path.stem) is not None


def _parts(item: str | Path) -> tuple[str, str, str] | None:
    """Split an item into `NAME=`, what is given once, and `=WEIGHT`; None for an item that names files."""
    match = _ITEM.fullmatch(str(item))
    if match is None or any(os.path.exists(name) for name in (item, match[2]) if match[2] != "-"):  # noqa: PTH110
        return None
    return match[1] or "", match[2], match[3] or ""


class _JsonLines:
    """Iterates over the texts of `given` as JSON lines, one document per line, the text in the field `column`.

    An item is a string, a Document (parts of one document make one line), or a mapping whose key `column` is the text;
    a mapping without a text (None) is skipped. Only one item is in memory at a time.

    Iterating raises DataError, beginning with `name` and the index of the item, for an item that is something else and
    for an exception in the program; creating it raises ConfigError for an object that yields no items.
    """

    def __init__(self, given: Any, column: str, name: str) -> None:
        self._given, self._column, self._name = given, column, name
        self._documents = self._without_text = 0
        if isinstance(given, Mapping) or hasattr(given, "iterrows"):
            raise ConfigError(
                f"{name} is {type(given).__name__} of {listed(given)}: give one of them, such as splits['train']"
            )
        if isinstance(given, list | tuple) and any(isinstance(item, str | Path) for item in given):
            other = next(item for item in given if not isinstance(item, str | Path))
            raise ConfigError(
                f"{name}: strings in a list are paths, and beside them is {type(other).__name__}: give texts as "
                "Documents, or by a generator"
            )
        indexed = hasattr(given, "__len__") and hasattr(given, "__getitem__")  # as torch's map-style datasets are
        if not (callable(given) or isinstance(given, Iterable) or indexed):
            raise ConfigError(f"{name}: {type(given).__name__} gives no texts: give {WHAT_IS_TAKEN}")

    def sentence(self) -> str:
        """Return the number of documents, as a phrase."""
        without = f" ({self._without_text:,} without a text were skipped)" if self._without_text else ""
        return f"{self._documents:,} document{'s' * (self._documents != 1)}{without}"

    def __iter__(self) -> Iterator[bytes]:
        begun = False  # a document that more parts belong to
        for number, item in self._items():
            text = self._text(item, f"{self._name}: item {number}")
            if text is None:
                self._without_text += 1
                continue
            yield (b"" if begun else b"{" + _as_json(self._column) + b': "') + _as_json(text)[1:-1]
            self._documents += not begun
            begun = bool(getattr(item, "continues", False))
            if not begun:
                yield b'"}\n'
        if begun:
            yield b'"}\n'

    def _items(self) -> Iterator[tuple[int, Any]]:
        number = 0
        try:
            given: Any = self._given
            if callable(given) and not isinstance(given, Iterable):
                given = given()
            items = given if isinstance(given, Iterable) else (given[index] for index in range(len(given)))
            for number, item in enumerate(items, 1):
                yield number - 1, item
        except (TextmillError, MemoryError):
            raise
        except Exception as error:  # of the program, of any kind
            raise DataError(
                f"{self._name} failed at item {number}: {type(error).__name__}: {one_line(error)}"
            ) from error

    def _text(self, item: Any, where: str) -> str | None:
        if not isinstance(item, Mapping):
            return self._string(item, where)
        columns = TextColumns.of(self._column, item)
        if len(columns.names) == 1 and columns.names[0] not in item and "input_ids" in item:
            columns = TextColumns.of("input_ids")  # which are no text
        values: list[str | None] = []
        for column in columns.names:
            if column not in item:
                raise DataError(f"{where} has no {column!r}, it has {listed(item)}: name the text with text_column")
            value = item[column]
            values.append(None if value is None else self._string(value, f"{where}, {column!r}"))
        return columns.fill(values)

    def _string(self, item: Any, where: str) -> str:
        text = item if isinstance(item, str) else getattr(item, "text", None)
        if isinstance(text, str):
            return text
        remedy = f"give {WHAT_IS_TAKEN}"
        if isinstance(item, bytes):
            remedy = "decode it"
        elif isinstance(item, list | tuple | int) or hasattr(item, "dtype"):
            remedy = "give strings; token ids are trained on from a .npy file"
        raise DataError(f"{where} is {type(item).__name__}, not text: {remedy}")


def _as_json(text: str) -> bytes:
    """Return `text` as JSON. Lone surrogates are escaped, so that reading refuses or replaces them as in any file."""
    try:
        return json.dumps(text, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(text).encode("ascii")


def refuse_lost(items: Iterable[str | Path], remedy: str) -> None:
    """Raise MissingInputError, which ends in `remedy`, if one of `items` was kept in the cache and deleted there."""
    for item in filter(was_kept, items):
        raise MissingInputError(
            f"{item} is missing: the run's text, which a program or a pipe gave once, was kept there. {remedy}"
        )
