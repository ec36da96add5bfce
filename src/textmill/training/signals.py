"""Ctrl-C, SIGTERM and SIGHUP: remember the signal, so that the run can save at its next step."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from textmill.console.standard_streams import print_at_once
from textmill.errors import Interrupted, TextmillError

_SAME_PRESS = 0.3
"""Seconds within which a second SIGINT is the same key press: a launcher may forward what the terminal sent to all."""


def ending_signals() -> dict[int, int]:
    """Return the signals that ask this process to end, each with the one that the run reports.

    SIGHUP is among them unless it is ignored, as under nohup. SIGBREAK, with which Windows ends a console program,
    counts as SIGTERM.
    """
    found = {int(signal.SIGINT): int(signal.SIGINT), int(signal.SIGTERM): int(signal.SIGTERM)}
    hang_up, windows_break = getattr(signal, "SIGHUP", None), getattr(signal, "SIGBREAK", None)
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        found[int(hang_up)] = int(hang_up)
    if windows_break is not None:
        found[int(windows_break)] = int(signal.SIGTERM)
    return found


class _Handlers:
    """While the `with` block runs, `_handle` is called for every ending signal; the previous handlers come back after.

    Outside the main thread, where Python allows no handlers, the block changes nothing.

    ends_process: whether the process is textmill's own command, which a second SIGINT ends at once.
    """

    ends_process = False

    def __init__(self) -> None:
        self._reported: dict[int, int] = {}
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._reported = ending_signals()
            for number in self._reported:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *raised: object) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by something in C

    def _handle(self, number: int, frame: FrameType | None) -> None:
        raise NotImplementedError


class SignalFlag(_Handlers):
    """While the `with` block runs, the first ending signal sets `raised`: SIGINT, SIGTERM or SIGHUP.

    A second SIGINT raises KeyboardInterrupt in a program or a notebook, which lives on, and ends a textmill command at
    once (130). Outside the main thread `raised` stays None.

    notice, last_words: printed on standard error at the first SIGINT, and when a second one ends the command; "" for
    nothing.
    """

    notice = ""
    last_words = "ended at once"

    def __init__(self) -> None:
        super().__init__()
        self.raised: int | None = None
        self._first_interrupt: float | None = None  # on the monotonic clock

    def __enter__(self) -> Self:
        super().__enter__()
        outer = getattr(self._previous.get(signal.SIGINT), "__self__", None)
        self.ends_process = isinstance(outer, _Handlers) and outer.ends_process
        if isinstance(outer, CommandSignals) and self.raised is None:
            self.raised = outer.arrived
        return self

    def interrupted(self) -> bool:
        """Whether a signal has arrived; to be passed to functions that ask when to stop."""
        return self.raised is not None

    def check(self) -> None:
        """Raises Interrupted if a signal has arrived."""
        if self.raised is not None:
            raise Interrupted(self.raised)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised is None:
            self.raised = self._reported[number]
        if number != signal.SIGINT:
            return
        now = time.monotonic()
        if self._first_interrupt is None:
            self._first_interrupt = now
            _write(self.notice)
        elif now - self._first_interrupt > _SAME_PRESS:
            if self.ends_process:
                _write(self.last_words)
                os._exit(128 + signal.SIGINT)  # at once: files on disk are complete at any moment
            raise KeyboardInterrupt


def _write(line: str) -> None:
    """Write a line to standard error; not with print, which may be what was interrupted.

    A notebook has put a stream of its own there, whose text is shown in the cell; descriptor 2 may be a log file then.
    """
    if not line:
        return
    if not isinstance(sys.stderr, io.TextIOWrapper | None):
        with suppress(OSError, ValueError, AttributeError, RuntimeError):  # the last: it was interrupted while it wrote
            print_at_once(line, sys.stderr)
        return
    with suppress(OSError):  # nobody reads it, or it is closed
        after_the_key = "\n" if os.isatty(2) else ""  # a terminal shows ^C
        os.write(2, f"{after_the_key}{line}\n".encode())


class CommandSignals(_Handlers):
    """While the `with` block runs, which is a whole textmill command, a signal raises KeyboardInterrupt or Interrupted.

    So every command removes its temporary files, and exits with 128 + the signal's number. Libraries may swallow what
    is raised, as torch does while it imports numpy, which then is half there: the end of the block raises it again,
    instead of what went wrong since, and `SignalFlag` knows of it.
    """

    ends_process = True

    def __init__(self) -> None:
        super().__init__()
        self.arrived: int | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *trace: object) -> None:
        super().__exit__()
        if self.arrived is None or isinstance(error, TextmillError) or not isinstance(error, Exception | None):
            return
        if error is not None or self.arrived != signal.SIGINT:  # Ctrl-C may have ended an answer, and not the command
            raise self._raised() from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.arrived = self._reported[number]
        raise self._raised()

    def _raised(self) -> BaseException:
        assert self.arrived is not None
        return KeyboardInterrupt() if self.arrived == signal.SIGINT else Interrupted(self.arrived)
