"""Standard input, output and error: text as it is in a pipe, harmless and wrapped on a terminal.

None of them can be relied on: a program may be started without them, replace them by objects of its own, or give them
an encoding that lacks most characters.
"""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, TextIO

from textmill.console.number_format import CONTROL, in_one_line, printable
from textmill.errors import ConfigError, DataError
from textmill.files import plain_values
from textmill.files.byte_order_mark import decode_marked

NAME_COLUMNS = 12
"""Columns that the name of a field takes."""


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal: not if it is missing, closed, or an object that does not say."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):
        return False


def print_at_once(text: str, stream: TextIO | None, *, end: str = "\n") -> None:
    """Print on `stream`, and flush it if it can be: an object of a program's own may have no more than `write`."""
    print(text, end=end, file=stream, flush=hasattr(stream, "flush"))


def spelled(text: str, stream: TextIO | None) -> str:
    """Return `text` with a question mark for every character that the encoding of `stream` lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def write(line: str) -> None:
    """Print a line for people at once: `in_one_line`, and a question mark for what the output's encoding lacks."""
    write_lines(in_one_line(line))


def write_lines(text: str) -> None:
    """Print lines that textmill made, such as a table, as `write` does; line feeds in names are not left in them."""
    print_at_once(spelled(printable(text), sys.stdout), sys.stdout)


def write_text(text: str, *, end: str = "\n") -> None:
    """Print text that is itself the result, such as what a model wrote: as it is in a pipe, `printable` on a terminal.

    What the output's encoding cannot spell shows as a question mark everywhere.
    """
    if is_terminal(sys.stdout):
        text = printable(text)
    print_at_once(spelled(text, sys.stdout), sys.stdout, end=end)


def write_json(value: Any) -> None:
    """Print `value` as JSON: control characters as escapes, and all of it in ASCII if the output lacks a character."""
    text = json.dumps(plain_values(value), indent=2, ensure_ascii=False)
    text = CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if spelled(text, sys.stdout) != text:
        text = json.dumps(plain_values(value), indent=2)
    write_lines(text)


def note(sentence: str) -> None:
    """Print `sentence` on standard error, beside the output that programs read."""
    with suppress(OSError, ValueError, AttributeError):  # nobody reads it any more, it is closed, or no stream at all
        print_at_once(spelled(in_one_line(sentence), sys.stderr), sys.stderr)


def named(name: str, text: str) -> str:
    """Return the line `name  text`, aligned with its neighbours."""
    return in_one_line(f"{name:<{NAME_COLUMNS - 1}} {text}".rstrip())


def field(name: str, text: str) -> None:
    """Print `name  text`; a terminal wraps it between words, further lines below the text."""
    line = named(name, text)
    write_lines(wrapped(line, NAME_COLUMNS) if is_terminal(sys.stdout) else line)


def wrapped(line: str, indent: int) -> str:
    """Return `line` broken between words at the width of the terminal, further lines indented."""
    if len(line) <= columns():
        return line
    return textwrap.fill(
        line, columns(), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def table(rows: Sequence[Sequence[str]], *, right: set[int]) -> str:
    """Return rows as columns of equal width, those in `right` aligned to the right."""
    rows = [[in_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = (cell.rjust(w) if at in right else cell.ljust(w) for at, (cell, w) in enumerate(zip(row, widths)))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def colors() -> Literal["auto"] | None:
    """Return what rich may use of colours and bold type: nothing under NO_COLOR (https://no-color.org)."""
    return None if os.environ.get("NO_COLOR") else "auto"


def columns() -> int:
    """Return the width of the terminal."""
    return shutil.get_terminal_size().columns


def piped_in() -> bool:
    """Whether standard input is a pipe or a file, and not a person, nor closed."""
    return sys.stdin is not None and not sys.stdin.isatty()


def read_input(what: str) -> str:
    """Return standard input as text, without its last line break. Raises ConfigError when nothing is piped in."""
    if not piped_in():
        raise ConfigError(f"{what}: give it as an argument or through a pipe")
    try:
        return decode_marked(sys.stdin.buffer.read()).removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not UTF-8 at byte {error.start}") from None
