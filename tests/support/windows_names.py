"""What textmill finds on Windows: none of the names of POSIX, and `msvcrt.locking`.

Only imports from textmill's own modules are answered so; libraries and Python's own modules keep what they have.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import importlib.util
import os
import signal
import stat
import struct
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import pytest

ABSENT_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"}

ABSENT: dict[str, set[str]] = {
    "os": {
        *("pread", "preadv", "pwrite", "pwritev", "fchmod", "fchown", "chown", "lchown", "mkfifo", "mknod", "statvfs"),
        *("getuid", "geteuid", "getgid", "getegid", "getloadavg", "sched_getaffinity", "sched_setaffinity", "uname"),
        *("fork", "forkpty", "killpg", "getpgid", "getpgrp", "setsid", "wait", "nice", "sysconf", "posix_fadvise"),
        *("posix_fallocate", "sendfile", "copy_file_range", "fdatasync", "sync", "register_at_fork", "get_blocking"),
        *("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_SYNC", "O_DSYNC", "O_TMPFILE", "O_NOATIME"),
    },
    "signal": {
        *("SIGHUP", "SIGXCPU", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGQUIT", "SIGTSTP", "SIGCONT"),
        *("pthread_kill", "pthread_sigmask", "alarm", "setitimer", "siginterrupt", "sigwait"),
    },
}

BINARY = 0x8000
"""O_BINARY, which Linux takes for O_LARGEFILE."""

BREAK = 21
"""SIGBREAK; the signal with this number on Linux stops a process that does not handle it."""

_LOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux


class _Without(types.ModuleType):
    """A module without some of its names and with others added."""

    def __init__(self, real: types.ModuleType, absent: set[str], added: Mapping[str, Any]) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _absent=absent, **added)

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__["_absent"]:
            raise AttributeError(f"Windows has no {self.__name__}.{name}")
        return getattr(self.__dict__["_real"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__dict__["_real"], name, value)


def hide_posix() -> None:
    """Let textmill find Windows' names from now on. Call it before textmill is imported, after heavy libraries."""
    assert not any(name == "textmill" or name.startswith("textmill.") for name in sys.modules)
    builtins.__import__ = _on_windows(builtins.__import__)


def loaded_on_windows(name: str) -> Any:
    """Return a module of textmill as Windows would load it, beside the one that is loaded already."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "__import__", _on_windows(builtins.__import__))
        spec.loader.exec_module(module)
    return module


def _on_windows(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return `__import__` that answers modules of textmill as Windows would."""
    found: dict[str, types.ModuleType] = {
        "os": _Without(os, ABSENT["os"], {"O_BINARY": BINARY, "open": _open_bytes}),
        "signal": _Without(signal, ABSENT["signal"], {"SIGBREAK": BREAK}),
        "sys": _Without(sys, set(), {"platform": "win32"}),
    }

    def import_module(name: str, package: str | None = None) -> types.ModuleType:
        if name in ABSENT_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name == "msvcrt":
            return _msvcrt()
        return found.get(name) or importlib.import_module(name, package)

    found["importlib"] = _Without(importlib, set(), {"import_module": import_module})

    def answer(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        own = str((globals or {}).get("__name__", "")).partition(".")[0] == "textmill"
        if own and level == 0 and (name in found or name in ABSENT_MODULES):
            return import_module(name)
        return real(name, globals, locals, fromlist, level)

    return answer


def _open_bytes(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
    """Open a file; one in which Windows would change line ends is an error of textmill's."""
    assert flags & BINARY or path == os.devnull, f"{path} is opened without O_BINARY: Windows would write CRLF into it"
    return os.open(path, flags & ~BINARY, *arguments, **options)


def _msvcrt() -> types.ModuleType:
    module = types.ModuleType("msvcrt")
    module.__dict__.update(locking=_locking, LK_UNLCK=0, LK_LOCK=1, LK_NBLCK=2)
    return module


def _locking(descriptor: int, mode: int, size: int) -> None:
    """Lock bytes from the position of the file on, until it is closed, as `msvcrt.locking` does.

    Windows lets nobody else read locked bytes: locking any of the content is an error of textmill's.
    """
    start = os.lseek(descriptor, 0, os.SEEK_CUR)
    found = os.fstat(descriptor)
    assert stat.S_ISREG(found.st_mode) and found.st_size <= start, "a lock within the content: nobody could read it"
    writable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    kind = fcntl.F_UNLCK if mode == 0 else fcntl.F_WRLCK if writable else fcntl.F_RDLCK
    try:
        fcntl.fcntl(descriptor, 37, _LOCK.pack(kind, os.SEEK_SET, start, size, 0))  # F_OFD_SETLK
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
