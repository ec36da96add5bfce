"""Faults for tests: every change that Python makes to the file system is an operation that can be counted and hit.

`watched` numbers them and lets a function die, tear or fail at the i-th. Death is the real one (`exit`, in a child
process) or, much faster, a disk that nothing reaches any more (`die`): a dead process cannot tidy up. `Disk` replays a
record of operations as a disk with a power failure would: what was not flushed may be lost.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

CRASHED = 137

NAMES = ("config.json", "model.safetensors", "optimizer.safetensors", "state.json")


def content(name: str, version: int) -> bytes:
    """Return what a file of this name holds in this version."""
    return random.Random(f"{name} {version}").randbytes(400)


def writer(version: int) -> Callable[[Path], None]:
    """Return what writes a checkpoint whose every file tells which version it is; large files in two pieces."""

    def write(folder: Path) -> None:
        for name in NAMES:
            with (folder / name).open("wb") as file:
                file.write(content(name, version)[:150])
                file.write(content(name, version)[150:])

    return write


def version_of(folder: Path, names: tuple[str, ...] = NAMES) -> int:
    """Return the one version that every file of the folder has."""
    found = [[v for v in (1, 2) if (folder / name).read_bytes() == content(name, v)] for name in names]
    assert found in ([[1]] * len(names), [[2]] * len(names))
    return found[0][0]


class Died(BaseException):
    """The process is dead as far as the disk is concerned."""


@dataclass
class Operations:
    """What was done, in order. The operation with the number `at` meets `fault`.

    "die" and "exit": neither it nor any later one happens. "tear" and "torn exit": the same, after half of a write.
    "error": it alone fails, as on a full disk.
    """

    root: Path
    at: int = -1
    fault: str = ""
    dead: bool = False
    record: list[tuple[Any, ...]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def note(self, *event: Any) -> None:
        """Record an operation that is about to happen, or let the fault happen instead. The caller holds the lock."""
        if self.dead:
            raise Died
        if len(self.record) == self.at:
            if self.fault == "error":
                self.at = -1  # the clean-up that follows is not to fail too
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.die()
        self.record.append(event)

    def tears(self) -> bool:
        """Whether the write that is about to happen is to stop half-way."""
        return not self.dead and len(self.record) == self.at and self.fault in ("tear", "torn exit")

    def die(self) -> NoReturn:
        """Nothing reaches the disk from now on."""
        if self.fault.endswith("exit"):
            os._exit(CRASHED)
        self.dead = True
        raise Died

    def path(self, target: Any, dir_fd: int | None = None) -> str:
        """Return the absolute path of a name, or of an open descriptor."""
        if isinstance(target, int):
            return str(Path(f"/proc/self/fd/{target}").readlink())
        base = Path(f"/proc/self/fd/{dir_fd}").readlink() if dir_fd is not None else Path.cwd()
        return os.path.normpath(base / target)

    def watches(self, path: str) -> bool:
        return Path(path).is_relative_to(self.root)


class WatchedFile(io.FileIO):
    """An unbuffered file whose writes are operations."""

    operations: Operations

    def write(self, content: Any) -> int:
        ops, data = self.operations, bytes(content)
        with ops.lock:
            if ops.tears():
                super().write(data[: len(data) // 2])
                ops.die()
            ops.note("write", str(Path(str(self.name)).absolute()), data)
            return super().write(data) or 0


@contextmanager
def watched(root: Path, at: int = -1, fault: str = "") -> Iterator[Operations]:
    """While the block runs, changes below `root` are recorded, and the `at`-th meets its fault."""
    ops = Operations(root.resolve(), at, fault)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "link"):
            patch.setattr(os, name, _watch(ops, name, getattr(os, name)))
        for name in ("pwrite", "ftruncate"):
            patch.setattr(os, name, _watch_in_place(ops, name, getattr(os, name)))
        watched_open = _watch_open(ops, io.open)
        for module in (io, builtins):
            patch.setattr(module, "open", watched_open)
        patch.setattr(shutil, "_USE_CP_SENDFILE", False, raising=False)  # copies then write through the watched file
        yield ops


def is_of_library(path: str) -> bool:
    """Whether a library writes the file, in calls that are not watched, and it is flushed for the first time."""
    return path.endswith(".safetensors") and ".tmp-" in path and Path(path).stat().st_nlink == 1


def _watch(ops: Operations, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def operation(*arguments: Any, **options: Any) -> Any:
        paths = [
            ops.path(a, options.get("dir_fd")) for a in arguments[: 2 if name in ("rename", "replace", "link") else 1]
        ]
        with ops.lock:
            if not ops.watches(paths[0]):
                return real(*arguments, **options)
            if ops.tears() and name == "fsync" and is_of_library(paths[0]):
                os.truncate(paths[0], Path(paths[0]).stat().st_size // 2)
                ops.die()
            if name == "fsync":  # recorded for the model, with what it makes durable; the real disk need not turn
                ops.note(name, *paths, b"" if Path(paths[0]).is_dir() else Path(paths[0]).read_bytes())
                return None
            ops.note(name, *paths)
            try:
                return real(*arguments, **options)
            except OSError:  # such as making a directory that exists: nothing has changed
                ops.record.pop()
                raise

    return operation


def _watch_in_place(ops: Operations, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Watch `os.pwrite` and `os.ftruncate`, which logs are written with."""

    def operation(descriptor: int, *arguments: Any) -> Any:
        path = ops.path(descriptor)
        if not ops.watches(path):
            return real(descriptor, *arguments)
        with ops.lock:
            if name == "pwrite":
                content, offset = bytes(arguments[0]), arguments[1]
                if ops.tears():
                    real(descriptor, content[: len(content) // 2], offset)
                    ops.die()
                ops.note(name, path, content, offset)
            else:
                ops.note(name, path, *arguments)
            return real(descriptor, *arguments)

    return operation


def _watch_open(ops: Operations, real: Callable[..., Any]) -> Callable[..., Any]:
    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode != "wb" or not ops.watches(ops.path(file)):
            return real(file, mode, *arguments, **options)
        with ops.lock:
            ops.note("create", ops.path(file))
            watched_file = WatchedFile(file, "w")
        watched_file.operations = ops
        return watched_file

    return opened


def flip_bits(folder: Path, trials: int, seed: int) -> Iterator[Path]:
    """Flip one random bit below the folder at a time, every file in its turn, and put it back."""
    generator = random.Random(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for trial in range(trials):
        path = paths[trial % len(paths)]
        whole = path.read_bytes()
        position, bit = generator.randrange(len(whole)), 1 << generator.randrange(8)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        yield path
        path.write_bytes(whole)


FLIPS = ("any", "digit", "key", "space", "first", "last")
"""Where a bit is flipped: anywhere; in a number (which stays one), a name or the white space of text; at an end."""

DAMAGES = ("cut", "empty", "zeros")
"""What else happens to files: the second half is lost, all is lost, a block of 4 kB is zeros."""

_SPOTS = {"digit": rb"\d", "key": rb"[A-Za-z_](?=\w*\"?:)", "space": rb"\s"}


def damaged(content: bytes, kind: str, generator: random.Random) -> bytes:
    """Return `content`, which is not empty, with one damage of a kind of FLIPS or DAMAGES."""
    if kind in DAMAGES:
        start = generator.randrange(0, len(content), 4096)
        zeros = bytes(len(content[start : start + 4096]))
        replaced = content[:start] + zeros + content[start + 4096 :]
        return {"cut": content[: len(content) // 2], "empty": b"", "zeros": replaced}[kind]
    is_text = b"\0" not in content
    spots = [match.start() for match in re.finditer(_SPOTS[kind], content)] if is_text and kind in _SPOTS else []
    at = {"first": 0, "last": len(content) - 1}.get(kind, generator.choice(spots or range(len(content))))
    bits = [1 << bit for bit in range(8)]
    if spots and kind == "digit":
        bits = [bit for bit in bits if 48 <= content[at] ^ bit <= 57]
    return content[:at] + bytes([content[at] ^ generator.choice(bits)]) + content[at + 1 :]


def in_child(act: Callable[[], None]) -> int:
    """Return the exit code of a child process that does `act`: 0, CRASHED, or 1 with a traceback on stderr."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class File:
    """A file of the model disk: what programs see, and what a power failure leaves of it."""

    def __init__(self, seen: bytes = b"", kept: bytes = b"") -> None:
        self.seen, self.kept = seen, kept


class Folder:
    """A directory of the model disk. Entries that were not flushed may be there after a power failure, or not."""

    def __init__(self) -> None:
        self.seen: dict[str, File | Folder] = {}
        self.kept: dict[str, File | Folder] = {}


class Disk:
    """A model of the tree below `root`, all of it durable at first, changed by recorded operations."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.top = self._load(self.root)

    def _load(self, folder: Path) -> Folder:
        loaded = Folder()
        for entry in folder.iterdir():
            content = self._load(entry) if entry.is_dir() else File(entry.read_bytes(), entry.read_bytes())
            loaded.seen[entry.name] = content
        loaded.kept = dict(loaded.seen)
        return loaded

    def show(self, event: tuple[Any, ...]) -> None:
        """Show what programs see before `event` is done: a library wrote the file that is flushed now."""
        if event[0] == "fsync":
            folder, name = self._parent(event[1])
            target = folder.seen.setdefault(name, File()) if name else self.top
            if isinstance(target, File):
                target.seen = event[2]

    def apply(self, event: tuple[Any, ...]) -> None:
        """Do one recorded operation."""
        kind, path = event[0], event[1]
        folder, name = self._parent(path)
        if kind == "create":
            folder.seen[name] = File()
        elif kind == "mkdir":
            folder.seen[name] = Folder()
        elif kind == "write":
            file = folder.seen[name]
            assert isinstance(file, File)
            file.seen += event[2]
        elif kind == "pwrite":
            file = folder.seen.setdefault(name, File())
            assert isinstance(file, File)
            file.seen = file.seen[: event[3]].ljust(event[3], b"\0") + event[2] + file.seen[event[3] + len(event[2]) :]
        elif kind == "ftruncate":
            file = folder.seen.setdefault(name, File())
            assert isinstance(file, File)
            file.seen = file.seen[: event[2]].ljust(event[2], b"\0")
        elif kind == "fsync":
            target = folder.seen.setdefault(name, File()) if name else self.top
            if isinstance(target, File):  # its writes are not all recorded: a library's own are not
                target.seen = target.kept = event[2]
            else:
                target.kept = dict(target.seen)
        elif kind in ("rename", "replace"):
            other, other_name = self._parent(event[2])
            other.seen[other_name] = folder.seen.pop(name)
        elif kind == "link":
            other, other_name = self._parent(event[2])
            other.seen[other_name] = folder.seen[name]
        else:
            folder.seen.pop(name, None)

    def _parent(self, path: str) -> tuple[Folder, str]:
        parts = Path(path).relative_to(self.root).parts
        folder: Any = self.top
        for part in parts[:-1]:
            folder = folder.seen[part]
        return folder, parts[-1] if parts else ""

    def after_power_failure(self, target: Path, left: PowerFailure) -> None:
        """Write what is `left` into `target`."""

        def write(folder: Folder, place: Path) -> None:
            place.mkdir()
            for name, entry in (folder.seen if left.names() else folder.kept).items():
                if isinstance(entry, Folder):
                    write(entry, place / name)
                else:
                    (place / name).write_bytes(left.content(entry))

        write(self.top, target)


class NothingUnflushed:
    """Content that was not flushed is lost; names that were not are lost, or all survive."""

    def __init__(self, *, names_survive: bool) -> None:
        self.names_survive = names_survive

    def names(self) -> bool:
        """Whether the names in a folder are as programs saw them, and not as they were flushed."""
        return self.names_survive

    def content(self, file: File) -> bytes:
        """Return what is left of a file."""
        return file.kept


class TornWrites:
    """What was not flushed is left in part, by chance: names of one folder and not of another; of a file the first
    half of what it grew by, all its length and zeros for content, or some of its blocks and not others.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def names(self) -> bool:
        return self.random.random() < 0.5

    def content(self, file: File) -> bytes:
        old, new = file.kept, file.seen
        if old == new:
            return new
        way = self.random.choice(("lost", "all", "half", "zeros", "blocks"))
        if way == "half":
            middle = (len(old) + len(new)) // 2
            return new[:middle] if len(new) > len(old) else new[: len(new) // 2]
        if way == "blocks":
            size, old = self.random.choice((512, 4096)), old.ljust(len(new), b"\0")
            starts = range(0, len(new), size)
            return b"".join((new if self.random.random() < 0.5 else old)[at : at + size] for at in starts)[: len(new)]
        return {"lost": old, "all": new, "zeros": old[: len(new)].ljust(len(new), b"\0")}[way]


PowerFailure = NothingUnflushed | TornWrites
