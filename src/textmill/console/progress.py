"""Progress of verbs other than train, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from textmill.console.screen import SECONDS_BETWEEN_LINES, SILENT_SECONDS, Screen, count, duration

if TYPE_CHECKING:
    from rich.progress import Progress


class Counter:
    """Shows how much of something is done, how fast it goes and how long it will take."""

    def __init__(self, doing: str, unit: str) -> None:
        self.doing, self.unit = doing, unit
        self._started = self._shown = time.monotonic()
        self._bar: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` are done."""
        now = time.monotonic()
        if now - self._started < SILENT_SECONDS:
            return
        speed = done / (now - self._started)
        left = duration((total - done) / speed) if speed else "?"
        report = f"{count(speed)} {self.unit}/s · {left} left"
        if sys.stderr.isatty():
            self._draw(done, total, report)
        elif now - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = now
            print(f"{self.doing} {count(done)} of {count(total)} {self.unit} · {report}", file=sys.stderr, flush=True)

    def _draw(self, done: int, total: int, report: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn())
            report_column = TextColumn("{task.fields[report]}")
            self._bar = Progress(*columns, report_column, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task(self.doing, total=total, report="")
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, report=report)

    def close(self) -> None:
        """The bar is gone from the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def counting(doing: str, unit: str) -> Iterator[Counter]:
    """Yield a Counter that is off the screen when the block ends."""
    counter = Counter(doing, unit)
    try:
        yield counter
    finally:
        counter.close()


@contextmanager
def waiting(sentence: str) -> Iterator[Callable[[str], None]]:
    """`sentence` stands on a terminal while the block runs; yield what says something else meanwhile."""
    screen = Screen(stream=sys.stderr)
    screen.passing(sentence)
    try:
        yield screen.say
    finally:
        screen.end()
