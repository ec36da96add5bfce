"""Numbers and values as people read them: the one place that chooses units and digits."""

import re
from typing import Any

MOST_ITEMS = 8
"""Items of a list that are shown."""


def count(number: float) -> str:
    """Return a number in four characters or so: 950, 12.3 k, 4.56 M, 1.20 B."""
    for step, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= step:
            scaled = number / step
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {unit}"
    return f"{number:.0f}"


def size(num_bytes: float) -> str:
    """Return bytes in powers of ten: 812 B, 1.2 MB."""
    for step, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= step:
            return f"{num_bytes / step:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def duration(seconds: float) -> str:
    """Return seconds in at most two units: 8 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def rate(tokens_per_second: float) -> str:
    """Return a speed: 8.39 k tok/s."""
    return f"{count(tokens_per_second)} tok/s"


def plural(number: int, noun: str) -> str:
    """Return a number of things: 1 row, 2,048 rows."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def as_text(value: Any, digits: int | None = None) -> str:
    """Return a value for a table; a dash for nothing.

    digits: None shows a setting, as one would type it: 50257, 0.0003; a number shows a result, fractions with so many
    decimals: 50,257, 3.0470.
    """
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if digits is None else f"{value:,}"
    if isinstance(value, list):
        more = f" and {len(value) - MOST_ITEMS} more" if len(value) > MOST_ITEMS else ""
        return ", ".join(map(str, value[:MOST_ITEMS])) + more
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if digits is None or 0 < abs(value) < 10.0**-digits else f"{value:.{digits}f}"


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What can move a cursor, change a terminal's state, end a line unseen or show text in another order than it has: C0
without tab and line feed, DEL, C1, separators of lines, bidirectional embeddings, overrides and isolates, and
surrogates, which no encoding has. Joiners and direction marks belong to the spelling of languages, and stay.
"""


def printable(text: str) -> str:
    """Return `text` with U+FFFD for every CONTROL character. Every line that is printed goes through it."""
    return CONTROL.sub("\ufffd", text)


def in_one_line(text: str) -> str:
    """Return `printable` text as one line: a name with a line feed in it cannot pretend to be two lines."""
    return printable(text).replace("\n", " ")
