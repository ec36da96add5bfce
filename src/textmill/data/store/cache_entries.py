"""What the cache of prepared corpora contains, for people who list and clear it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textmill.data.store.unfinished_corpus import PREFIX, is_in_use
from textmill.files import cannot_write, remove_directory
from textmill.runs.layout import PREPARED
from textmill.runs.read_run import read_object


@dataclass(frozen=True)
class CacheEntry:
    """One prepared corpus. bytes: on disk. used_at: time of the last use, in seconds since 1970.

    finished: whether preparing it was completed. sources: what it was prepared from; empty if damaged or unfinished.
    """

    name: str
    bytes: int
    used_at: float
    finished: bool
    sources: list[str]

    def is_called(self, word: str) -> bool:
        """Whether the name, or the hash in it, begins with `word`."""
        return self.name.startswith(word) or self.name.rpartition("-")[2].startswith(word)


def cache_entries(folder: Path) -> list[CacheEntry]:
    """Return the corpora in the cache `folder`, least recently used first; unfinished ones too, unless in use."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        unfinished = path.name.startswith(PREFIX)
        hidden = path.name.startswith(".") and not unfinished
        if path.is_dir() and not hidden and not (unfinished and is_in_use(path)):
            files = [file.stat() for file in path.rglob("*") if file.is_file()]
            used = max((max(one.st_atime, one.st_mtime) for one in files), default=path.stat().st_mtime)
            sources = read_object(path / PREPARED).get("sources")
            size = sum(one.st_size for one in files)
            found.append(
                CacheEntry(path.name, size, used, not unfinished, sources if isinstance(sources, list) else [])
            )
    return sorted(found, key=lambda entry: entry.used_at)


def delete_entries(folder: Path, entries: Iterable[CacheEntry]) -> None:
    """Delete entries of the cache `folder`. Raises CannotWriteError."""
    for entry in entries:
        try:
            remove_directory(folder / entry.name)
        except OSError as error:
            raise cannot_write(folder / entry.name, error) from error
