"""A run writes to files of its own: links in its folder, which somebody else may have put there, are refused."""

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from textmill.errors import CannotWriteError
from textmill.files.operating_system import is_own
from textmill.runs.layout import CHECKPOINTS, LOCK, RUN_FILES, TENSORBOARD, TOKENIZER

_FILLED = (CHECKPOINTS, TENSORBOARD, TOKENIZER)
"""Folders in which a run makes, replaces and deletes files and folders."""


def refuse_foreign_links(folder: Path, *, trust: bool, say: Callable[[str], None]) -> None:
    """Raises CannotWriteError if anything that a run writes to in `folder` is a link, a pipe or a device.

    With `trust`, `checkpoints` may be a link to a folder of the same user, as on a larger disk, which is said.
    """
    checkpoints = folder / CHECKPOINTS
    names = [LOCK, *RUN_FILES]
    if checkpoints.is_symlink():
        target = checkpoints.resolve()
        if not trust or not target.is_dir() or not is_own(target.stat()):
            raise CannotWriteError(
                f"{checkpoints} is a symbolic link, to {target}: checkpoints are written and deleted there only if it "
                "is a folder of yours and you add --trust"
            )
        say(f"the checkpoints are in {target}, to which {checkpoints} is a link")
        names.remove(CHECKPOINTS)
    refuse_links(folder, names)
    for filled in _FILLED:
        if (folder / filled).is_dir():
            refuse_links(folder / filled, sorted(path.name for path in (folder / filled).iterdir()))


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raises CannotWriteError if one of these files in `folder` is a link, a pipe or a device.

    The folder itself may be reached through a link: the person named it.
    """
    for name in names:
        path = folder / name
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        problem = _problem(found)
        if problem is not None:
            raise CannotWriteError(
                f"{path} is {problem}: a run writes only to files and folders of its own. Replace it by a copy of what "
                "it stands for, or delete it"
            )


def _problem(found: os.stat_result) -> str | None:
    """Return what is wrong with a file; a second name (hard link) is not: `own_file` and `lock_file` replace such."""
    if stat.S_ISLNK(found.st_mode):
        return "a symbolic link"
    return None if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode) else "neither a file nor a folder"
