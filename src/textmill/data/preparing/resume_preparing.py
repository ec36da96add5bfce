"""A corpus in the making: what a process that was stopped has done of it is kept, and used by the next one.

Beside the folder that is to be made lies `.unfinished-NAME`, which holds the tokenizer once it is learned and the
stores as far as they are written. Nothing in it is ever taken for a corpus.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from textmill import files
from textmill.data.preparing.encoded_chunks import noted
from textmill.errors import DataError, Interrupted, MissingInputError
from textmill.tokenizers import Tokenizer, load_tokenizer

PREFIX = ".unfinished-"

_LOCK, _NOW, _BEFORE, _LEARNED, _SAID = "lock", "now", "before", "learned", "said.json"
_STOPS = (Interrupted, KeyboardInterrupt)


@dataclass(frozen=True)
class Work:
    """Where a corpus is being made.

    Attributes:
        folder: becomes the corpus.
        before: what an earlier process had made of it, or None.
        place: where the tokenizer is kept once it is learned; None where another process makes the same corpus.
    """

    folder: Path
    before: Path | None
    place: Path | None

    def learned(self, key: str) -> tuple[Tokenizer, list[str]] | None:
        """Return the tokenizer that was learned for the corpus `key`, and what was said of it, if it was kept."""
        if self.place is None:
            return None
        try:
            said = files.read_json(self.place / _LEARNED / _SAID)
            return (load_tokenizer(self.place / _LEARNED), list(said["said"])) if said["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError, DataError, MissingInputError):
            return None

    def keep_learned(self, tokenizer: Tokenizer, key: str, said: list[str]) -> None:
        """The tokenizer need not be learned again should this process be stopped. Raises CannotWriteError."""
        if self.place is not None:
            with files.new_directory(self.place / _LEARNED) as folder:
                tokenizer.save(folder)
                files.write_json(folder / _SAID, {"key": key, "said": said})


@contextmanager
def unfinished(final: Path, say: Callable[[str], None]) -> Iterator[Work]:
    """Yield where to make the corpus `final`; when the block ends without an error it is made, durably.

    After a signal or a kill the work is kept for the next call with the same `final`; after any other error nothing is
    left. Raises CannotWriteError.
    """
    root = final.with_name(PREFIX + final.name)
    lock = _lock(root)
    if lock is None:  # another process is at it: two are slower than one, and both are right
        with files.new_directory(final) as folder:
            yield Work(folder, None, None)
        return
    with lock:
        try:
            before = _latest(root)
            with files.new_directory(final, temporary=root / _NOW, kept_after=_STOPS) as folder:
                yield Work(folder, before, root)
        except _STOPS:
            if (root / _LEARNED).is_dir() or noted(root / _NOW) or noted(root / _BEFORE):
                say("what is prepared so far is kept: the same command goes on from there")
            else:
                shutil.rmtree(root, ignore_errors=True)
            raise
        except BaseException:
            shutil.rmtree(root, ignore_errors=True)
            raise
        shutil.rmtree(root, ignore_errors=True)


def _lock(root: Path) -> BinaryIO | None:
    """Return the locked file that makes `root` this process's own; None if another process has it, or without locks."""
    try:
        return files.lock_file(root / _LOCK)
    except files.NoLocksError:
        return None


def _latest(root: Path) -> Path | None:
    """Return the larger of the two attempts that may be there, under the name of the earlier; the other is gone."""
    now, before = root / _NOW, root / _BEFORE
    if noted(now) > noted(before):
        shutil.rmtree(before, ignore_errors=True)
        now.rename(before)
    else:
        shutil.rmtree(now, ignore_errors=True)
    return before if before.is_dir() else None


def is_in_use(root: Path) -> bool:
    """Whether a process is at work in this `.unfinished-` folder."""
    return files.is_locked(root / _LOCK)
