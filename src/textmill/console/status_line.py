"""One line of a terminal that rich redraws in place, such as a progress bar. A pipe or a file gets none of it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from textmill.console.number_format import printable
from textmill.console.standard_streams import colors, is_terminal, print_at_once, spelled

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

_DUMB = {"dumb", "unknown"}  # rich, too, draws nothing on them

SHORTEST_BAR = 8
"""Columns that the bar takes at least."""


class StatusLine:
    """The line on which progress stands on `stream` (None: standard output).

    Whatever else goes there is printed by `print`, by any thread, or after `erase`. No thread redraws the line. A
    stream that cannot be written to (nobody reads the pipe, it was closed, its disk is full, it has no `write`) is left
    alone: the work goes on.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lost = False
        self._live: Live | None = None
        self._lock = threading.Lock()
        self.num_printed = 0

    @property
    def stream(self) -> TextIO | None:
        return self._stream or sys.stdout

    @property
    def visible(self) -> bool:
        """Whether there is a terminal to draw on: one that says of itself that it is dumb only takes lines."""
        return not self._lost and is_terminal(self.stream) and os.environ.get("TERM", "") not in _DUMB

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Note the stream as lost if the block cannot write to it."""
        try:
            yield
        except (OSError, ValueError, AttributeError):
            self._lost, self._live = True, None

    def draw(self, text: str) -> None:
        """Show `text` in place of what was drawn before, cut to the width of the terminal."""
        self._show(self._text(text))

    def draw_bar(self, before: str, share: float | None, after: str) -> None:
        """Show a bar filled by `share` (None: unknown, no bar) between two texts."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        if share is None:
            self.draw(" ".join(filter(None, (before, after))))
            return
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1, min_width=SHORTEST_BAR)
        row.add_column(no_wrap=True)
        row.add_row(self._text(before), ProgressBar(1.0, min(max(share, 0.0), 1.0)), self._text(after))
        self._show(row)

    def print(self, line: str) -> None:
        """Print `line`, above the status line if one is drawn; what the encoding lacks becomes a question mark."""
        if self._lost:
            return
        line = spelled(printable(line), self.stream)
        with self._lock, self._writing():
            self.num_printed += 1
            if self._live is None:
                print_at_once(line, self.stream)
            else:
                self._live.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def erase(self) -> None:
        """Take the line off the terminal."""
        if self._live is not None:
            with self._writing():
                self._live.stop()
            self._live = None

    def _text(self, text: str) -> Text:
        from rich.text import Text

        return Text(spelled(printable(text), self.stream), no_wrap=True, overflow="ellipsis")

    def _show(self, line: RenderableType) -> None:
        from rich.console import Console
        from rich.live import Live

        if not self.visible:
            return
        with self._writing():
            if self._live is None:
                console = Console(file=self.stream, color_system=colors())
                self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
                self._live.start()
                console.show_cursor()  # nobody would show it again after a second Ctrl-C or a kill
            self._live.update(line, refresh=True)
