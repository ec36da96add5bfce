"""One line of a terminal that is redrawn in place, such as a progress bar. A pipe or a file gets none of it."""

from __future__ import annotations

import sys
from typing import TextIO

from textmill.console.number_format import printable
from textmill.console.standard_streams import columns

SHORTEST_BAR = 8
"""Columns that the bar takes at least."""

_ERASE = "\r\x1b[2K"


class StatusLine:
    """The line on which progress stands on `stream` (None: standard output).

    Call `erase` before anything else is printed there. No thread redraws it: a line is as old as the last call.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._drawn = False

    @property
    def stream(self) -> TextIO:
        return self._stream or sys.stdout

    @property
    def visible(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self.stream.isatty()

    def draw(self, text: str) -> None:
        """Show `text` in place of what was drawn before, cut to the width of the terminal."""
        if self.visible:
            print(f"{_ERASE}{printable(text)[: columns() - 1]}\r", end="", file=self.stream, flush=True)
            self._drawn = True

    def draw_bar(self, before: str, share: float | None, after: str) -> None:
        """Show a bar filled by `share` (None: unknown, no bar) between two texts."""
        room = columns() - 3 - len(before) - len(after)
        if share is None or room < SHORTEST_BAR:
            self.draw(" ".join(filter(None, (before, after))))
            return
        full, empty = ("━", "─") if "utf" in (self.stream.encoding or "").lower() else ("#", "-")
        filled = int(room * min(max(share, 0.0), 1.0))
        self.draw(f"{before} {full * filled}{empty * (room - filled)} {after}".rstrip())

    def erase(self) -> None:
        """Take the line off the terminal."""
        if self._drawn:
            print(_ERASE, end="", file=self.stream, flush=True)
            self._drawn = False
