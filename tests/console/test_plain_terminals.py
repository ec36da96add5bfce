"""Terminals that take no escape codes, and people who want no colours: a real terminal, played by a pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TINY = "--tokenizer byte --d-model 16 --num-layers 1 --num-heads 2 --max-seq-len 16 --max-steps 8 --device cpu"
SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*([A-Za-z])")


def shown(command: list[str], folder: Path, **variables: str) -> bytes:
    """Run a command in a terminal with these environment variables, and return all that it wrote there."""
    openpty = getattr(os, "openpty", None)
    if openpty is None:
        pytest.skip("this system has no pseudo-terminals")
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "OMP_NUM_THREADS": "1", **variables}
    ours, theirs = openpty()
    program = [sys.executable, "-m", "textmill", *command]
    process = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment)
    os.close(theirs)
    blocks = []
    try:
        while block := os.read(ours, 1 << 16):
            blocks.append(block)
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, b"".join(blocks)
    return b"".join(blocks)


def train(folder: Path, **variables: str) -> bytes:
    (folder / "book.txt").write_text("once upon a time there was a mill\n" * 100)
    logging = "--logging-steps 2 --threads 1 --output-dir run --cache-dir cache"
    return shown(["train", "book.txt", *TINY.split(), *logging.split()], folder, **variables)


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    """Under TERM=dumb nothing is drawn: every report is a line of its own, as in a pipe, without escape codes."""
    out = train(tmp_path, TERM="dumb")
    assert b"\x1b" not in out
    steps = [int(number) for number in re.findall(rb"^step (\d+) \xc2\xb7", out, re.MULTILINE)]
    assert {2, 4, 6, 8} <= set(steps), out.decode()
    assert b"\x1b" not in shown(["--help"], tmp_path, TERM="dumb")


def test_no_color(tmp_path: Path) -> None:
    """NO_COLOR leaves the bar, without colour and bold type, and help pages without either."""
    assert {b"K"} <= (kinds := set(SEQUENCE.findall(train(tmp_path, NO_COLOR="1")))) and b"m" not in kinds
    assert not SEQUENCE.findall(shown(["train", "--help"], tmp_path, NO_COLOR="1"))
    assert b"m" in SEQUENCE.findall(shown(["train", "--help"], tmp_path))
