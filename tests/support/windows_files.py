"""Windows' rules for files, enforced below one folder: what is open stays where it is, and names are narrower.

A file that is open or mapped into memory is neither deleted, renamed nor replaced, and no folder above it is renamed;
`rename` replaces nothing and `replace` no folder; no folder is opened; flushing needs a descriptor that can write;
symbolic links need a privilege; a file that may not be written to is not deleted.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import inspect
import io
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_BAD_NAME = re.compile(r'[:*?"<>|\x00-\x1f\\]|[ .]$|^(con|nul|aux|prn|com[0-9]|lpt[0-9])(\.|$)', re.IGNORECASE)

LONGEST = 259 - 60
"""Characters of a path below the folder: Windows has 259 for the whole, of which a user's folders take some."""

_IN_USE, _EXISTS, _BAD, _NO_PRIVILEGE = 32, 183, 123, 1314  # winerror


def _refusal(kind: type[OSError], number: int, system: int, path: object) -> OSError:
    error = kind(number, f"{os.strerror(number)} (Windows' error {system})", str(path))
    error.winerror = system  # type: ignore[attr-defined]
    return error


class WindowsFiles:
    """The rules below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.refused: list[str] = []

    def below(self, target: Any) -> str | None:
        """Return the absolute path of a name below the folder, None for others and for descriptors."""
        if isinstance(target, int):
            return None
        path = os.path.abspath(os.fsdecode(target))  # noqa: PTH100 - links stay
        return path if Path(path).is_relative_to(self.root) else None

    def check_name(self, path: str) -> None:
        """Raises OSError for a name that Windows does not have, or a path that is too long for it."""
        below = Path(path).relative_to(self.root)
        if any(_BAD_NAME.search(part) for part in below.parts):
            raise self._noted(OSError, errno.EINVAL, _BAD, path)
        if len(str(below)) > LONGEST:
            raise self._noted(FileNotFoundError, errno.ENOENT, 206, path)

    def check_unused(self, path: str) -> None:
        """Raises PermissionError if `path`, or anything below it, is open or mapped in this process."""
        for used in self._open_here():
            if Path(used).is_relative_to(path):
                raise self._noted(PermissionError, errno.EACCES, _IN_USE, f"{path} ({used} is open)")

    def _noted(self, kind: type[OSError], number: int, system: int, path: object) -> OSError:
        error = _refusal(kind, number, system, path)
        self.refused.append(str(error))
        return error

    def _open_here(self) -> Iterator[str]:
        for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208
            try:
                used = os.readlink(f"/proc/self/fd/{entry}")  # noqa: PTH115
            except OSError:
                continue
            if used.startswith(f"{self.root}/"):
                yield used
        for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
            used = line[73:]
            if used.startswith(f"{self.root}/"):
                yield used

    def move(self, real: Callable[..., None], *, replaces: bool) -> Callable[..., None]:
        """Return `os.rename` or, where it `replaces`, `os.replace`."""

        def move(source: Any, target: Any, **options: Any) -> None:
            before, after = self.below(source), self.below(target)
            if before is not None and after is not None:
                self.check_name(after)
                self.check_unused(before)
                if os.path.lexists(after) and before != after:
                    if not replaces:
                        raise self._noted(FileExistsError, errno.EEXIST, _EXISTS, after)
                    if Path(after).is_dir() or Path(before).is_dir():
                        raise self._noted(PermissionError, errno.EACCES, 5, after)
                    self._check_removable(after)
            real(source, target, **options)

        return move

    def _check_removable(self, path: str) -> None:
        self.check_unused(path)
        if not os.lstat(path).st_mode & stat.S_IWUSR:
            raise self._noted(PermissionError, errno.EACCES, 5, path)

    def remove(self, real: Callable[..., None], *, folder: bool) -> Callable[..., None]:
        """Return `os.unlink` or, of a `folder`, `os.rmdir`."""

        def remove(path: Any, **options: Any) -> None:
            below = self.below(path)
            if below is not None and os.path.lexists(below):
                if folder:
                    self.check_unused(below)
                elif Path(below).is_dir():
                    raise self._noted(PermissionError, errno.EACCES, 5, below)
                else:
                    self._check_removable(below)
            real(path, **options)

        return remove

    def open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return `open` or `os.open`."""

        def open_(file: Any, *arguments: Any, **options: Any) -> Any:
            below = self.below(file)
            if below is not None:
                self.check_name(below)
                if Path(below).is_dir():
                    raise self._noted(PermissionError, errno.EACCES, 5, below)
            return real(file, *arguments, **options)

        return open_

    def open_text(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return `open`; text is cp1252 with CRLF, unless the caller says otherwise."""
        signature = inspect.signature(io.open)

        def open_text(*arguments: Any, **options: Any) -> Any:
            bound = signature.bind(*arguments, **options)
            bound.apply_defaults()
            given = bound.arguments
            name = os.readlink(f"/proc/self/fd/{given['file']}") if isinstance(given["file"], int) else given["file"]  # noqa: PTH115
            if "b" not in given["mode"] and self.below(name) is not None:
                if given["newline"] is None and set(given["mode"]) & set("wax+"):
                    given["newline"] = "\r\n"
                if given["encoding"] in (None, "locale"):
                    given["encoding"] = "cp1252"
            return real(**given)

        return open_text

    def make(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return `os.mkdir`."""

        def make(path: Any, *arguments: Any, **options: Any) -> Any:
            below = self.below(path)
            if below is not None:
                self.check_name(below)
            return real(path, *arguments, **options)

        return make

    def link(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return `os.symlink`."""

        def link(source: Any, target: Any, *arguments: Any, **options: Any) -> Any:
            if self.below(target) is not None:
                raise self._noted(OSError, errno.EINVAL, _NO_PRIVILEGE, target)
            return real(source, target, *arguments, **options)

        return link

    def flush(self, real: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return `os.fsync`."""

        def flush(file: Any) -> None:
            descriptor = file if isinstance(file, int) else file.fileno()
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            real(file)

        return flush


@contextmanager
def windows_files(root: Path) -> Iterator[WindowsFiles]:
    """While the block runs, Windows' rules hold below `root` for everything that Python does in this process."""
    rules = WindowsFiles(root)
    with pytest.MonkeyPatch.context() as patch:
        opened = rules.open_text(rules.open(io.open))
        for module in (io, builtins):
            patch.setattr(module, "open", opened)
        patch.setattr(os, "open", rules.open(os.open))
        patch.setattr(os, "rename", rules.move(os.rename, replaces=False))
        patch.setattr(os, "replace", rules.move(os.replace, replaces=True))
        for name in ("unlink", "remove"):
            patch.setattr(os, name, rules.remove(getattr(os, name), folder=False))
        patch.setattr(os, "rmdir", rules.remove(os.rmdir, folder=True))
        patch.setattr(os, "mkdir", rules.make(os.mkdir))
        patch.setattr(os, "symlink", rules.link(os.symlink))
        patch.setattr(os, "fsync", rules.flush(os.fsync))
        patch.setattr(shutil, "_use_fd_functions", False)  # which Windows has not
        yield rules
