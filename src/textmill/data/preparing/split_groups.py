"""Documents that must not be parted by the split: those of one folder or repository, or near-copies of each other.

A validation document with a relative in the training text is easier than text from elsewhere will be.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from textmill.data.preparing.common_lines import CommonLines
from textmill.data.preparing.duplicates import NearDuplicates
from textmill.data.preparing.split import Split, Survey
from textmill.data.reading.document import Document
from textmill.errors import DataError

SPLIT_BY = ("folder", "repo", "near")
"""What documents have in common that are kept together; besides, `field:NAME`."""

FIELD = "field:"

_WHOLE = np.iinfo(np.int64).max
_NOUNS = {
    "folder": ("folder", "folders"),
    "repo": ("repository", "repositories"),
    "near": ("group of near-copies", "documents or groups of near-copies"),
    "field": ("value", "values"),
}


class Groups:
    """Which documents of a corpus belong together; documents pass by, one after the other.

    by: `folder`, that of their file; `repo`, the nearest folder above with a `.git`, else the highest below the one
    that all files share; `near`, documents that are like one another (see `NearDuplicates`), also by way of others;
    `field:NAME`, rows with the same value there.
    """

    def __init__(self, by: str, files: Sequence[Path], common: CommonLines) -> None:
        """common: lines by which no documents are alike. Raises MissingExtraError for `near` without rensa."""
        self.by = by
        self._group = None if by.startswith(FIELD) else _group_of(by, files)
        self._file = Path()
        self._hashes = array("Q")
        self._relatives = _Relatives(common) if by == "near" else None

    def opened(self, file: Path) -> None:
        """Note the file that the next documents are from."""
        self._file = file

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield `documents` unchanged."""
        if self._relatives is not None:
            yield from self._relatives.watch(documents)
            return
        for part in documents:
            yield part
            if not part.continues:
                self._hashes.append(_key(self._group(self._file) if self._group else self._value(part)))

    def _value(self, document: Document) -> str:
        if document.group is None:
            raise DataError(f"{document.source} is no row with fields: split_by {self.by} is for JSON and tables")
        return document.group

    def keys(self) -> np.ndarray:
        """Return a hash of its group for every document that has passed, uint64 (documents,)."""
        if self._relatives is None:
            return np.array(self._hashes, dtype=np.uint64)
        return np.array([_key(str(root)) for root in self._relatives.roots()], dtype=np.uint64)


def _group_of(by: str, files: Sequence[Path]) -> Callable[[Path], str]:
    """Return what tells the group of a file: a folder, from that which all files share, so that they can be moved."""
    shared = Path(os.path.commonpath([file.absolute().parent for file in files])) if files else Path.cwd()

    @cache
    def group(folder: Path) -> str:
        found = folder
        if by == "repo":
            repositories = (above for above in (folder, *folder.parents) if (above / ".git").exists())
            below = folder.relative_to(shared).parts
            found = next(repositories, shared / below[0] if below else folder)
        return Path(os.path.relpath(found, shared)).as_posix()

    return lambda file: group(file.absolute().parent)


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def group_keys(by: str, files: Sequence[Path]) -> list[int]:
    """Return a hash of the group of each file, by `folder` or `repo`."""
    group = _group_of(by, files)
    return [_key(group(file)) for file in files]


class _Relatives:
    """Documents that are like one another, found as they pass."""

    def __init__(self, common: CommonLines) -> None:
        self._index = NearDuplicates(common, "--split-by near")
        self._parents: list[int] = []

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        indexed: list[int] = []  # number in the index -> number of the document
        sketch = self._index.sketch()
        for part in documents:
            sketch.add(part.text)
            yield part
            if part.continues:
                continue
            sketch.finish()
            number = len(self._parents)
            self._parents.append(number)
            for other in self._index.like(sketch):
                self._parents[self._root(indexed[other])] = self._root(number)
            if self._index.add(sketch):
                indexed.append(number)
            sketch = self._index.sketch()

    def roots(self) -> list[int]:
        """Return the number of one document of its group for each."""
        return [self._root(number) for number in range(len(self._parents))]

    def _root(self, number: int) -> int:
        while (parent := self._parents[number]) != number:
            self._parents[number] = self._parents[parent]
            number = parent
        return number


def split_by_groups(
    found: Survey, keys: np.ndarray, share: float, by: str, say: Callable[[str], None], documents: Sequence[int] = ()
) -> Split:
    """Return the split of a corpus in which no group is on both sides, with at most `share` of it for validation.

    Groups are taken in the order of their hashes, as long as they fit, or the smallest one if none does. Of a mixture
    each corpus is divided by itself; documents: how many each has. Raises DataError where no group can validate.
    """
    trains = np.full(found.kept.size, _WHOLE, dtype=np.int64)
    ends = np.cumsum(documents) if len(documents) else np.array([found.kept.size])
    for end, count in zip(ends, documents or [found.kept.size]):
        part = slice(end - count, end)
        trains[part][_chosen(keys[part], found.characters[part] * found.kept[part], share)] = 0
    validates = (trains == 0) & found.kept
    (noun, nouns), groups = _NOUNS[by.partition(":")[0]], np.unique(keys[found.kept])
    if not validates.any():
        raise DataError(
            f"split_by {by}: all documents are of one {noun}, so none can validate: give --val-data, --val-split 0, or "
            "leave --split-by out"
        )
    part_of_text = found.characters[validates].sum() / found.kept_characters
    number = np.unique(keys[validates]).size
    say(f"split_by {by}: {number:,} of {groups.size:,} {nouns} validate, {part_of_text:.1%} of the text")
    return Split(found.kept, trains, ends_at_cut=bool(documents))


def _chosen(keys: np.ndarray, characters: np.ndarray, share: float) -> np.ndarray:
    """Return which documents validate, bool (documents,): whole groups, and never all."""
    groups, numbers = np.unique(keys, return_inverse=True)  # in the order of their hashes
    sizes = np.bincount(numbers, weights=characters)
    with_text = np.flatnonzero(sizes)
    chosen = np.zeros(groups.size, dtype=bool)
    if with_text.size < 2:
        return chosen[numbers]
    room = share * sizes.sum()
    for group in with_text:
        if sizes[group] <= room:
            chosen[group] = True
            room -= sizes[group]
    if not chosen.any():
        chosen[with_text[np.argmin(sizes[with_text])]] = True
    return chosen[numbers]
