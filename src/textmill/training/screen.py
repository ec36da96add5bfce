"""What a person sees of a training run: a live bar on a terminal, plain lines elsewhere, the same lines in a file."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 10.0
"""Training reports closer together than this are not printed where there is no terminal; the files hold them all."""


class Screen:
    """Speaks to the person who started the run. A quiet screen says nothing but still writes its log file.

    Lines go to `stream` (standard output unless given); `open_log` adds a file that gets the same lines.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._stream = stream
        self._console: Console | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._log: TextIO | None = None
        self._early_lines: list[str] = []
        self._last_line_at = -math.inf
        self._reading_since: float | None = None

    @property
    def _out(self) -> TextIO:
        return self._stream or sys.stdout

    def open_log(self, path: Path, offset: int | None = None) -> None:
        """What was said so far and everything said from now on is also in `path`, cut at `offset` bytes first."""
        self._log = path.open("a", encoding="utf-8")
        if offset is not None:
            self._log.truncate(min(offset, path.stat().st_size))
        for line in self._early_lines:
            self._write_log(line)
        self._early_lines.clear()

    def say(self, line: str) -> None:
        """`line` stands on the screen, above the bar, and in the log file."""
        self._write_log(line)
        if self._quiet:
            return
        if self._console is not None:
            self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        else:
            print(printable(line), file=self._out, flush=True)

    def field(self, name: str, text: str) -> None:
        """A line of the form `name  text`, aligned with its neighbours."""
        self.say(f"{name:<10} {text}")

    def reading(self, done: int, total: int) -> None:
        """`done` of `total` bytes of text are read; shown from time to time where reading takes longer."""
        now = time.monotonic()
        if self._reading_since is None:
            self._reading_since = self._last_line_at = now
        if self._quiet or now - self._last_line_at < SECONDS_BETWEEN_LINES:
            return
        self._last_line_at = now
        elapsed = now - self._reading_since
        left = f" · {duration(elapsed * (total - done) / done)} left" if done else ""
        line = f"reading    {size(done)} of {size(total)} · {size(done / elapsed)}/s{left}"
        if self._out.isatty():
            print(f"\r\x1b[2K{line}\r", end="", file=self._out, flush=True)
        else:
            print(line, file=self._out, flush=True)

    def begin(self, step: int, total_steps: int | None) -> None:
        """The training bar is on the screen, where there is a terminal."""
        if self._quiet or not self._out.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(file=self._out)
        self._bar = bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[report]}"),
            console=self._console,
            transient=True,
        )
        bar.start()
        self._task = bar.add_task("training", total=total_steps, completed=step, report="")

    def training(self, row: dict[str, Any], total_steps: int | None, seconds_left: float | None) -> None:
        """A training report is on the bar, or on a line of its own where there is no terminal."""
        report = f"loss {row['train_loss']:.3f} · lr {row['learning_rate']:.2e} · {rate(row['tokens_per_second'])}"
        if seconds_left is not None:
            report += f" · {duration(seconds_left)} left"
        where = f"step {row['step']}" + (f"/{total_steps}" if total_steps else "")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=row["step"], total=total_steps, description=where, report=report)
            self._write_log(f"{where} · {report}")
            return
        now = time.monotonic()
        if now - self._last_line_at >= SECONDS_BETWEEN_LINES or row["step"] == total_steps:
            self._last_line_at = now
            self.say(f"{where} · {report}")

    def evaluation(self, row: dict[str, Any], *, improved: bool) -> None:
        """An evaluation stands on the screen as one line."""
        text = f"step {row['step']} · epoch {row['epoch']:.2f} · train loss {row['train_loss']:.4f}"
        if row.get("val_loss") is not None:
            text += f" · val loss {row['val_loss']:.4f} · perplexity {row['val_perplexity']:.2f}"
            if row.get("val_bits_per_byte") is not None:
                text += f" · {row['val_bits_per_byte']:.3f} bits per byte"
            for name in row:
                if name.startswith("val_loss/"):
                    text += f" · {name.removeprefix('val_loss/')} {row[name]:.4f}"
            text += " · best so far" if improved else ""
        self.say(text)

    def sample(self, text: str) -> None:
        """A generated sample stands on the screen, indented, its line breaks kept."""
        self.say("  sample:")
        for line in text.splitlines() or [""]:
            self.say(f"  | {line}")

    def end(self) -> None:
        """The bar is gone; lines can still be said."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._task = None, None

    def close(self) -> None:
        """The screen and its log file are released."""
        self.end()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _write_log(self, line: str) -> None:
        if self._log is None:
            self._early_lines.append(line)
            return
        try:
            self._log.write(printable(line) + "\n")
            self._log.flush()
        except OSError as error:  # the log is a convenience: a full disk must not end the run here
            self._log = None
            self.say(f"train.log is not written any more: {error.strerror}")

    def log_size(self) -> int:
        """Return the bytes of the log file that are on disk, for a resumed run to cut it there."""
        return self._log.tell() if self._log is not None else 0


def printable(text: str) -> str:
    """Return `text` without control characters that could move a terminal's cursor or change its state."""
    return "".join(c if c in "\n\t" or (c.isprintable() or c == "\u00a0") else "\ufffd" for c in text)


def rate(tokens_per_second: float) -> str:
    return f"{count(tokens_per_second)} tok/s"


def count(number: float) -> str:
    """Return a number as people read it: 950, 12.3 k, 4.56 M, 1.20 B."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            scaled = number / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Return seconds as people read them: 8 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def size(num_bytes: float) -> str:
    """Return bytes as people read them, in powers of ten: 812 B, 1.2 MB."""
    for step, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= step:
            return f"{num_bytes / step:.1f} {unit}"
    return f"{num_bytes:.0f} B"
