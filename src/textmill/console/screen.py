"""What a person sees of a training run: a live bar on a terminal, plain lines elsewhere, the same lines in a file."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SILENT_SECONDS = 2.0
"""What is done within this time needs no progress."""

SECONDS_BETWEEN_LINES = 10.0
"""Progress closer together than this is not printed where there is no terminal; the files hold it all."""

SECONDS_BETWEEN_DRAWINGS = 0.2

_SHORTEST_BAR = 10
"""Columns that the bar and the spaces around it take at least."""

_NAMES = 11
"""Columns that the name of a field takes."""


class Screen:
    """Speaks to the person who started the run. A quiet screen says nothing but still writes its log file.

    Lines go to `stream` (standard output unless given); `open_log` adds a file that gets the same lines. On a terminal
    they are wrapped between words, and what is under way stands on a line that is drawn again and again: with a `title`
    before it, even where the screen is quiet.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None, title: str = "") -> None:
        self._quiet = quiet
        self._title = title
        self._stream = stream
        self._console: Console | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._log: TextIO | None = None
        self._early_lines: list[str] = []
        self._last_line_at = -math.inf
        self._reading_since: float | None = None
        self._measuring_since: float | None = None
        self._passing = False
        self._where = "training"
        self._reported = False
        self._drawn_at = -math.inf

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
        self._show(line, indent=2)

    def field(self, name: str, text: str) -> None:
        """A line of the form `name  text`, aligned with its neighbours."""
        line = f"{name:<{_NAMES - 1}} {text}"
        self._write_log(line)
        self._show(line, indent=_NAMES)

    def command(self, name: str, text: str) -> None:
        """The same for a command, which is never broken, so that it can be copied."""
        line = f"{name:<{_NAMES - 1}} {text}"
        self._write_log(line)
        self._show(line, indent=None)

    def passing(self, line: str) -> None:
        """`line` stands on a terminal until the next one; elsewhere nowhere."""
        if self._quiet or self._bar is not None or not self._out.isatty():
            return
        print(f"\r\x1b[2K{printable(line)[: _columns() - 1]}\r", end="", file=self._out, flush=True)
        self._passing = True

    def _show(self, line: str, indent: int | None) -> None:
        """`line` is on the screen, on a terminal wrapped with further lines indented; with None it is not wrapped."""
        if self._quiet:
            return
        line = printable(line)
        if self._passing:
            print("\r\x1b[2K", end="", file=self._out)
            self._passing = False
        if indent is not None and len(line) > _columns() and self._out.isatty():
            line = textwrap.fill(
                line, _columns(), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
            )
        if self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self._out, flush=True)

    def reading(self, done: int, total: int) -> None:
        """`done` of `total` bytes of text are read; shown where it takes longer than a moment."""
        if self._reading_since is None:
            self._reading_since = time.monotonic()
        self._under_way("reading", done, total, self._reading_since, lambda speed: f"{size(speed)}/s")

    def measuring(self, done: int, total: int) -> None:
        """`done` of `total` tokens of an evaluation are measured; shown where it takes longer than a moment."""
        if self._measuring_since is None:
            self._measuring_since = time.monotonic()
        self._under_way("evaluating", done, total, self._measuring_since, rate)

    def _under_way(self, doing: str, done: int, total: int, since: float, speed: Callable[[float], str]) -> None:
        now = time.monotonic()
        terminal = self._out.isatty()
        pause = SECONDS_BETWEEN_DRAWINGS if terminal else SECONDS_BETWEEN_LINES
        if (
            (self._quiet and self._bar is None)
            or not done
            or now - since < SILENT_SECONDS
            or now - self._last_line_at < pause
        ):
            return
        self._last_line_at = now
        left = duration((now - since) * (total - done) / done)
        line = f"{doing:<10} {100 * done / total:.0f} % · {speed(done / (now - since))} · {left} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=self._titled(f"{doing} {100 * done / total:.0f} %"))
        elif terminal:
            self.passing(line)
        else:
            print(line, file=self._out, flush=True)

    def begin(self, step: int, total_steps: int | None) -> None:
        """The training bar is on the screen, where there is a terminal."""
        if (self._quiet and not self._title) or not self._out.isatty():
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
        self._where = self._titled("training")
        self._task = bar.add_task(self._where, total=total_steps, completed=step, report="")

    def stepping(self, step: int, total_steps: int | None, speed: float, seconds_left: float | None) -> None:
        """The bar is at `step`; until the first report it tells the speed [tokens per second] too."""
        now = time.monotonic()
        if self._bar is None or self._task is None or now - self._drawn_at < SECONDS_BETWEEN_DRAWINGS:
            return
        self._drawn_at = now
        self._where = self._titled(_where(step, total_steps))
        self._bar.update(self._task, completed=step, total=total_steps, description=self._where)
        if not self._reported:
            left = "" if seconds_left is None else f" · {duration(seconds_left)} left"
            self._bar.update(self._task, report=rate(speed) + left)

    def _titled(self, text: str) -> str:
        return f"{self._title} · {text}" if self._title else text

    def training(self, row: dict[str, Any], total_steps: int | None, seconds_left: float | None) -> None:
        """A training report is on the bar, or on a line of its own where there is no terminal."""
        report = {
            "loss": f"loss {row['train_loss']:.3f}",
            "lr": f"lr {row['learning_rate']:.2e}",
            "speed": rate(row["tokens_per_second"]),
        }
        if seconds_left is not None:
            report["left"] = f"{duration(seconds_left)} left"
        where = _where(row["step"], total_steps)
        self._reported = True
        line = " · ".join([where, *report.values()])
        if self._bar is not None and self._task is not None:
            self._where = where = self._titled(where)
            room = _columns() - len(where) - _SHORTEST_BAR
            shown = fitting(report, room, ("lr", "speed"))
            self._bar.update(self._task, completed=row["step"], total=total_steps, description=where, report=shown)
            self._write_log(line)
            return
        now = time.monotonic()
        if now - self._last_line_at >= SECONDS_BETWEEN_LINES or row["step"] == total_steps:
            self._last_line_at = now
            self.say(line)

    def evaluation(self, row: dict[str, Any], *, improved: bool) -> None:
        """An evaluation stands on the screen as one line; a narrow terminal leaves out what follows from the rest."""
        parts = {
            "step": f"step {row['step']}",
            "epoch": f"epoch {row['epoch']:.2f}",
            "train": f"train loss {row['train_loss']:.4f}",
        }
        if row.get("val_loss") is not None:
            parts["val"] = f"val loss {row['val_loss']:.4f}"
            parts["perplexity"] = f"perplexity {row['val_perplexity']:.2f}"
            if row.get("val_bits_per_byte") is not None:
                parts["bits"] = f"{row['val_bits_per_byte']:.3f} bits per byte"
            for name in row:
                if name.startswith("val_loss/"):
                    parts[name] = f"{name.removeprefix('val_loss/')} {row[name]:.4f}"
            if improved:
                parts["best"] = "best"
        self._measuring_since = None
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=self._where)
        self._write_log(" · ".join(parts.values()))
        width = _columns() if self._out.isatty() else sys.maxsize
        self._show(fitting(parts, width, ("epoch", "perplexity")), indent=2)

    def sample(self, text: str) -> None:
        """A generated sample stands on the screen, indented, its line breaks kept."""
        self.say("  sample:")
        for line in text.splitlines() or [""]:
            self.say(f"  | {line}")

    def end(self) -> None:
        """The bar, or what stood there for a moment, is gone; lines can still be said."""
        if self._passing:
            print("\r\x1b[2K", end="", file=self._out, flush=True)
            self._passing = False
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


def fitting(parts: Mapping[str, str], width: int, spare: Sequence[str]) -> str:
    """Return the parts as one line; as long as it is longer than `width`, those of `spare` are left out in turn."""
    kept = dict(parts)
    for name in spare:
        if len(" · ".join(kept.values())) <= width:
            break
        kept.pop(name, None)
    return " · ".join(kept.values())


def _where(step: int, total_steps: int | None) -> str:
    return f"step {step}" + (f"/{total_steps}" if total_steps else "")


def _columns() -> int:
    return shutil.get_terminal_size().columns


def program() -> str:
    """Return what a person types to start textmill: its path, where it was started by one and is not on PATH."""
    started = sys.argv[0] if sys.argv else ""
    return started if Path(started).name == "textmill" and shutil.which("textmill") is None else "textmill"


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
