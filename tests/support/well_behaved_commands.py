"""The command line in this process, under watch: what it said, whether it ended in time, what it left behind."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from textmill.cli.main import main

TEXT = "The mill turns by the river, and the river turns the mill; so the days go by. " * 3
TINY = ["--tokenizer", "byte", "--d-model", "8", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "8"]
TINY += ["--batch-size", "2", "--max-steps", "1", "--sample-steps", "0", "--device", "cpu", "--threads", "1"]
"""A run of one step of the smallest model, on the smallest text."""

ALLOWED = frozenset({0, 2, 65, 66, 70, 73, 78})
"""What a person's input may lead to; 70 only for weights or losses that are not finite, never for a defect."""

SECONDS = 60
"""Far more than any of these commands takes, even on a busy machine, and little enough to tell a hang."""


class Said(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong, or nothing."""
        lines = [line for line in self.err.splitlines() if line.startswith("textmill: error: ")]
        return lines[-1].removeprefix("textmill: error: ") if lines else ""


class TookTooLong(BaseException):
    """The alarm of `run`. A BaseException, so that no handler for ordinary errors swallows it."""


def run(words: Sequence[str], stdin: bytes = b"") -> Said:
    """Return what `textmill WORDS...` says. Raises TookTooLong after SECONDS."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _piped(stdin), _in_time(words):
        code = main(list(words))
    return Said(code, out.getvalue(), err.getvalue())


def well_behaved(words: Sequence[str], stdin: bytes = b"") -> Said:
    """Return what a command says that must succeed, or refuse in one line with a code of its own; assert that."""
    said = run(words, stdin)
    shown = f"textmill {' '.join(map(repr, words))}\n{said.code}\n{said.err[-2000:]}"
    if "a defect of textmill" in said.err:
        shown += run([*words[:1], "--debug", *words[1:]], stdin).err[-4000:]
    assert said.code in ALLOWED, shown
    assert "a defect of textmill" not in said.err and "Traceback" not in said.err, shown
    errors = [line for line in said.err.splitlines() if line.startswith("textmill: error: ")]
    assert len(errors) == (said.code != 0), shown
    if errors:
        assert said.err.splitlines()[-1] == errors[0] and len(said.error) > 10, shown
    return said


def files_below(folder: Path) -> set[str]:
    """Return every file below `folder`, links and pipes included, by its path."""
    return {f"{parent}/{name}" for parent, _, names in os.walk(folder) for name in names}


@contextlib.contextmanager
def _piped(content: bytes) -> Iterator[None]:
    """Standard input is a pipe that holds `content`."""
    import sys

    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    try:
        yield
    finally:
        sys.stdin = before


@contextlib.contextmanager
def _in_time(words: Sequence[str]) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"after {SECONDS} s: textmill {' '.join(map(repr, words))}")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
