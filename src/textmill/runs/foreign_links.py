"""A run writes to files of its own: links in its folder, which somebody else may have put there, are refused."""

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from textmill.errors import CannotWriteError
from textmill.runs.layout import CHECKPOINTS, LOCK, RUN_FILES, TENSORBOARD, TOKENIZER

IN_PLACE = (LOCK,)
"""Files that are truncated as they are; logs with a second name are copied first, the others replaced as a whole."""

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
        if not trust or not target.is_dir() or target.stat().st_uid != os.getuid():
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
        problem = _problem(found, name)
        if problem is not None:
            raise CannotWriteError(
                f"{path} is {problem}: a run writes only to files and folders of its own. Replace it by a copy of what "
                "it stands for, or delete it"
            )


def _problem(found: os.stat_result, name: str) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        return "a symbolic link"
    if stat.S_ISDIR(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode):
        return "neither a file nor a folder"
    return "another name of a file elsewhere (a hard link)" if found.st_nlink > 1 and name in IN_PLACE else None
