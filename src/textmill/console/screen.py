"""What a person sees of a command at work: lines, and progress on a status line. A run's lines are in its log too."""

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from textmill.console.number_format import duration, in_one_line, rate, size
from textmill.console.standard_streams import NAME_COLUMNS, columns, named, wrapped
from textmill.console.status_line import SHORTEST_BAR, StatusLine
from textmill.files import own_file, read_text, retry_stale
from textmill.files.operating_system import APPEND

SILENT_SECONDS = 2.0
"""What is done within this time needs no progress."""

PATIENCE_SECONDS = 1.5
"""What takes longer than this is named on a line where there is no terminal."""

SECONDS_BETWEEN_LINES = 10.0
"""Progress closer together than this is not printed where there is no terminal; the run's files have all of it."""

SECONDS_BETWEEN_DRAWINGS = 0.2

_LOGGER = logging.getLogger("textmill")


@dataclass
class _TrainingBar:
    """What the training bar shows. reported: whether `report` is a training report; before the first, a speed."""

    step: int
    total: int | None
    report: dict[str, str] = field(default_factory=dict)
    reported: bool = False


class Screen:
    """Prints to `stream` (standard output unless given), and to the log file that `open_log` adds.

    A quiet screen prints nothing but still writes its log file. Python's logger `textmill` gets every line too. On a
    terminal, lines are wrapped between words, and what is under way stands on a status line: with a `title` before it,
    even where the screen is quiet.

    logged: whether the logger gets the lines; set by a run of several processes in all but the first.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None, title: str = "") -> None:
        self.logged = True
        self._quiet = quiet
        self._title = title
        self._line = StatusLine(stream)
        self._log: TextIO | None = None
        self._early_lines: list[str] = []
        self._told: set[str] = set()
        self._last_line_at = self._drawn_at = -math.inf
        self._stepping_since: float | None = None
        self._started: dict[str, tuple[float, int]] = {}
        self._bar: _TrainingBar | None = None
        self._first_step: threading.Timer | None = None

    def open_log(self, path: Path, offset: int | None = None) -> None:
        """Write what was said so far and everything from now on to `path` too, cut at `offset` bytes first."""
        own_file(path)
        descriptor = retry_stale(lambda: os.open(path, APPEND, 0o666))
        self._log = os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace", newline="\n")
        if offset is not None:
            self._log.truncate(min(offset, os.fstat(descriptor).st_size))
        for line in self._early_lines:
            self._append_to_log(line)
        self._early_lines.clear()

    def say(self, line: str, indent: int | None = 2) -> None:
        """Print `line`. A terminal wraps it, further lines indented by so many columns, unless `indent` is None."""
        self._write_log(line)
        self._show(line, indent)

    def recall(self, log: Path) -> None:
        """Remember the lines of the log of an earlier session, for `note`."""
        with suppress(OSError):
            self._told.update(read_text(log, "replace").splitlines())

    def note(self, sentence: str) -> None:
        """Say `sentence`, unless an earlier session of the run has said it."""
        if in_one_line(sentence) not in self._told:
            self.say(sentence)

    def field(self, name: str, text: str) -> None:
        """Print `name  text`, aligned with its neighbours."""
        self.say(named(name, text), indent=NAME_COLUMNS)

    def command(self, name: str, text: str) -> None:
        """Print a command as a field; it is never broken, so that it can be copied."""
        self.say(named(name, text), indent=None)

    @contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Show `doing` while the block runs: a terminal until something else is shown, elsewhere if it takes long."""
        if self._bar is not None:
            self._draw_bar(doing)
        elif not self._quiet:
            self._line.draw(f"{doing} ...")
        timer = self._named_later(doing)
        try:
            yield
        finally:
            timer.cancel()
            if self._bar is None:
                self._line.erase()

    def _named_later(self, doing: str) -> threading.Timer:
        """Return the started timer that prints `doing` where there is no terminal, unless a line tells of it before."""
        timer = threading.Timer(PATIENCE_SECONDS, self._print_wait, (doing, self._line.num_printed))
        timer.daemon = True
        if not self._quiet and not self._line.visible:
            timer.start()
        return timer

    def _print_wait(self, doing: str, num_printed: int) -> None:
        if self._line.num_printed == num_printed:
            self._line.print(f"{doing} ...")

    def _show(self, line: str, indent: int | None) -> None:
        if self._quiet:
            return
        line = in_one_line(line)
        if indent is not None and self._line.visible:
            line = wrapped(line, indent)
        if self._bar is None:
            self._line.erase()
        self._line.print(line)

    def reading(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of text are read, when it takes longer than a moment."""
        self._under_way("reading", done, total, lambda speed: f"{size(speed)}/s")

    def preparing(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of text are prepared: read several times, and tokenized."""
        self._under_way("preparing", done, total, lambda speed: f"{size(speed)}/s")

    def evaluating(self, done: int, total: int) -> None:
        """Show that `done` of `total` tokens are evaluated, when it takes longer than a moment."""
        self._under_way("evaluating", done, total, rate)

    def generating(self, done: int, total: int) -> None:
        """Show that `done` of `total` tokens are generated, when it takes longer than a moment."""
        self._under_way("generating", done, total, rate)

    def _under_way(self, doing: str, done: int, total: int, speed: Callable[[float], str]) -> None:
        if self._quiet and self._bar is None:
            return
        now = time.monotonic()
        since, before = self._started.setdefault(doing, (now, done))
        pause = SECONDS_BETWEEN_DRAWINGS if self._line.visible else SECONDS_BETWEEN_LINES
        if done >= total:
            del self._started[doing]  # what is done after this is timed by itself
        if done <= before or now - since < SILENT_SECONDS or now - self._last_line_at < pause:
            return
        self._last_line_at = now
        per_second = (done - before) / (now - since)
        share, left = done / total, f"{speed(per_second)} · {duration((total - done) / per_second)} left"
        if self._bar is not None:
            self._draw_bar(f"{doing} {share:.0%}")
        elif self._line.visible:
            self._line.draw_bar(f"{doing} {share:.0%}", share, left)
        else:
            self._line.print(f"{doing} {share:.0%} · {left}")

    def begin(self, step: int, total_steps: int | None, first: str = "training") -> None:
        """Show the training bar, where there is a terminal; `first` says what the first step does besides."""
        if self._line.visible and (self._title or not self._quiet):
            self._bar = _TrainingBar(step, total_steps)
            self._draw_bar(first)
        self._first_step = self._named_later(first)

    def stepping(self, step: int, total_steps: int | None, speed: float, seconds_left: float | None) -> None:
        """Move the bar to `step`; until the first report it shows the speed [tokens per second] too."""
        now = time.monotonic()
        self._stop_waiting()
        if self._bar is None:
            self._print_step(now, _where(step, total_steps), speed, seconds_left)
            return
        if now - self._drawn_at < SECONDS_BETWEEN_DRAWINGS:
            return
        self._drawn_at = now
        self._bar.step, self._bar.total = step, total_steps
        if not self._bar.reported:
            self._bar.report = {"speed": rate(speed)}
        if seconds_left is not None:
            self._bar.report["left"] = f"{duration(seconds_left)} left"
        self._draw_bar()

    def _print_step(self, now: float, where: str, speed: float, seconds_left: float | None) -> None:
        """Print how far the run is, where there is no terminal and reports are too far apart to tell."""
        self._stepping_since = self._stepping_since or now
        if self._quiet or now - max(self._stepping_since, self._last_line_at) < SECONDS_BETWEEN_LINES:
            return
        self._last_line_at = now
        left = "" if seconds_left is None else f" · {duration(seconds_left)} left"
        self._line.print(f"{where} · {rate(speed)}{left}")

    def _draw_bar(self, where: str = "") -> None:
        """Draw the training bar, if there is one; `where` stands in place of the step."""
        if self._bar is not None:
            where = " · ".join(filter(None, (self._title, where or _where(self._bar.step, self._bar.total))))
            report = fitting(self._bar.report, columns() - 3 - len(where) - SHORTEST_BAR, ("lr", "speed"))
            self._line.draw_bar(where, self._bar.step / self._bar.total if self._bar.total else None, report)

    def training(self, row: dict[str, Any], total_steps: int | None, seconds_left: float | None) -> None:
        """Show a training report on the bar, or on a line of its own where there is no terminal."""
        report = {
            "loss": f"loss {row['train_loss']:.3f}",
            "lr": f"lr {row['learning_rate']:.2e}",
            "speed": rate(row["tokens_per_second"]),
        }
        if seconds_left is not None:
            report["left"] = f"{duration(seconds_left)} left"
        line = " · ".join([_where(row["step"], total_steps), *report.values()])
        now = time.monotonic()
        if self._bar is not None:
            self._bar = _TrainingBar(row["step"], total_steps, report, reported=True)
            self._draw_bar()
            self._write_log(line)
        elif now - self._last_line_at >= SECONDS_BETWEEN_LINES or row["step"] == total_steps:
            self._last_line_at = now
            self.say(line)

    def evaluation(self, row: dict[str, Any], *, improved: bool) -> None:
        """Print an evaluation as one line; a narrow terminal leaves out what follows from the rest."""
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
        self._started.pop("evaluating", None)
        self._write_log(" · ".join(parts.values()))
        width = columns() if self._line.visible else sys.maxsize
        self._show(fitting(parts, width, ("epoch", "perplexity")), indent=2)

    def sample(self, text: str, step: int) -> None:
        """Print a sample that the model generated after `step`, indented, its line breaks kept."""
        self.say(f"  sample at step {step}:")
        for line in text.splitlines() or [""]:
            self.say(f"  | {line}")

    def _stop_waiting(self) -> None:
        if self._first_step is not None:
            self._first_step.cancel()
            self._first_step = None

    def end(self) -> None:
        """Take the bar or the status line off the terminal; lines can still be said."""
        self._stop_waiting()
        self._bar = None
        self._line.erase()

    def close(self) -> None:
        """Release the screen and its log file."""
        self.end()
        if self._log is not None:
            with suppress(OSError):  # ESTALE: another machine has replaced the file
                self._log.close()
            self._log = None

    def _write_log(self, line: str) -> None:
        line = in_one_line(line)
        if self.logged:
            _LOGGER.info(line)
        self._append_to_log(line)

    def _append_to_log(self, line: str) -> None:
        if self._log is None:
            self._early_lines.append(line)
            return
        try:
            self._log.write(line + "\n")
            self._log.flush()
        except OSError as error:  # the log is a convenience: a full disk must not end the run here
            self._log = None
            self.say(f"train.log is not written any more: {error.strerror}")

    def log_size(self) -> int:
        """Return the bytes of the log file that are on disk, for a resumed run to cut it there."""
        return self._log.tell() if self._log is not None else 0


@contextmanager
def waiting(doing: str) -> Iterator[Screen]:
    """Yield a screen on standard error that shows `doing` until the block has something to say; see `Screen.during`."""
    screen = Screen(stream=sys.stderr)
    try:
        with screen.during(doing):
            yield screen
    finally:
        screen.end()


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
