"""Text from models and files on standard output: bytes as they are in a pipe, harmless on a terminal."""

from __future__ import annotations

import sys


def write(text: str, *, end: str = "\n") -> None:
    """`text` is on standard output at once.

    On a terminal, control characters that could move the cursor or change its state show as U+FFFD; what the output's
    encoding cannot spell shows as a question mark everywhere.
    """
    from textmill.console.screen import printable

    if sys.stdout.isatty():
        text = printable(text)
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end=end, flush=True)


def field(name: str, text: str) -> None:
    """`name  text` is on standard output, on a terminal wrapped between words, further lines below the text."""
    import shutil
    import textwrap

    line, width = f"{name:<12}{text}".rstrip(), shutil.get_terminal_size().columns
    if sys.stdout.isatty() and len(line) > width:
        line = textwrap.fill(line, width, subsequent_indent=" " * 12, break_long_words=False, break_on_hyphens=False)
    write(line)


def piped_in() -> bool:
    """Whether standard input is a pipe or a file, and not a person, nor closed."""
    return sys.stdin is not None and not sys.stdin.isatty()


def read_input(what: str) -> str:
    """Return standard input as text, without its last line break. Raises ConfigError when nobody pipes anything in."""
    from textmill.errors import ConfigError, DataError

    if not piped_in():
        raise ConfigError(f"{what}: give it as an argument or through a pipe")
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not UTF-8 at byte {error.start}") from None
