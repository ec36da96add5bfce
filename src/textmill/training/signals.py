"""Ctrl-C and SIGTERM: remember the signal, so that the run can save at its next step."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from textmill.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_PRESS = 0.3
"""Seconds within which a second SIGINT is the same key press: a launcher may forward what the terminal sent to all."""


class SignalFlag:
    """While the `with` block runs, the first SIGINT or SIGTERM sets `raised`; a second SIGINT ends the process (130).

    Outside the main thread, where Python allows no handlers, the block changes nothing and `raised` stays None. The
    previous handlers are restored after the block.

    notice: printed on standard error of a terminal at the first SIGINT; "" for nothing.
    """

    notice = ""

    def __init__(self) -> None:
        self.raised: int | None = None
        self._first_interrupt: float | None = None  # on the monotonic clock
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> SignalFlag:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *raised: object) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by something in C

    def interrupted(self) -> bool:
        """Whether a signal has arrived; to be passed to functions that ask when to stop."""
        return self.raised is not None

    def check(self) -> None:
        """Raises Interrupted if a signal has arrived."""
        if self.raised is not None:
            raise Interrupted(self.raised)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised is None:
            self.raised = number
        if number != signal.SIGINT:
            return
        now = time.monotonic()
        if self._first_interrupt is None:
            self._first_interrupt = now
            if self.notice and os.isatty(2):
                os.write(2, f"\n{self.notice}\n".encode())  # not print, which may be what was interrupted
        elif now - self._first_interrupt > _SAME_PRESS:
            os._exit(128 + signal.SIGINT)  # at once: files on disk are complete at any moment
