"""The files of a prepared corpus: their hashes, and whether they still are what was written.

The description of a corpus lists every other file with its size and SHA-256, and its own hash. A file is read and
hashed when its corpus is opened for the first time; a note in the cache folder, with the size, times and inode of the
file, spares the next opening from reading it again while these are the same.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import time_ns
from typing import Any

from textmill import files
from textmill.console.number_format import size
from textmill.data.store.token_shards import DOCUMENTS
from textmill.errors import DataError, TextmillError
from textmill.files import read_object
from textmill.files.cache_dir import cache_root
from textmill.runs.layout import CORPUS_REPORT, FURTHER, PREPARED, TOKENS

Listed = dict[str, dict[str, Any]]
"""The path of a file within the corpus -> its size and SHA-256."""

_NOT_LISTED = {PREPARED, CORPUS_REPORT}  # the description itself, and the page that people may edit
_THREADS = 4  # hashing releases the interpreter lock
_WORTH_TELLING = 4_000_000_000  # bytes: seconds of hashing
SETTLED = 2_000_000_000  # ns. A file that has just changed may change again within one tick of the clock


def list_corpus_files(folder: Path) -> Listed:
    """Return the files of a corpus that was just made. Ids are listed with the hashes that were taken on writing."""
    written: Listed = {}
    for path in folder.rglob(TOKENS):
        written |= _files_of_store(folder, path.parent)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in _NOT_LISTED]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: {"size": path.stat().st_size, "sha256": written[name]["sha256"]}
        if name in written
        else files.file_entry(path)
        for name, path in names.items()
    }


def list_earlier_files(folder: Path) -> Listed:
    """Return the files whose hashes a corpus has that was prepared before its description listed them: the ids."""
    listed: Listed = {}
    for store in (folder / "train", folder / "validation", *(folder / FURTHER).glob("*")):
        if store.is_dir():
            listed |= _files_of_store(folder, store)
    return listed


def _files_of_store(folder: Path, store: Path) -> Listed:
    """Return the files that the description of a token store lists. Raises DataError if it is damaged."""
    prefix = store.relative_to(folder).as_posix()
    with files.report_damage(store / TOKENS, "prepare the corpus again"):
        described = files.read_json(store / TOKENS)
        width = {"uint16": 2, "uint32": 4}[described["dtype"]]
        shards = {
            f"{prefix}/{shard['file']}": {"size": shard["tokens"] * width, "sha256": shard["sha256"]}
            for shard in described["shards"]
        }
        documents = store / DOCUMENTS
        found = documents.stat().st_size if documents.is_file() else 0
        return {**shards, f"{prefix}/{DOCUMENTS}": {"size": found, "sha256": described["documents_sha256"]}}


def problems_of_files(
    folder: Path, listed: Listed, *, everything: bool = False, say: Callable[[str], None] = lambda sentence: None
) -> list[str]:
    """Return what is wrong with the files of a corpus, one phrase each; [] if they are as they were written.

    A file that was checked before and is unchanged since is not read, unless `everything` is to be.
    """
    note = _Note(folder)
    unread = [name for name in listed if everything or not note.knows(name, listed[name]["sha256"])]
    total = sum(listed[name]["size"] for name in unread)
    if total >= _WORTH_TELLING:
        say(f"{folder}: {size(total)} are checked for damage, which is done once")
    before = {name: _identity(folder / name) for name in unread}
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            found = list(pool.map(lambda name: files.file_problem(folder / name, listed[name]), unread))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    whole = [name for name, problem in zip(unread, found) if problem is None]
    note.add({name: (listed[name]["sha256"], before[name]) for name in whole}, listed)
    return [f"{folder / name} {problem}" for name, problem in zip(unread, found) if problem is not None]


def _identity(path: Path) -> list[int]:
    """Return what changes whenever a file does: size, times and inode; [] if it cannot be looked at.

    The second time cannot be set by programs, so a file that was changed and given its old date back is noticed.
    """
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class _Note:
    """What was found whole in a corpus: the path of a file -> its SHA-256 and its identity."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._known: dict[str, Any] = {}
        with suppress(OSError, TextmillError):
            name = files.json_sha256(str(folder.resolve()).encode("utf-8", "backslashreplace").decode())[:32]
            self._path = cache_root() / "checked" / f"{name}.json"
            self._known = read_object(self._path)

    def knows(self, name: str, sha256: str) -> bool:
        """Whether the file had this hash when it was read last, and has not changed since."""
        identity = _identity(self._folder / name)
        return bool(identity) and self._known.get(name) == [sha256, identity]

    def add(self, whole: dict[str, tuple[str, list[int]]], listed: Iterable[str]) -> None:
        """Note files that were just read. One that changed moments before is not noted. Without a cache, do nothing."""
        latest = time_ns() - SETTLED
        new = {name: [digest, found] for name, (digest, found) in whole.items() if found and found[2] < latest}
        if self._path is None or all(self._known.get(name) == entry for name, entry in new.items()):
            return
        kept = {name: entry for name, entry in self._known.items() if name in listed}
        with suppress(OSError, TextmillError):
            files.write_json(self._path, {**kept, **new})


def refuse_damaged(folder: Path, problems: list[str]) -> None:
    """Raise DataError if anything is wrong with the files of a corpus."""
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}: {remedy(folder)}")


def remedy(folder: Path) -> str:
    """Return what to do about a damaged corpus."""
    return f"restore it from a copy, or delete {folder} and prepare the corpus again"
