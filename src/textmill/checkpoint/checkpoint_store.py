"""A run's checkpoints: each is complete or absent, the newest good one is found, old ones are deleted.

A checkpoint exists if and only if its folder is called `step-0000500` and its manifest verifies. There is no pointer
file that could be wrong: the newest is found by listing the folder.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textmill.checkpoint.manifest import manifest_problems, write_manifest
from textmill.console.number_format import size
from textmill.errors import CannotWriteError, DataError, WriteFailedError
from textmill.files import make_directory, new_directory, remove_directory, retry_stale
from textmill.runs.layout import checkpoint_name, checkpoint_step

_HEADROOM = 1.1  # file systems keep some blocks for themselves


class CheckpointStore:
    """The checkpoints under `folder`; the `keep` newest (None: all) and protected ones are kept.

    One process writes to a store at a time: the one that has the lock of the run. `say` is told one sentence per
    damaged checkpoint that is skipped and per old one that cannot be deleted.
    """

    def __init__(self, folder: Path, *, keep: int | None = 3, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.keep = keep
        self.say = say

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, good or damaged, in ascending order."""
        entries = retry_stale(lambda: list(self.folder.iterdir()) if self.folder.is_dir() else [])
        return sorted(step for entry in entries if (step := checkpoint_step(entry)) is not None)

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of `step`, existing or not."""
        return self.folder / checkpoint_name(step)

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of `step`, good or damaged."""
        return retry_stale(self.path(step).is_dir)

    @contextmanager
    def saving(
        self,
        step: int,
        *,
        listed: Mapping[str, dict[str, Any]] | None = None,
        protect: Collection[int] = (),
        expected_bytes: int = 0,
    ) -> Iterator[Path]:
        """Yield a temporary folder for the files of a checkpoint of `step`; complete the checkpoint after the block.

        The checkpoint then survives a power failure; only the `keep` newest, those in `protect` and the new one are
        left. A checkpoint of the same step is replaced. A process that dies at any moment leaves every older checkpoint
        unchanged. `expected_bytes`, if given, must be free on the file system.

        listed: the manifest's entries, by name, of files that other processes wrote; read after the block.

        Raises:
            WriteFailedError: the disk is full or broken; nothing of the attempt is left, older ones are unchanged.
            CannotWriteError: the folder cannot be written to. Whatever the block raises is passed on.
        """
        final = self.path(step)
        make_directory(self.folder)
        self._refuse_full_disk(final, expected_bytes)
        with new_directory(final) as temporary:
            with rename_in_errors(final, temporary):
                yield temporary
            write_manifest(temporary, step, listed)
        self._prune(step, protect)

    def verify(self, checkpoint: int | Path) -> list[str]:
        """Return every problem of a checkpoint, given as its step or its folder; an empty list means it is good."""
        folder = self.path(checkpoint) if isinstance(checkpoint, int) else checkpoint
        if not folder.is_dir():
            return [f"{folder} is not a folder"]
        return manifest_problems(folder, checkpoint_step(folder))

    def latest(self) -> Path | None:
        """Return the newest checkpoint that verifies, or None when none was ever completed.

        Each one that is skipped is reported with its problems. Raises DataError when there are some and none verifies.
        """
        for step in reversed(self.steps()):
            problems = self.verify(step)
            if not problems:
                return self.path(step)
            self.say(f"skipped damaged checkpoint {self.path(step).name}: {'; '.join(problems)}")
        if number := len(self.steps()):
            which, verb = (f"all {number} checkpoints", "are") if number > 1 else ("the only checkpoint", "is")
            raise DataError(f"{which} in {self.folder} {verb} damaged")
        return None

    def discard_after(self, step: int) -> list[int]:
        """Delete the checkpoints newer than `step`, from which the run continues, and return their steps."""
        newer = [other for other in self.steps() if other > step]
        for other in reversed(newer):
            self._delete(other)
        return newer

    def _refuse_full_disk(self, final: Path, expected_bytes: int) -> None:
        needed, free = expected_bytes * _HEADROOM, shutil.disk_usage(self.folder).free
        if expected_bytes and free < needed:
            sizes = f"it needs about {size(needed)}, and {size(free)} are free on the disk"
            raise WriteFailedError(f"cannot write {final}: {sizes}")

    def _prune(self, saved: int, protect: Collection[int]) -> None:
        """Delete all but the `keep` newest checkpoints, the protected ones and the one just saved."""
        if self.keep is None:
            return
        steps = self.steps()
        kept = {saved, *protect, *steps[-max(1, self.keep) :]}
        for step in steps:
            if step not in kept:
                self._delete(step)

    def _delete(self, step: int) -> None:
        """Delete the checkpoint of `step`; warn when that fails, which never stops a run."""
        try:
            remove_directory(self.path(step))
        except OSError as error:
            self.say(f"the old checkpoint {self.path(step)} cannot be deleted: {error.strerror or error}")


@contextmanager
def rename_in_errors(final: Path, temporary: Path) -> Iterator[None]:
    """Name the `final` folder in errors of writing: the temporary one is gone by the time they are read."""
    try:
        yield
    except CannotWriteError as error:
        error.args = (str(error).replace(os.fspath(temporary), os.fspath(final)),)
        raise
