"""A run writes to files of its own: links in its folder, which somebody else may have put there, are refused."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from textmill.errors import CannotWriteError
from textmill.runs.layout import LOCK, RUN_FILES

IN_PLACE = (LOCK,)
"""Files that are truncated as they are; logs with a second name are copied first, the others replaced as a whole."""


def refuse_links(folder: Path, names: Iterable[str] = (LOCK, *RUN_FILES)) -> None:
    """Raises CannotWriteError if one of the files of a run in `folder` is a link, a pipe or a device.

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
