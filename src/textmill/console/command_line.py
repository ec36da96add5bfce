"""Commands as a person types them: what textmill prints can be pasted into the shell of this system."""

import re
import shlex
import shutil
import sys
from pathlib import Path

from textmill.files.operating_system import IS_POSIX

_PLAIN = re.compile(r"[\w@+=:,./\\-]+")


def quoted(*words: str | Path) -> str:
    """Return words of a command, quoted where the shell of this system would read them otherwise.

    On Windows that is what cmd.exe and PowerShell have in common: double quotes, doubled inside; backslashes before the
    last one are doubled too, or it would be part of the word.
    """
    texts = [str(word) for word in words]
    if IS_POSIX:
        return shlex.join(texts)
    return " ".join(text if _PLAIN.fullmatch(text) else _in_double_quotes(text) for text in texts)


def _in_double_quotes(text: str) -> str:
    backslashes = len(text) - len(text.rstrip("\\"))
    return '"{}{}"'.format(text.replace('"', '""'), "\\" * backslashes)


def program() -> str:
    """Return what a person types to start textmill: its path, where it was started by one and is not on PATH."""
    started = sys.argv[0] if sys.argv else ""
    return quoted(started) if Path(started).stem == "textmill" and shutil.which("textmill") is None else "textmill"


def resume_command(run: Path) -> str:
    """Return the command that continues the run in the folder `run`."""
    return f"{program()} train --output-dir {quoted(run)} --resume"
