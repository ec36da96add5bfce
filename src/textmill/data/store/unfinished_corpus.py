"""An unfinished corpus: what an interrupted process has done of it is kept, and used by the next one.

Beside the folder that is to be made lies `.unfinished-NAME`, with the tokenizer once it is learned and with the stores
as far as they are written. It is never mistaken for a corpus.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from textmill import files
from textmill.data.preparing.chunks import Encoding
from textmill.data.store.chunk_index import ChunkIndex, IndexedWriter, indexed_bytes
from textmill.data.store.token_shards import ShardWriter
from textmill.errors import CannotWriteError, DataError, Interrupted, MissingInputError
from textmill.files.operating_system import IS_POSIX
from textmill.runs.layout import is_prepared
from textmill.tokenizers import Tokenizer, load_tokenizer

PREFIX = ".unfinished-"

_LOCK, _NOW, _BEFORE, _LEARNED, _SAID = "lock", "now", "before", "learned", "said.json"
_PAUSE = 0.2  # seconds between two looks at the lock
_STOPS = (Interrupted, KeyboardInterrupt)


@dataclass(frozen=True)
class UnfinishedCorpus:
    """A Destination (see preparing): the folder of a corpus that is being made.

    Attributes:
        key: of the corpus.
        folder: becomes the corpus.
        before: what an earlier process made of it, or None.
        kept: the `.unfinished-` folder; None where there are no locks.
        opened: closes the files of the writers.
    """

    key: str
    folder: Path
    before: Path | None = None
    kept: Path | None = None
    opened: ExitStack = field(default_factory=ExitStack)

    def learned(self) -> tuple[Tokenizer, list[str]] | None:
        """Return the tokenizer that was learned for this corpus, and what was said of it, if it was kept."""
        if self.kept is None:
            return None
        try:
            said = files.read_json(self.kept / _LEARNED / _SAID)
            known = said["key"] == self.key and files.with_own_hash(said) == said
            whole = known and not any(
                files.file_problem(self.kept / _LEARNED / name, entry) for name, entry in said["files"].items()
            )
            return (load_tokenizer(self.kept / _LEARNED), list(said["said"])) if whole else None
        except (OSError, ValueError, KeyError, TypeError, DataError, MissingInputError):
            return None

    def keep_learned(self, tokenizer: Tokenizer, said: list[str]) -> None:
        """Keep the tokenizer, so that it is not learned again if this process is stopped. Raises CannotWriteError."""
        if self.kept is not None:
            with files.new_directory(self.kept / _LEARNED) as folder:
                tokenizer.save(folder)
                listed = {path.name: files.file_entry(path) for path in folder.iterdir()}
                files.write_json(folder / _SAID, files.with_own_hash({"key": self.key, "said": said, "files": listed}))

    def chunk_writer(self, folder: str, encoding: Encoding) -> IndexedWriter:
        """Return a writer of the encoded chunks of one side."""
        shards = ShardWriter(self.folder / folder, encoding.tokenizer.vocab_size, encoding.eos_id)
        writer = IndexedWriter(shards, encoding.key)
        self.opened.callback(writer.release)
        return writer

    def id_writer(self, folder: str, vocab_size: int) -> ShardWriter:
        """Return a writer of the ids of one side."""
        writer = ShardWriter(self.folder / folder, vocab_size)
        self.opened.callback(writer.release)
        return writer

    def earlier(self, encoding: Encoding) -> ChunkIndex:
        """Return the chunks of what a stopped process left, and of the corpora beside this one."""
        beside = (self.kept or self.folder).parent
        corpora = [entry for entry in beside.iterdir() if is_prepared(entry)]
        return ChunkIndex(corpora if self.before is None else [self.before, *corpora], encoding.key)


@dataclass(frozen=True)
class Turn:
    """The right to make a corpus.

    Attributes:
        root: its `.unfinished-` folder, locked; None where there are no locks.
        waited: whether another process was making it before.
    """

    root: Path | None
    waited: bool


@contextmanager
def one_at_a_time(final: Path, say: Callable[[str], None], interrupted: Callable[[], None]) -> Iterator[Turn]:
    """Yield a Turn when no other process is making the corpus `final`: while one is, wait, and say so.

    After a signal or a kill the work is kept for the next call with the same `final`; after any other error nothing is
    left. `interrupted` is called while waiting; to stop, it raises. Raises CannotWriteError.
    """
    root = final.with_name(PREFIX + final.name)
    lock, waited = _wait_for_lock(root / _LOCK, say, interrupted)
    if lock is None:
        yield Turn(None, waited)
        return
    kept = False
    try:
        with lock:
            try:
                yield Turn(root, waited)
            except _STOPS:
                kept = (root / _LEARNED).is_dir() or indexed_bytes(root / _NOW) + indexed_bytes(root / _BEFORE) > 0
                if kept:
                    say("what is prepared so far is kept: the same command continues from there")
                raise
            finally:
                if not kept:
                    shutil.rmtree(root, ignore_errors=True)
    finally:
        if not kept and not IS_POSIX:  # Windows deletes no file that is open, as the lock was, or now is by another
            with suppress(OSError):
                (root / _LOCK).unlink()
                root.rmdir()


def _wait_for_lock(
    path: Path, say: Callable[[str], None], interrupted: Callable[[], None]
) -> tuple[BinaryIO | None, bool]:
    """Return the lock `path`, None where the file system has none, and whether another process had it."""
    waited = False
    while True:
        try:
            lock = files.lock_file(path)
        except files.NoLocksError:
            with suppress(OSError):  # another process is as far, or an earlier one kept something there
                path.parent.rmdir()
            return None, waited
        if lock is not None:
            return lock, waited
        if not waited:
            say("another process is preparing this text: waiting for it, to use what it makes")
        waited = True
        interrupted()
        time.sleep(_PAUSE)


@contextmanager
def unfinished(final: Path, key: str, turn: Turn) -> Iterator[UnfinishedCorpus]:
    """Yield the corpus `key` to make; when the block ends without an error it is at `final`, durably."""
    if turn.root is None:
        with files.new_directory(final) as folder, ExitStack() as opened:
            yield UnfinishedCorpus(key, folder, opened=opened)
        return
    before = _latest(turn.root)
    now = turn.root / _NOW
    with files.new_directory(final, temporary=now, kept_after=_STOPS) as folder, ExitStack() as opened:
        yield UnfinishedCorpus(key, folder, before, turn.root, opened)


def _latest(root: Path) -> Path | None:
    """Return the larger of the two attempts that may be there, under the name of the earlier; delete the other."""
    now, before = root / _NOW, root / _BEFORE
    if indexed_bytes(now) > indexed_bytes(before):
        shutil.rmtree(before, ignore_errors=True)
        now.rename(before)
    else:
        shutil.rmtree(now, ignore_errors=True)
    return before if before.is_dir() else None


def is_in_use(root: Path) -> bool:
    """Whether a process is at work in this `.unfinished-` folder."""
    return files.is_locked(root / _LOCK)


def is_empty(root: Path) -> bool:
    """Whether this `.unfinished-` folder has nothing but a lock file: its process was killed as it began."""
    try:
        return all(entry.name == _LOCK for entry in root.iterdir())
    except OSError:
        return False


def remove_empty(root: Path) -> None:
    """Delete this `.unfinished-` folder if `is_empty`, and no process has the lock."""
    with suppress(OSError, CannotWriteError):
        if not is_empty(root):
            return
        try:
            lock = files.lock_file(root / _LOCK)
        except files.NoLocksError:
            root.rmdir()  # its lock file is deleted already
            return
        if lock is None:
            return
        with lock:
            if is_empty(root):
                shutil.rmtree(root, ignore_errors=True)
        if not IS_POSIX and is_empty(root):  # Windows deletes no file that is open, as the lock was
            (root / _LOCK).unlink()
            root.rmdir()
