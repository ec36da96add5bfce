"""The cache of prepared corpora: each in a folder that is named after its key; found, listed and deleted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from textmill.data.store.corpus import Corpus, open_corpus, sources_of
from textmill.data.store.unfinished_corpus import PREFIX, is_empty, is_in_use, remove_empty
from textmill.errors import DataError, MissingInputError, RunExistsError
from textmill.files import cannot_write, remove_directory
from textmill.files.cache_dir import cache_root
from textmill.runs.layout import is_prepared


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return the folder of the prepared corpora in `cache_dir`, or in the user's cache folder (XDG)."""
    return cache_root(cache_dir) / "corpora"


def find_corpus(
    key: str, output: Path | None, cache_dir: str | Path | None, say: Callable[[str], None]
) -> tuple[Path, Corpus | None]:
    """Return the folder for the corpus `key`, which is `output` or in the cache, and the corpus if it is there whole.

    Raises RunExistsError if `output` contains something else.
    """
    if output is not None:
        return output, _in_output(output, key, say)
    folder = cache_folder(cache_dir) / key[:32]
    return folder, _in_cache(folder, key, say)


def _in_cache(folder: Path, key: str, say: Callable[[str], None]) -> Corpus | None:
    if not folder.exists():
        return None
    try:
        corpus = open_corpus(folder, say=say)
    except (DataError, MissingInputError) as error:
        problem, _, remedy = str(error).rpartition(": ")
        say(f"the cached corpus is damaged and is made again ({problem or remedy})")
        return None
    if corpus.key != key:
        return None
    for note in corpus.notes:
        say(note)
    return corpus


def _in_output(folder: Path, key: str, say: Callable[[str], None]) -> Corpus | None:
    if is_prepared(folder):
        corpus = open_corpus(folder, say=say)
        if corpus.key == key:
            return corpus
    elif not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    raise RunExistsError(f"{folder} exists and contains something else: choose another output folder, or remove it")


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
    """Return the corpora in the cache `folder`, least recently used first.

    Unfinished ones too, unless they are empty or in use.
    """
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        unfinished = path.name.startswith(PREFIX)
        hidden = path.name.startswith(".") and not unfinished
        if path.is_dir() and not hidden and not (unfinished and (is_empty(path) or is_in_use(path))):
            files = [file.stat() for file in path.rglob("*") if file.is_file()]
            used = max((max(one.st_atime, one.st_mtime) for one in files), default=path.stat().st_mtime)
            size = sum(one.st_size for one in files)
            found.append(CacheEntry(path.name, size, used, not unfinished, sources_of(path)))
    return sorted(found, key=lambda entry: entry.used_at)


def delete_empty(folder: Path) -> None:
    """Delete what processes left in the cache `folder` that were killed before they had made anything."""
    for path in [*folder.glob(f"{PREFIX}*")]:
        remove_empty(path)


def delete_entries(folder: Path, entries: Iterable[CacheEntry]) -> None:
    """Delete entries of the cache `folder`. Raises CannotWriteError."""
    for entry in entries:
        try:
            remove_directory(folder / entry.name)
        except OSError as error:
            raise cannot_write(folder / entry.name, error) from error
