"""Commands as a reader types them, run in this process: textmill's own by its `main`, the rest by the system."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from textmill.cli.main import main

PROGRAMS = {"cat", "cp", "echo", "head", "ls", "mkdir", "mv", "printf", "rm", "tail", "wc"}
"""What a page may use beside textmill and python."""


@dataclass
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    output: str
    errors: str


def run_line(line: str) -> Done:
    """Run one line: commands joined by `|` or `&&`, the last perhaps with `> file`."""
    done = Done(0, "", "")
    for part in _split(line, "&&"):
        piped: str | None = None
        errors = done.errors
        for words in _split(part, "|"):
            done = _run_words(words, piped)
            piped, errors = done.output, errors + done.errors
        done.errors = errors
        if done.code:
            break
    return done


def _split(line: str | list[str], separator: str) -> list[list[str]]:
    if isinstance(line, str):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
        lexer.whitespace_split = True
        line = list(lexer)
    parts: list[list[str]] = [[]]
    for word in line:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _run_words(words: list[str], piped: str | None) -> Done:
    target = None
    if len(words) > 2 and words[-2] in (">", ">>"):
        target, mode, words = Path(words[-1]), "a" if words[-2] == ">>" else "w", words[:-2]
    variables = []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        variables.append(words.pop(0).partition("=")[::2])
    own = _own_arguments(words)
    before = {name: os.environ.get(name) for name, _ in variables}
    os.environ.update(dict(variables))
    try:
        done = _in_process(own, piped) if own is not None else _by_system(words, piped)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    if target is not None:
        with target.open(mode) as file:
            file.write(done.output)
        done.output = ""
    return done


def _own_arguments(words: list[str]) -> list[str] | None:
    """Return the arguments of a textmill command, or None for another program."""
    if words[0] in ("textmill", ".venv/bin/textmill"):
        return words[1:]
    return words[3:] if words[:3] == ["python", "-m", "textmill"] else None


def _in_process(arguments: list[str], piped: str | None) -> Done:
    """Run `main` as the command would be run, its three streams being pipes."""
    stdin = io.TextIOWrapper(io.BytesIO((piped or "").encode()), encoding="utf-8")
    output, errors = io.StringIO(), io.StringIO()
    kept, sys.stdin = sys.stdin, stdin
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main(arguments)
    finally:
        sys.stdin = kept
    return Done(code, output.getvalue(), errors.getvalue())


def _by_system(words: list[str], piped: str | None) -> Done:
    assert words[0] in {*PROGRAMS, "python"}, (
        f"{words[0]}: pages use {', '.join(sorted(PROGRAMS))}, or <!-- not run -->"
    )
    if words[0] == "python":
        words = [sys.executable, *words[1:]]
    else:  # patterns such as *.txt are the shell's work
        words = [
            "sh",
            "-c",
            " ".join(word if re.fullmatch(r"[\w./*?=-]+", word) else shlex.quote(word) for word in words),
        ]
    done = subprocess.run(words, input=piped, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)
