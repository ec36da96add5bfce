"""Texts that a program yields: any iterable, a function that returns one, datasets of torch and of Hugging Face."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from textmill.errors import ConfigError, DataError, TextmillError, listed, one_line

WHAT_IS_TAKEN = (
    "an iterable of texts or Documents, a function that returns one, a torch Dataset, or a Hugging Face dataset"
)


def are_paths(data: Any) -> bool:
    """Whether `data` names files: a string or a path, or a list or tuple of nothing else. All else gives texts."""
    if isinstance(data, list | tuple):
        return all(isinstance(item, str | Path) for item in data)
    return isinstance(data, str | Path)


class TextRows:
    """Iterates over the texts of `given` as JSON lines, one document per line, the text in the field `column`.

    An item is a string, a Document (parts of one document make one line), or a mapping whose key `column` is the text;
    a mapping without a text (None) is skipped. Only one item is in memory at a time.

    Iterating raises DataError, beginning with `name` and the index of the item, for an item that is something else and
    for an exception in the program; creating it raises ConfigError for an object that yields no items.
    """

    def __init__(self, given: Any, column: str, name: str) -> None:
        self._column, self._name = column, name
        self._index = self._documents = self._without_text = 0
        self._given = given
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
        if not (callable(given) or _is_iterable(given) or _is_indexed(given)):
            raise ConfigError(f"{name}: {type(given).__name__} gives no texts: give {WHAT_IS_TAKEN}")

    def sentence(self) -> str:
        """Return the number of documents, as a phrase."""
        without = f" ({self._without_text:,} without a text were skipped)" if self._without_text else ""
        return f"{self._documents:,} document{'s' * (self._documents != 1)}{without}"

    def __iter__(self) -> Iterator[bytes]:
        begun = False  # a document that more parts belong to
        for item in self._items():
            text = self._text(item)
            self._index += 1
            if text is None:
                self._without_text += 1
                continue
            more = bool(getattr(item, "continues", False))
            yield (b"" if begun else b"{" + _as_json(self._column) + b': "') + _as_json(text)[1:-1]
            if not more:
                yield b'"}\n'
            self._documents += not begun
            begun = more
        if begun:
            yield b'"}\n'

    def _items(self) -> Iterator[Any]:
        try:
            is_function = callable(self._given) and not _is_iterable(self._given)
            given: Any = self._given() if is_function else self._given
            yield from given if _is_iterable(given) else (given[index] for index in range(len(given)))
        except (TextmillError, MemoryError):
            raise
        except Exception as error:  # of the program, of any kind
            raise DataError(
                f"{self._name} failed at item {self._index}: {type(error).__name__}: {one_line(error)}"
            ) from error

    def _text(self, item: Any) -> str | None:
        where, column = f"{self._name}: item {self._index}", self._column
        if isinstance(item, Mapping):
            if column not in item:
                raise DataError(f"{where} has no {column!r}, it has {listed(item)}: name the text with text_column")
            where, item = f"{where}, {column!r}", item[column]
            if item is None:
                return None
        text = item if isinstance(item, str) else getattr(item, "text", None)
        if isinstance(text, str):
            return text
        remedy = f"give {WHAT_IS_TAKEN}"
        if isinstance(item, bytes):
            remedy = "decode it"
        elif isinstance(item, list | tuple | int) or hasattr(item, "dtype"):
            remedy = "give strings; token ids are trained on from a .npy file"
        raise DataError(f"{where} is {type(item).__name__}, not text: {remedy}")


def _is_iterable(given: Any) -> bool:
    return hasattr(type(given), "__iter__")


def _is_indexed(given: Any) -> bool:
    """Whether `given` is read by index, as torch's map-style datasets are."""
    return hasattr(given, "__len__") and hasattr(given, "__getitem__")


def _as_json(text: str) -> bytes:
    """Return `text` as JSON. Lone surrogates are escaped, so that reading refuses or replaces them as in any file."""
    try:
        return json.dumps(text, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(text).encode("ascii")
