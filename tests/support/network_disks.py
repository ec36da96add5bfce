"""File systems of networks, played by replacing calls: what they lack, and what other machines do to their files.

`network_disk` has no hard links, locks and flushed names; `stale_handles` lets calls meet ESTALE; `cached_names` sees
folders as they were; `open_files_stay` keeps deleted files that are open, as `.nfs...`.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

TWO_PATHS = ("rename", "replace", "link")
ON_NAMES = ("stat", "lstat", "scandir", "listdir", "open", "mkdir", "rename", "replace", "unlink")
ON_FILES = ("fsync", "pread", "preadv", "pwrite")


@contextmanager
def network_disk() -> Iterator[None]:
    """While the block runs, the disk has what file systems of networks lack: no hard links, locks, flushed names."""

    def refuse(number: int) -> Callable[..., NoReturn]:
        def refused(*arguments: object, **options: object) -> NoReturn:
            raise OSError(number, os.strerror(number))

        return refused

    def fsync_of_files(descriptor: int, real: Callable[[int], None] = os.fsync) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refuse(errno.EPERM))
        patch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
        patch.setattr(os, "fsync", fsync_of_files)
        yield


def path_of(target: Any, dir_fd: int | None = None) -> str:
    """Return the absolute path of a name, or of an open descriptor."""
    if isinstance(target, int):
        return str(Path(f"/proc/self/fd/{target}").readlink())
    base = Path(f"/proc/self/fd/{dir_fd}").readlink() if dir_fd is not None else Path.cwd()
    return os.path.normpath(base / os.fspath(target))


def is_below(path: str, root: str) -> bool:
    """Whether `path` is `root` or below it."""
    return path == root or path.startswith(f"{root}/")


@dataclass
class Stale:
    """The calls on files below `root`, and which of them meet ESTALE: the one with the number `at`, and from then on
    calls of its kind on its path, up to `times` in all.
    """

    root: str
    at: int = -1
    times: int = 1
    calls: list[tuple[str, str]] = field(default_factory=list)

    def note(self, kind: str, path: str) -> None:
        if not is_below(path, self.root):
            return
        call = (kind, re.sub(r"\.tmp-(.*?)-[0-9a-f]{8}", r".tmp-\1", path))
        self.calls.append(call)
        if self.times and 0 <= self.at < len(self.calls) and call == self.calls[self.at]:
            self.times -= 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)


class StaleFile(io.FileIO):
    """A file whose writes and closing are calls that may meet ESTALE."""

    stale: Stale

    def write(self, content: Any) -> int:
        self.stale.note("write", str(self.name))
        return super().write(content) or 0

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.stale.note("close", str(self.name))


@contextmanager
def stale_handles(root: Path, at: int = -1, times: int = 1) -> Iterator[Stale]:
    """While the block runs, calls on files below `root` are counted, and some meet ESTALE; see `Stale`."""
    stale = Stale(str(root.resolve()), at, times)

    def patched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any = ".", *arguments: Any, **options: Any) -> Any:
            stale.note(name, path_of(target, options.get("dir_fd", options.get("src_dir_fd"))))
            return real(target, *arguments, **options)

        return call

    def opened(file: Any, mode: str = "r", *arguments: Any, real: Callable[..., Any] = io.open, **options: Any) -> Any:
        if mode != "wb" or isinstance(file, int) or not is_below(path_of(file), stale.root):
            return real(file, mode, *arguments, **options)
        stale.note("create", path_of(file))
        made = StaleFile(path_of(file), "w")
        made.stale = stale
        return made

    with pytest.MonkeyPatch.context() as patch:
        for name in (*ON_NAMES, *ON_FILES):
            patch.setattr(os, name, patched(name, getattr(os, name)))
        for module in (io, builtins):
            patch.setattr(module, "open", opened)
        yield stale


@contextmanager
def cached_names(root: Path, looks: int) -> Iterator[None]:
    """While the block runs, this process sees each folder below `root` as it was at its first look.

    It sees the folder anew when it changes a name in it, or after so many `looks`.
    """
    top = str(root.resolve())
    seen: dict[str, tuple[set[str], Iterator[int]]] = {}
    listdir = os.listdir

    def names(folder: str) -> set[str]:
        known, count = seen.get(folder, (set(), iter(())))
        if next(count, None) is None:
            known = set(listdir(folder))
            seen[folder] = known, iter(range(looks))
        return known

    def look(path: str) -> None:
        """Raise FileNotFoundError for a name that was not there at the first look, unless `path` is outside."""
        folder, name = os.path.split(path)
        if not is_below(folder, top):
            return
        look(folder)
        if name not in names(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def looking(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any = ".", *arguments: Any, **options: Any) -> Any:
            creates = real is os_open and arguments and arguments[0] & os.O_CREAT
            if not isinstance(target, int) and not creates:
                look(path_of(target, options.get("dir_fd")))
            if creates:
                seen.pop(str(Path(path_of(target)).parent), None)
            return real(target, *arguments, **options)

        return call

    def changing(real: Callable[..., Any], paths: int) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            for target in arguments[:paths]:
                seen.pop(str(Path(path_of(target, options.get("dir_fd"))).parent), None)
            return real(*arguments, **options)

        return call

    def opened(file: Any, mode: str = "r", *arguments: Any, real: Callable[..., Any] = io.open, **options: Any) -> Any:
        if "w" in mode and not isinstance(file, int):
            seen.pop(str(Path(path_of(file)).parent), None)
        return real(file, mode, *arguments, **options)

    def listed(folder: Any = ".") -> list[str]:
        path = path_of(folder)
        return sorted(names(path)) if is_below(path, top) else listdir(folder)

    os_open = os.open
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stat", "lstat", "open"):
            patch.setattr(os, name, looking(getattr(os, name)))
        patch.setattr(os, "listdir", listed)
        for module in (io, builtins):
            patch.setattr(module, "open", opened)
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "link", "chmod"):  # chmod: of a library's file
            patch.setattr(os, name, changing(getattr(os, name), 2 if name in TWO_PATHS else 1))
        yield


@contextmanager
def open_files_stay(root: Path) -> Iterator[None]:
    """While the block runs, a file below `root` that is deleted while this process has it open stays as `.nfs...`."""
    top, numbers, unlink = str(root.resolve()), itertools.count(), os.unlink
    kept: list[Path] = []

    def is_open(path: str) -> bool:
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                if str(descriptor.readlink()) == path:
                    return True
        return False

    def unlinked(target: Any, *, dir_fd: int | None = None) -> None:
        path = path_of(target, dir_fd)
        if not is_below(path, top) or not is_open(path):
            return unlink(target, dir_fd=dir_fd)
        if Path(path).name.startswith(".nfs"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        kept.append(Path(path).rename(Path(path).with_name(f".nfs{next(numbers):016x}")))
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "unlink", unlinked)
        yield
    for path in kept:
        if not is_open(str(path)):
            path.unlink(missing_ok=True)
